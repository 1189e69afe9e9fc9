"""Ask several times and let the replies vote: under other orders of the labels, at a temperature, or both.

The order in which labels stand sways a model, and one reply says little about how sure it is. What is
averaged is the probability that each reply gives to each label: all of it to the labels named, where
nothing else is told.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from labelspace.agents.labeling.form import GIVEN, Answer
from labelspace.agents.labeling.names import Question
from labelspace.llm import Engine, Outcome, Request
from labelspace.records import Record, as_records

Voted = Outcome[Record, Answer]


class Votes:
    """Asks each question about each document, and counts."""

    def __init__(self, questions: Sequence[Question], *, several: bool) -> None:
        """Take the voters.

        Args:
            questions: Each asks for the same labels in its own way.
            several: Whether a document can have several labels.
        """
        self._questions, self._several = questions, several

    @property
    def source(self) -> Mapping[str, Any]:
        """That of the voters, who differ in what they show only."""
        return self._questions[0].source

    async def start(self, engine: Engine) -> None:
        """Whatever the voters have to find out."""
        for question in self._questions:
            await question.start(engine)

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """All that the voters ask."""
        branches = Branches(records, len(self._questions))
        streams = [one.requests(branch) for one, branch in zip(self._questions, branches, strict=True)]
        while streams:
            for stream in list(streams):
                if (request := next(stream, None)) is None:
                    streams.remove(stream)
                else:
                    yield request

    async def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Voted]:
        """One outcome for each record, in order."""
        branches = Branches(records, len(self._questions))
        streams: list[Any] = [
            question.ask(engine, branch, total=total, shown=shown and place == 0)
            for place, (question, branch) in enumerate(zip(self._questions, branches, strict=True))
        ]
        try:
            # All must be waited for at once: a stream asks nothing new while nobody waits for it.
            while True:
                found = await asyncio.gather(*map(anext, streams), return_exceptions=True)
                for one in found:
                    if isinstance(one, StopAsyncIteration):
                        return
                    if isinstance(one, BaseException):
                        raise one
                yield self._counted([one for one in found if isinstance(one, Outcome)])
        finally:
            for stream in streams:
                await stream.aclose()

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Voted | None]:
        """What the journal alone tells of each record."""
        branches = Branches(records, len(self._questions))
        streams = [one.replay(engine, branch) for one, branch in zip(self._questions, branches, strict=True)]
        for votes in zip(*streams, strict=True):
            there = [vote for vote in votes if vote is not None]
            yield self._counted(there) if len(there) == len(votes) else None

    def _counted(self, votes: Sequence[Voted]) -> Voted:
        """One outcome for a record: of the votes that could be read, where there are any."""
        read = [vote for vote in votes if vote.value is not None]
        if not read:
            return votes[0]
        answer = tally([vote.value for vote in read if vote.value is not None], several=self._several)
        agreeing = next((vote for vote in read if vote.value and vote.value.labels == answer.labels), read[0])
        return replace(agreeing, value=answer)


def tally(votes: Sequence[Answer], *, several: bool) -> Answer:
    """The answer of several voters.

    Args:
        votes: At least one.
        several: Whether a document can have several labels: then each with one half of the votes is given, and
            otherwise the one with most, the first come where it is a draw.
    """
    totals: dict[str, float] = {}
    none = 0.0
    for vote in votes:
        if vote.none_fits:
            none += 1.0 if vote.confidence is None else vote.confidence
        for name, weight in (vote.scores or dict.fromkeys(vote.labels, 1.0)).items():
            totals[name] = totals.get(name, 0.0) + weight
    shares = {name: totals[name] / len(votes) for name in sorted(totals, key=lambda name: -totals[name])}
    if several:
        labels = tuple(name for name, share in shares.items() if share >= GIVEN)
        none_fits = not labels and none >= len(votes) * GIVEN
        confidence = math.prod(share if share >= GIVEN else 1 - share for share in shares.values())
    else:
        best = next(iter(shares), "")
        none_fits = not shares or none > totals[best]
        labels = () if none_fits else (best,)
        confidence = none / len(votes) if none_fits else shares[best]
    same = [vote for vote in votes if vote.labels == labels]
    rationale = next((vote.rationale for vote in same if vote.rationale), None)
    source = {**votes[0].source, "votes": len(votes), "agreement": round(len(same) / len(votes), 4)}
    return Answer(labels, none_fits, rationale, shares, min(confidence, 1.0), source)


class Branches:
    """Several readers of one source, each in a thread of its own perhaps; holds what one has read and others not."""

    def __init__(self, texts: Iterable[str | Record], count: int) -> None:
        """Read nothing yet."""
        self._records, self._lock = as_records(texts), threading.Lock()
        self._waiting: list[deque[Record]] = [deque() for _ in range(count)]

    def __iter__(self) -> Iterator[Iterator[Record]]:
        """The readers."""
        return (self._read(place) for place in range(len(self._waiting)))

    def _read(self, place: int) -> Iterator[Record]:
        own = self._waiting[place]
        while True:
            with self._lock:
                if not own:
                    record = next(self._records, None)
                    if record is None:
                        return
                    for waiting in self._waiting:
                        waiting.append(record)
                record = own.popleft()
            yield record
