"""Asynchronous code for callers that are not: `run` for one result, `iterate` for a stream."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar, cast

T = TypeVar("T")
_AHEAD = 4096
"""Results that may wait for a slow reader."""
_END = object()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs already (a notebook).

    It runs in a thread of its own, so that Ctrl-C stops it in an orderly way: what is in flight, and
    paid, ends and is kept.
    """

    async def one() -> AsyncIterator[T]:
        yield await work

    return next(iter(list(iterate(one))))


def iterate(make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Read an asynchronous iterator as a plain one.

    It runs in a thread with an event loop of its own, so that calls in flight go on while the reader
    does something else. Closing the iterator, or Ctrl-C, stops the source and waits for its end.

    Args:
        make: Makes the asynchronous iterator; called in that thread.
    """
    results: SimpleQueue[object] = SimpleQueue()
    errors: list[BaseException] = []
    started = threading.Event()
    task: asyncio.Task[None] | None = None
    loop: asyncio.AbstractEventLoop | None = None

    async def read() -> None:
        nonlocal task, loop
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        started.set()
        source = make()
        try:
            async for result in source:
                results.put(result)
                while results.qsize() > _AHEAD:
                    await asyncio.sleep(0.002)
        finally:
            if (close := getattr(source, "aclose", None)) is not None:
                await close()

    def body() -> None:
        try:
            asyncio.run(read())
        except BaseException as error:
            errors.append(error)
        finally:
            started.set()
            results.put(_END)

    thread = threading.Thread(target=body, name="labelspace", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not _END:
            yield cast("T", result)
    finally:
        started.wait()
        if thread.is_alive() and task is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
                loop.call_soon_threadsafe(task.cancel)
        thread.join()
    if errors:
        raise errors[0]
