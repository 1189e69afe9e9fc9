"""Batches that form by themselves: what comes in while the model is busy goes together into its next run.

Nothing waits for others to come, so a lone request is as fast as without batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.floating[Any]]
"""One row for each text [n, k]."""


class Overloaded(Exception):
    """There is more waiting than is answered in time; the caller may come again."""


class Refused(Exception):
    """A text that no model behind this can answer; it is the caller's to change it."""


class Backend(Protocol):
    """What a server asks."""

    async def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probability of each label for each text [n, k]; texts are not blank.

        Raises:
            Overloaded: Not now.
            Refused: Never.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted, and let go."""
        ...


class Batcher:
    """A model in this process, run in threads. A `Backend`."""

    def __init__(
        self,
        predict: Callable[[Sequence[str]], Probabilities],
        *,
        batch_size: int = 64,
        threads: int = 1,
        most_waiting: int = 4096,
        ran: Callable[[int], None] | None = None,
    ) -> None:
        """Take the model.

        Args:
            predict: Texts to probabilities [n, k]; called in several threads at once, if there are several.
            batch_size: Texts of one run. A larger request takes several, and others get in between.
            threads: Runs at once.
            most_waiting: Texts that may wait; more are refused.
            ran: Told the size of each run.
        """
        self._predict, self._size, self._threads = predict, batch_size, threads
        self._most, self._ran = most_waiting, ran
        self._queue: list[_Asked] = []
        self._pool = ThreadPoolExecutor(threads, "labelspace-model")
        self._workers: set[asyncio.Task[None]] = set()
        self.waiting = 0
        """Texts that wait for a run."""

    async def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probability of each label for each text [n, k]."""
        if len(texts) <= self._size:
            return await self._ask(texts)
        cuts = [texts[at : at + self._size] for at in range(0, len(texts), self._size)]
        parts: list[Probabilities] = []
        for at in range(0, len(cuts), self._threads):  # as many as run at once
            parts += await asyncio.gather(*map(self._ask, cuts[at : at + self._threads]))
        return np.concatenate(parts)

    async def _ask(self, texts: Sequence[str]) -> Probabilities:
        if self.waiting + len(texts) > self._most:
            raise Overloaded(f"{self.waiting} texts wait already")
        answer: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        self._queue.append(_Asked(texts, answer, max(map(len, texts))))
        self.waiting += len(texts)
        if len(self._workers) < self._threads:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await answer

    async def _work(self) -> None:
        """Run the model until nothing waits."""
        while self._queue:
            if taken := self._take():
                await self._run(taken)

    def _take(self) -> list[_Asked]:
        """What runs together: who has waited longest, and others with texts of about that length: little is padded."""
        first, size = self._queue[0], 0
        taken, left = [], []
        # What waits is shared among the threads, so that none idles while another has all.
        most = max(len(first.texts), min(self._size, -(-self.waiting // self._threads)))
        near = (
            sorted(self._queue, key=lambda one: abs(one.length - first.length)) if self.waiting > most else self._queue
        )
        for one in near:
            if one.answer.done():  # who asked has gone
                self.waiting -= len(one.texts)
            elif size + len(one.texts) <= most:
                taken.append(one)
                size += len(one.texts)
            else:
                left.append(one)
        self.waiting -= size
        self._queue = sorted(left, key=lambda one: one.since) if near is not self._queue else left
        return taken

    async def _run(self, taken: list[_Asked]) -> None:
        texts = [text for one in taken for text in one.texts]
        if self._ran is not None:
            self._ran(len(texts))
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._pool, self._predict, texts)
        except Exception as error:  # told to whoever asked
            if len(taken) > 1:  # one request must not spoil the others
                for one in taken:
                    await self._run([one])
            elif not taken[0].answer.done():
                taken[0].answer.set_exception(error)
            return
        at = 0
        for one in taken:
            if not one.answer.done():
                one.answer.set_result(rows[at : at + len(one.texts)])
            at += len(one.texts)

    async def close(self) -> None:
        """Finish what waits; end the threads."""
        if self._workers:
            await asyncio.wait(self._workers)
        self._pool.shutdown()


_turns = count()


@dataclass(slots=True)
class _Asked:
    """Texts that wait."""

    texts: Sequence[str]
    answer: asyncio.Future[Probabilities]
    length: int
    """Of the longest text, in characters."""
    since: int = field(default_factory=lambda: next(_turns))
