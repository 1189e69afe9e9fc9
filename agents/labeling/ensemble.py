"""Several models on the same texts: the label that most of them give, sure as far as they agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.labeler import Labeler
from labelspace.agents.labeling.predictions import FITS_NOWHERE, from_answer
from labelspace.agents.labeling.votes import Branches, tally
from labelspace.errors import ConfigError
from labelspace.llm import Estimate, iterate
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace


def own_journal(journal: str | Path | None, member: int) -> str | None:
    """The journal of a member, counted from 0: the first has the one named, each other one beside it."""
    if journal is None or not member:
        return None if journal is None else str(journal)
    path = Path(journal)
    return str(path.with_name(f"{path.stem}-{member + 1}{path.suffix}"))


class Ensemble:
    """Labels texts by several labelers, each with a model and a journal of its own. A `Classifier`.

    Confidence is the mean probability that the members give to the labels: where they tell none, the share of
    them that agree. A member that fails at a text does not vote on it.
    """

    def __init__(self, members: Sequence[Labeler]) -> None:
        """Take the members.

        Raises:
            ConfigError: There are fewer than two, or they label by different spaces.
        """
        if len(members) < 2:
            raise ConfigError(f"an ensemble has 2 models or more, not {len(members)}")
        if len({member.space.version for member in members}) > 1:
            raise ConfigError("the models of an ensemble label by the same space")
        self._members = members
        self.stopped: str | None = None
        """Why a member stopped early, where one did."""
        self.account: dict[str, Any] = {}
        """What each member counted, by the order of the members."""

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self._members[0].space

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order.

        Raises:
            ModelError: A model can't be used.
        """
        return iterate(lambda: self.stream(texts))

    async def stream(self, texts: Iterable[str | Record]) -> AsyncIterator[Prediction]:
        """As `predict`, for asynchronous callers."""
        branches = Branches(texts, len(self._members))
        streams: list[Any] = [one.stream(own) for one, own in zip(self._members, branches, strict=True)]
        try:
            while True:
                found = await asyncio.gather(*map(anext, streams), return_exceptions=True)
                if all(isinstance(one, StopAsyncIteration) for one in found):
                    return
                for one in found:
                    if isinstance(one, BaseException):
                        raise one
                yield self._joined([one for one in found if isinstance(one, Prediction)])
        finally:
            for stream in streams:
                await stream.aclose()
            self.stopped = next((one.stopped for one in self._members if one.stopped), None)
            self.account = {"members": [one.account for one in self._members]}
            if "candidates" in (first := self._members[0].account):
                self.account["candidates"] = first["candidates"]

    def estimate(self, texts: Iterable[str | Record]) -> list[Estimate]:
        """What each member would ask; nothing is asked."""
        records = list(texts)
        return [member.estimate(records) for member in self._members]

    def _joined(self, made: list[Prediction]) -> Prediction:
        voting = [one for one in made if one.status == "ok" or one.reason == FITS_NOWHERE]
        if not voting:
            return made[0]
        several = self.label_space.multi_label
        votes = [
            Answer(one.labels, one.status == "abstained", one.rationale, one.scores, one.confidence) for one in voting
        ]
        answer = tally(votes, several=several)
        source = {
            "model": [one.source.get("model") for one in made],
            "said": [list(one.labels) if one.status == "ok" else one.status for one in made],
            **{key: value for key, value in made[0].source.items() if key != "model"},
            **answer.source,
        }
        return from_answer(made[0].record_id, answer, voting[0].reason, source=source)
