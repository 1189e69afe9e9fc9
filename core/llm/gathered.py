"""Calls that come together, answered together: for models in this process, which like batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from labelspace.llm.request import Reply, Request


class Gathered:
    """Hands all requests that wait to a function, in one thread of its own, while others gather."""

    def __init__(self, answer: Callable[[list[Request]], Sequence[Reply | Exception]], *, most: int) -> None:
        """Take the function, and how many requests it takes at once; it may answer one with an exception."""
        self._answer, self._most = answer, most
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._thread: ThreadPoolExecutor | None = None
        self._running: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> Reply:
        """The reply to one request."""
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, done))
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        return await done

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever asks in this turn of the loop comes along
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                requests = [request for request, _ in batch]
                replies: Sequence[Reply | Exception]
                try:
                    replies = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, requests)
                except Exception as error:
                    replies = [error] * len(batch)
                for (_, done), reply in zip(batch, replies, strict=True):
                    if done.done():
                        continue
                    if isinstance(reply, Exception):
                        done.set_exception(reply)
                    else:
                        done.set_result(reply)
        finally:
            self._running = None

    def close(self) -> None:
        """Let the thread end; whoever asks again starts another."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None
