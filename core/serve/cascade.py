"""A cascade behind the server: the head answers where it is sure; where not, an LLM is asked or a person told.

The head is sure where its conformal set holds one label (`labelspace cascade tune`). Nothing that happens to the LLM
is the caller's trouble: the head's answer is given then, and it says why a person should look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from labelspace.records import Prediction
from labelspace.serve.answers import Answer
from labelspace.serve.counts import Counts

UNSURE = "the head is not sure"


class Second(Protocol):
    """What is asked where the head is not sure."""

    name: str

    async def ask(self, texts: Sequence[str]) -> list[Prediction]:
        """What it says of each text; status failed, with the reason, where it says nothing. Never raises."""
        ...

    async def close(self) -> None:
        """Finish what was asked."""
        ...


class Cascade:
    """Completes what a head says."""

    def __init__(self, limit: float, second: Second | None, *, counts: Counts) -> None:
        """Put them together.

        Args:
            limit: Least probability of a label in the head's set.
            second: What is asked; None leaves it to a person.
            counts: What is counted.
        """
        self._limit, self._second, self._counts = limit, second, counts

    async def complete(self, texts: Sequence[str], answers: Sequence[Answer]) -> None:
        """Replace, or mark, what the head is not sure of; `answers` are those of `texts`."""
        unsure = []
        for at, one in enumerate(answers):
            if one.row is None:
                continue
            if int((one.row >= self._limit).sum()) == 1:
                self._counts.cascade("head")
            else:
                unsure.append(at)
        if not unsure:
            return
        if self._second is None:
            for at in unsure:
                answers[at].review = UNSURE
                self._counts.cascade("person")
            return
        said = await self._second.ask([texts[at] for at in unsure])
        for at, made in zip(unsure, said, strict=True):
            answer = answers[at]
            if made.status == "failed":
                answer.review = f"{UNSURE}; {made.reason}"
                self._counts.cascade("not answered")
                continue
            answer.answered_by, answer.labels, answer.likeliest = self._second.name, list(made.labels), made.label
            answer.confidence, answer.status, answer.reason = made.confidence, made.status, made.reason
            self._counts.cascade("model")

    async def close(self) -> None:
        """Finish what was asked."""
        if self._second is not None:
            await self._second.close()
