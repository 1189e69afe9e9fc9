"""A chat server on loopback that names the colour which a document begins with, and counts what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator

import pytest


class Judge:
    """An asynchronous server in a thread: fast enough to keep several workers busy on one core."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.delay = 0.0
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1#tiny"

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                data = self._answer(json.loads(body)) if length else {"data": [{"id": "tiny", "owned_by": "tests"}]}
                if length and self.delay:
                    await asyncio.sleep(self.delay)
                payload = json.dumps(data).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(payload)
                )
                writer.write(payload)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, body: dict) -> dict:
        text = next(one for one in body["messages"] if one["role"] == "user")["content"].split("\n")[1]
        self.asked[text] += 1
        message = {"role": "assistant", "content": json.dumps({"choice": text.split()[0]})}
        usage = {"prompt_tokens": 20, "completion_tokens": 2}
        return {"model": "tiny", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def judge() -> Iterator[Judge]:
    one = Judge()
    yield one
    one.close()
