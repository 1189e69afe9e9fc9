"""Load for a server that speaks `/classify`: a client whose own work is small beside the server's."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from labelspace.errors import ModelError

LENGTH = 256
"""Tokens of a text that are read; vLLM refuses longer ones that are not cut."""


async def ask(address: str, texts: Sequence[str], concurrency: int) -> tuple[list[Any], float]:
    """Ask about each text in a request of its own; returns the probabilities, and the seconds it took."""
    host, _, port = address.removeprefix("http://").partition(":")
    requests = []
    for text in texts:
        body = json.dumps({"input": [text], "truncate_prompt_tokens": LENGTH}).encode()
        head = f"POST /classify HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    left, found, loop = iter(enumerate(requests)), [b""] * len(texts), asyncio.get_running_loop()
    started = time.perf_counter()
    callers = [Caller(left, found, loop.create_future()) for _ in range(concurrency)]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, host, int(port))  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))
    seconds = time.perf_counter() - started
    return [json.loads(body)["data"][0]["probs"] for body in found], seconds


class Caller(asyncio.Protocol):
    """One connection with one request at a time: a client of a library would take as long as the server."""

    def __init__(self, left: Iterator[tuple[int, bytes]], found: list[bytes], done: asyncio.Future[None]) -> None:
        """Take requests from `left`, and put bodies of replies into `found`."""
        self.left, self.found, self.done = left, found, done

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        self._next()

    def _next(self) -> None:
        self.at, request = next(self.left, (-1, b""))
        if self.at < 0:
            self.transport.close()
            return
        self.came, self.size = b"", 0
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read on; go on with the next request when the reply is whole."""
        self.came += data
        if not self.size and (end := self.came.find(b"\r\n\r\n")) > 0:
            [length] = re.findall(rb"content-length: *(\d+)", self.came[:end].lower())
            self.body, self.size = end + 4, end + 4 + int(length)
        if self.size and len(self.came) >= self.size:
            if not self.came.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(ModelError(f"the server answers {self.came[:500]!r}"))
                self.transport.close()
                return
            self.found[self.at] = self.came[self.body :]
            self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        """All is asked, or the server has gone."""
        if not self.done.done():
            if self.at < 0:
                self.done.set_result(None)
            else:
                self.done.set_exception(ConnectionError("the server closed the connection"))
