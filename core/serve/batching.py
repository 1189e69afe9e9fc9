"""Batches that form by themselves: what comes in while the model is busy goes together into its next run.

Nothing waits for others to come, so a lone request is as fast as without batches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """A model in this process, run in one thread. A `Backend`."""

    def __init__(
        self,
        predict: Callable[[Sequence[str]], Probabilities],
        *,
        batch_size: int = 64,
        most_waiting: int = 4096,
        ran: Callable[[int], None] | None = None,
    ) -> None:
        """Take the model.

        Args:
            predict: Texts to probabilities [n, k]; called in one thread, never twice at once.
            batch_size: Texts of one run. A larger request takes several, and others get in between.
            most_waiting: Texts that may wait; more are refused.
            ran: Told the size of each run.
        """
        self._predict, self._size, self._most, self._ran = predict, batch_size, most_waiting, ran
        self._queue: deque[tuple[Sequence[str], asyncio.Future[Probabilities]]] = deque()
        self._thread = ThreadPoolExecutor(1, "labelspace-model")
        self._worker: asyncio.Task[None] | None = None
        self.waiting = 0
        """Texts that wait for a run."""

    async def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probability of each label for each text [n, k]."""
        parts = [await self._ask(texts[at : at + self._size]) for at in range(0, len(texts), self._size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _ask(self, texts: Sequence[str]) -> Probabilities:
        if self.waiting + len(texts) > self._most:
            raise Overloaded(f"{self.waiting} texts wait already")
        answer: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        self._queue.append((texts, answer))
        self.waiting += len(texts)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        """Run the model until nothing waits."""
        try:
            while self._queue:
                taken, size = [], 0
                while self._queue and size + len(self._queue[0][0]) <= self._size:
                    texts, answer = self._queue.popleft()
                    self.waiting -= len(texts)
                    if not answer.done():  # who asked has gone
                        taken.append((texts, answer))
                        size += len(texts)
                if taken:
                    await self._run(taken)
        finally:
            self._worker = None

    async def _run(self, taken: list[tuple[Sequence[str], asyncio.Future[Probabilities]]]) -> None:
        texts = [text for part, _ in taken for text in part]
        if self._ran is not None:
            self._ran(len(texts))
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, texts)
        except Exception as error:  # told to whoever asked
            if len(taken) > 1:  # one request must not spoil the others
                for one in taken:
                    await self._run([one])
            elif not taken[0][1].done():
                taken[0][1].set_exception(error)
            return
        at = 0
        for part, answer in taken:
            if not answer.done():
                answer.set_result(rows[at : at + len(part)])
            at += len(part)

    async def close(self) -> None:
        """Finish what waits; end the thread."""
        if self._worker is not None:
            await asyncio.wait([self._worker])
        self._thread.shutdown()
