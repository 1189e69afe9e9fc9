"""Reading items without holding up the calls in flight."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
_PATIENCE = 0.05
"""Seconds after which a slow source hands over what it has."""


class Source(Generic[T]):
    """Reads up to so many items at a time from a sequence, any iterable, or an asynchronous one.

    A plain iterable may block (standard input, a slow disk), so it is read in a thread.
    """

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        """Start reading nothing yet."""
        self.ended = False
        self._error: BaseException | None = None
        self.total = len(items) if isinstance(items, Sequence) else None
        self._later: AsyncIterator[T] | None = None
        self._direct: Iterator[T] | None = None
        self._asked: SimpleQueue[tuple[int, asyncio.Future[tuple[list[T], BaseException | None, bool]]] | None] | None
        self._asked = None
        if isinstance(items, AsyncIterable):
            self._later = aiter(items)
        elif isinstance(items, (list, tuple, range)):
            self._direct = iter(items)
        else:
            self._asked = SimpleQueue()
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(iter(items), loop), name="source", daemon=True).start()

    async def take(self, most: int) -> list[T]:
        """The next items, fewer than `most` where the source is slow or has ended.

        What the source raises is raised after the items before it.
        """
        if self._error is not None:
            self.ended = True
            raise self._error
        if self._direct is not None:
            taken = list(islice(self._direct, most))
            self.ended = len(taken) < most
        elif self._later is not None:
            taken = await self._take_later(most)
        else:
            assert self._asked is not None
            got: asyncio.Future[tuple[list[T], BaseException | None, bool]]
            got = asyncio.get_running_loop().create_future()
            self._asked.put((most, got))
            taken, self._error, self.ended = await got
        return taken

    async def _take_later(self, most: int) -> list[T]:
        assert self._later is not None
        taken: list[T] = []
        start = time.monotonic()
        while len(taken) < most and (not taken or time.monotonic() - start < _PATIENCE):
            try:
                taken.append(await anext(self._later))
            except StopAsyncIteration:
                self.ended = True
                break
            except Exception as error:
                self._error = error
                break
        return taken

    def _read(self, items: Iterator[T], loop: asyncio.AbstractEventLoop) -> None:
        """Body of the reading thread."""
        assert self._asked is not None
        while (asked := self._asked.get()) is not None:
            most, got = asked
            taken: list[T] = []
            error: BaseException | None = None
            ended = False
            start = time.monotonic()
            try:
                for item in items:
                    taken.append(item)
                    if len(taken) >= most or time.monotonic() - start > _PATIENCE:
                        break
                else:
                    ended = True
            except BaseException as failure:
                error = failure
            try:
                loop.call_soon_threadsafe(_hand_over, got, (taken, error, ended))
            except RuntimeError:  # the loop is closed: nobody reads any more
                return

    def close(self) -> None:
        """Let the reading thread end."""
        if self._asked is not None:
            self._asked.put(None)


def _hand_over(got: asyncio.Future[T], value: T) -> None:
    if not got.done():
        got.set_result(value)
