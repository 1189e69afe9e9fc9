"""The labeler keeps up with a bare HTTP client: rows a second beside aiohttp alone, journal on, and the replay.

    labelspace run labeling_throughput

A server on loopback, in a process of its own, answers every request with the same label after 0 or
50 ms. `bare aiohttp` sends and reads, and does nothing else. `engine` adds the journal, the parser,
the order and the retries; `labeler` our prompt, constrained choices and log-probabilities as well;
`replay` is the labeler once more over its journal: it asks nothing.

Prints (2,000 rows, two idle CPU cores, 10 s; compare within one run):
    latency in flight  system          rows/s  of bare  CPU ms/row
       0 ms        64  bare aiohttp     7,009     1.00        0.14
       0 ms        64  engine           7,834     1.12        0.13
       0 ms        64  labeler          6,352     0.91        0.15
       0 ms        64  replay          24,819     3.54        0.04
       0 ms       256  bare aiohttp     8,362     1.00        0.11
       0 ms       256  engine           7,085     0.85        0.14
       0 ms       256  labeler          5,272     0.63        0.18
       0 ms       256  replay          29,625     3.54        0.03
      50 ms        64  bare aiohttp     1,180     1.00        0.14
      50 ms        64  engine           1,065     0.90        0.15
      50 ms        64  labeler          1,108     0.94        0.22
      50 ms        64  replay          16,871    14.30        0.03
      50 ms       256  bare aiohttp     3,495     1.00        0.14
      50 ms       256  engine           3,072     0.88        0.16
      50 ms       256  labeler          3,166     0.91        0.20
      50 ms       256  replay          16,946     4.85        0.03
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection

import click

from labelspace.agents.labeling.labeler import Labeler
from labelspace.config import Config
from labelspace.llm import Engine, Reply, ReplyError, Request, iterate
from labelspace.space import LabelSpace

LABELS = ("billing", "refund", "login", "shipping", "cancel", "upgrade", "bug", "praise", "complaint", "other")


class LabelingThroughputConfig(Config):
    """What `labelspace run labeling_throughput` reads."""

    rows: int = 2000
    """Rows to label in each run."""
    latencies: tuple[int, ...] = (0, 50)
    """Milliseconds that the server takes to answer."""
    concurrency: tuple[int, ...] = (64, 256)
    """Calls in flight."""


def main(config: LabelingThroughputConfig) -> dict[tuple[str, int, int], float]:
    """Run every system at every setting and print a table.

    Returns:
        Rows a second by system, latency and calls in flight.
    """
    rows = [f"Ticket {number:05d}: my card was charged twice for one order" for number in range(config.rows)]
    rates: dict[tuple[str, int, int], float] = {}
    click.echo(f"{'latency':>7} {'in flight':>9}  {'system':<14}{'rows/s':>8}{'of bare':>9}{'CPU ms/row':>12}")
    for latency in config.latencies:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, latency / 1000), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{ours.recv()}/v1"
        for wide in config.concurrency:
            measure(url, rows, latency, wide, rates)
        server.terminate()
        server.join()
    return rates


def measure(url: str, rows: list[str], latency: int, wide: int, rates: dict[tuple[str, int, int], float]) -> None:
    """Run every system at one setting; prints a line for each and adds its rate to `rates`."""
    with tempfile.TemporaryDirectory() as folder:
        labeler = Labeler(LabelSpace.of(LABELS), model=f"{url}#m", journal=f"{folder}/labeler", concurrency=wide)
        systems: dict[str, Callable[[], list[str | None]]] = {
            "bare aiohttp": lambda: asyncio.run(bare(url, rows, wide)),
            "engine": lambda: list(iterate(lambda: engine(url, rows, wide, f"{folder}/engine"))),
            "labeler": lambda: [found.label for found in labeler.predict(rows)],
            "replay": lambda: [found.label for found in labeler.predict(rows)],
        }
        for name, system in systems.items():
            start, cpu = time.perf_counter(), time.process_time()
            labels = system()
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            if labels != ["billing"] * len(rows):
                raise AssertionError(f"{name} lost or changed rows")
            rate = rates[name, latency, wide] = len(rows) / seconds
            share = rate / rates["bare aiohttp", latency, wide]
            click.echo(f"{latency:4} ms {wide:9}  {name:<14}{rate:8,.0f}{share:9.2f}{1000 * cpu / len(rows):12.2f}")


def prompt(text: str) -> list[dict[str, str]]:
    """What bare aiohttp and the engine ask."""
    return [{"role": "user", "content": f"Answer with one of {', '.join(LABELS)}.\n\nMessage: {text}\nLabel:"}]


async def bare(url: str, rows: list[str], wide: int) -> list[str | None]:
    """The floor: a pool of workers around aiohttp."""
    import aiohttp

    labels: list[str | None] = [None] * len(rows)
    left = iter(enumerate(rows))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for place, text in left:
                body = {"model": "m", "temperature": 0, "messages": prompt(text)}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    labels[place] = (await response.json())["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(wide)))
    return labels


async def engine(url: str, rows: list[str], wide: int, journal: str) -> AsyncIterator[str | None]:
    """The same question through the engine."""

    def parse(reply: Reply, _text: str) -> str:
        if reply.text not in LABELS:
            raise ReplyError("Answer with one of the labels.")
        return reply.text

    async with Engine(f"{url}#m", journal=journal, concurrency=wide) as one:
        async for outcome in one.map(rows, lambda text: Request(prompt(text)), parse):  # type: ignore[arg-type]
            yield outcome.value


class Fixed(asyncio.Protocol):
    """Answers every request with the same label, as fast as asyncio can."""

    def __init__(self, latency: float) -> None:
        """Wait `latency` seconds before each answer."""
        self._latency, self._buffer = latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in a request; answer once it is whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        if not found or len(rest) < length:
            return
        self._buffer = rest[length:]
        message = {"index": 0, "message": {"role": "assistant", "content": "billing"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 60, "completion_tokens": 2}
        answer = {"model": "m", "choices": [message], "usage": usage, "data": [{"id": "m"}]}
        body = json.dumps(answer).encode()
        raw = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        asyncio.get_running_loop().call_later(self._latency, self._send, raw)

    def _send(self, raw: bytes) -> None:
        if isinstance(self._transport, asyncio.Transport) and not self._transport.is_closing():
            self._transport.write(raw)


def serve(ready: Connection, latency: float) -> None:
    """Body of the server's process: say the port, then answer until the end."""

    async def body() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Fixed(latency), "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(body())
