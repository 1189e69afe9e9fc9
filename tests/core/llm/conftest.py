"""A chat server on loopback that fails as told: real sockets, written for these tests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Answer:
    """What the server does with one request."""

    text: str = "billing"
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    delay: float = 0.0
    until: Callable[[], bool] | None = None  # it waits for this, too
    then: str = "send"  # send, reset (before anything), cut (in mid-body), flood (no end), hang
    finish: str = "stop"
    logprobs: Any = None
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 20, "completion_tokens": 2})
    tool: str | None = None

    def payload(self) -> bytes:
        if self.body is not None:
            return self.body
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool is not None:
            call = {"id": "c", "type": "function", "function": {"name": "reply", "arguments": self.tool}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": self.logprobs}
        data: dict[str, Any] = {"id": "1", "object": "chat.completion", "model": "fake", "choices": [choice]}
        if self.usage is not None:
            data["usage"] = self.usage
        return json.dumps(data).encode()


def error(status: int, message: str = "injected", code: str | None = None, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Answer(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


Script = Callable[[dict[str, Any], int], Answer]


class FaultServer:
    """Counts requests and answers each as its script says."""

    def __init__(self) -> None:
        self.script: Script = lambda body, count: Answer()
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.times: list[float] = []
        self.served = 0
        self.in_flight = self.most_in_flight = 0
        self.owned_by = "tests"
        self.version: str | None = None
        self.models = ["fake"]
        self.gets: list[str] = []
        self.slow = False
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1#fake"

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self) -> None:
        async def go() -> None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]

        self._do(go())

    def stop(self) -> None:
        async def go() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0.01)

        self._do(go())

    def close(self) -> None:
        self.stop()

        async def go() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._do(go())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                raw = await reader.readexactly(length)
                path = head.split(" ")[1]
                if head.startswith("GET"):
                    self.gets.append(path)
                    answer = self._page(path)
                else:
                    self.heads.append(head)
                    self.bodies.append(json.loads(raw))
                    self.times.append(time.monotonic())
                    answer = self.script(self.bodies[-1], len(self.bodies))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    if not await self._send(answer, writer, counted=not head.startswith("GET")):
                        return
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _page(self, path: str) -> Answer:
        if path == "/v1/models":
            data = [{"id": name, "object": "model", "owned_by": self.owned_by} for name in self.models]
            return Answer(body=json.dumps({"object": "list", "data": data}).encode())
        if path == "/version" and self.version is not None:
            return Answer(body=json.dumps({"version": self.version}).encode())
        return error(404, "no such page")

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter, *, counted: bool) -> bool:
        if answer.delay:
            await asyncio.sleep(answer.delay)
        while answer.until is not None and not answer.until():
            await asyncio.sleep(0.01)
        if answer.then == "hang":
            await asyncio.sleep(3600)
        if answer.then == "reset":
            writer.transport.abort()
            return False
        if answer.then == "flood":
            writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n")
            while True:  # ends when the client hangs up
                writer.write(b" " * (1 << 20))
                await writer.drain()
        payload = answer.payload()
        headers = {"content-type": answer.content_type, "content-length": str(len(payload)), **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode())
        if answer.then == "cut":
            writer.write(payload[: len(payload) // 2])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.transport.abort()
            return False
        self.served += counted and answer.status == 200  # before the client can know of it
        writer.write(payload)
        await writer.drain()
        return True


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A fresh server for each test."""
    one = FaultServer()
    one.start()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key and no prices of the user's."""
    for name in ("OPENAI_API_KEY", "LABELSPACE_API_KEY", "LABELSPACE_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
