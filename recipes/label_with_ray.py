"""Label with Ray, kill a worker in the middle: the labels are, byte for byte, those of one process.

    labelspace run label_with_ray
    labelspace run label_with_ray rows=5000 workers=4

Rows are in a Parquet file; a server on loopback, in a process of its own, answers each with a label
that follows from its text, and counts. One process labels them all; then Ray Data actors do, each taking
partitions of 5,000 rows with a journal for each. Once a quarter of the rows is asked, one of the two
actors is killed (SIGKILL). What it had paid is in its partition's journal, where the next takes over.

Prints (100,000 rows, two CPU cores that others were using too, two minutes):
    one process              1,339 rows/s    100,000 calls
    killed a worker at part-00005
    2 workers, one killed    2,531 rows/s    100,011 calls
    the labels are identical; 11 calls repaid
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import signal
import tempfile
import threading
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path

import click

from labelspace.agents.labeling.labeler import Labeler
from labelspace.agents.labeling.ray import label_with_ray
from labelspace.config import Config
from labelspace.data import read_records, write_predictions, write_rows
from labelspace.space import LabelSpace

LABELS = ("billing", "refund", "login", "shipping", "cancel", "upgrade", "bug", "praise", "complaint", "other")


class LabelWithRayConfig(Config):
    """What `labelspace run label_with_ray` reads."""

    rows: int = 100_000
    """Rows to label."""
    workers: int = 2
    """Ray actors."""
    partition_rows: int = 5_000
    """Rows that an actor takes at a time."""
    concurrency: int = 64
    """Calls in flight, of all actors together."""


def main(config: LabelWithRayConfig) -> dict[str, float]:
    """Label twice, compare, and print rows a second and calls.

    Returns:
        Rows a second by way, calls that were `repaid`, and `identical`, 1 if the files are.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, space = Path(name), LabelSpace.of(LABELS)
        texts = (f"Ticket {number:06d}: my card was charged twice" for number in range(config.rows))
        write_rows(folder / "texts.parquet", ({"id": str(n), "text": text} for n, text in enumerate(texts)))
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{ours.recv()}/v1"

        start = time.perf_counter()
        labeler = Labeler(
            space, model=f"{url}#m", journal=folder / "alone.sqlite", concurrency=config.concurrency, progress=True
        )
        write_predictions(folder / "alone.jsonl", labeler, read_records(folder / "texts.parquet"), shown=False)
        alone, asked = config.rows / (time.perf_counter() - start), count(url)
        click.echo(f"one process            {alone:7,.0f} rows/s  {asked:9,} calls")

        start = time.perf_counter()
        killer = threading.Thread(target=kill_one, args=(folder / "parts", url, asked + config.rows // 4), daemon=True)
        killer.start()
        label_with_ray(
            space,
            read_records(folder / "texts.parquet"),
            str(folder / "ray.jsonl"),
            folder=folder / "parts",
            settings={"model": f"{url}#m", "concurrency": config.concurrency},
            workers=config.workers,
            partition_rows=config.partition_rows,
            progress=True,
        )
        spread, calls = config.rows / (time.perf_counter() - start), count(url) - asked
        click.echo(f"{config.workers} workers, one killed  {spread:7,.0f} rows/s  {calls:9,} calls")
        identical = (folder / "alone.jsonl").read_bytes() == (folder / "ray.jsonl").read_bytes()
        click.echo(f"the labels are {'identical' if identical else 'DIFFERENT'}; {calls - config.rows} calls repaid")
        server.terminate()
        server.join()
    return {"alone": alone, "ray": spread, "repaid": calls - config.rows, "identical": float(identical)}


def kill_one(parts: Path, url: str, after: int) -> None:
    """Once so many calls are answered, kill the process that holds a journal's lock."""
    while count(url) < after:
        time.sleep(0.1)
    for lock in sorted(parts.glob("*.journal.sqlite.lock"), reverse=True):
        holder = lock.read_bytes()[:20].split(b"\0")[0].strip()
        # The last journal to be opened is being worked on.
        if holder.isdigit() and int(holder) != os.getpid():
            os.kill(int(holder), signal.SIGKILL)
            click.echo(f"killed a worker at {lock.name.partition('.')[0]}")
            return


def count(url: str) -> int:
    """Calls that the server has answered."""
    with urllib.request.urlopen(f"{url}/models", timeout=30) as response:
        return int(json.load(response)["calls"])


class Counting(asyncio.Protocol):
    """Answers with the label that follows from the number in the text."""

    calls = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Take in a request; answer once it is whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if not found or len(rest) < size:
            return
        self._buffer = rest[size:]
        answer: dict[str, object] = {"data": [{"id": "m"}], "calls": Counting.calls}
        if size:
            Counting.calls += 1
            ticket = re.search(rb"Ticket (\d+)", rest)
            label = LABELS[int(ticket[1]) * 7 % 10] if ticket else ""
            choice = {"index": 0, "message": {"role": "assistant", "content": label}, "finish_reason": "stop"}
            answer = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 60, "completion_tokens": 2}}
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(head + body)


def serve(ready: Connection) -> None:
    """Body of the server's process: say the port, then answer until the end."""

    async def body() -> None:
        server = await asyncio.get_running_loop().create_server(Counting, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(body())
