"""An LLM that is asked what a served head is not sure of: over days, one engine, within a budget, and never an error.

The labeling engine stops for good where a key is wrong, a budget spent or a server away. A server has to go on, so
that whatever happens is told as a prediction that failed, and after a pause a stopped engine is opened anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from labelspace.agents.labeling.labeler import Labeler
from labelspace.errors import BudgetExceeded, LabelspaceError
from labelspace.llm import ChatModel, Engine
from labelspace.records import Prediction
from labelspace.serve.guard import within
from labelspace.space import LabelSpace

SPENT = "the budget is spent"
RATE = "too many are asked about in a minute"
AWAY = "the model that is asked does not answer"
_PAUSE = 10.0
"""Seconds for which a model that does not answer is left alone."""


class SecondOpinion:
    """Asks about single texts, from any number of tasks of one event loop."""

    def __init__(
        self,
        space: LabelSpace,
        model: str | ChatModel,
        *,
        journal: str | Path,
        budget: str | None = None,
        per_minute: int | None = None,
        seconds: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say what is asked; nothing is opened yet.

        Args:
            space: The labels.
            model: As for `Labeler`.
            journal: SQLite file that keeps replies; what is spent counts from its beginning.
            budget: As for `Engine`: calls, tokens or money.
            per_minute: Texts that may be asked about in any minute.
            seconds: For one answer.
            clock: Seconds.

        Raises:
            ConfigError: The budget or the model is none.
        """
        asked: dict[str, Any] = {"budget": budget, "patience": seconds / 2, "retries": 1, "retry_failed": True}
        self._labeler = Labeler(space, model=model, journal=journal, engine=asked)
        self.name = Engine(model, **asked).model.name
        """Of the model."""
        self._most, self._seconds, self._clock = per_minute, seconds, clock
        self._asked: deque[float] = deque()
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._until, self._why = 0.0, ""
        self.spent = False
        """Whether the budget is; from then on nothing is asked."""

    async def ask(self, texts: Sequence[str]) -> list[Prediction]:
        """What the model says of each text; status failed, with the reason, where it does not."""
        return list(await asyncio.gather(*map(self._one, texts)))

    async def _one(self, text: str) -> Prediction:
        if reason := self._refusal():
            return Prediction("", status="failed", reason=reason)
        engine: Engine | None = None
        try:
            async with within(self._seconds):
                engine = await self._opened()
                return await self._labeler.answer(engine, text)
        except BudgetExceeded:
            self.spent = True
            return Prediction("", status="failed", reason=SPENT)
        except asyncio.TimeoutError:
            return Prediction("", status="failed", reason=f"{AWAY}: nothing came within {self._seconds:g} s")
        except (LabelspaceError, OSError) as error:
            self._until, self._why = self._clock() + _PAUSE, f"{AWAY}: {str(error).splitlines()[0]}"
            if engine is self._engine:  # another may have been opened meanwhile
                await self.close()
            return Prediction("", status="failed", reason=self._why)

    def _refusal(self) -> str:
        """Why nothing is asked now."""
        now = self._clock()
        if self.spent:
            return SPENT
        if now < self._until:
            return self._why
        if self._most is not None:
            while self._asked and self._asked[0] <= now - 60:
                self._asked.popleft()
            if len(self._asked) >= self._most:
                return RATE
            self._asked.append(now)
        return ""

    async def _opened(self) -> Engine:
        async with self._opening:
            if self._engine is None:
                self._open = self._labeler.opened()
                self._engine = await self._open.__aenter__()
            return self._engine

    async def close(self) -> None:
        """Let calls in flight end."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await self._open.__aexit__(None, None, None)
