"""Go down a tree of labels level by level: each request shows only what lies directly below the label before.

Short prompts in deep spaces, at one request for each level, which several documents can share. What is lost on the way
down is lost for good, so the confidence of a label is the product of those of the steps that led to it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.names import Question
from labelspace.agents.labeling.views import NONE_OF_THESE
from labelspace.errors import ConfigError
from labelspace.llm import Engine, Outcome, Request
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

Found = Outcome[Record, Answer]
_PENDING = 64
"""Parties that may be further down than the first of them."""
_NAMED = 12
"""Labels of a group that are named in its description."""


class Descend:
    """Asks for a label of the top, then for one below it, down to a leaf; along several branches where there are."""

    def __init__(
        self, space: LabelSpace, make: Callable[[LabelSpace, str | None], Question], *, together: int = 1
    ) -> None:
        """Take the tree.

        Args:
            space: The labels.
            make: Makes the question for one level from its labels, as a flat space, and the label above them.
            together: Documents that go down as one party: those of a party that reach the same label are asked about
                in one stream, so that a question can put several into a request.

        Raises:
            ConfigError: The space has one level only.
        """
        if space.is_flat:
            raise ConfigError(f"{space.name!r} has one level, so there is nothing to descend")
        self._space, self._make, self._together = space, make, together
        self._levels: dict[str | None, Question] = {}

    @property
    def source(self) -> Mapping[str, Any]:
        """That of the first level."""
        return self._at(None).source

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    def _at(self, name: str | None) -> Question:
        """The question about what lies directly below a label; None is above all."""
        if name not in self._levels:
            self._levels[name] = self._make(below(self._space, name), name)
        return self._levels[name]

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """Those of the first level; what is asked then depends on the replies."""
        return self._at(None).requests(records)

    async def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Found]:
        """One outcome for each record, in order."""
        tops = self._at(None).ask(engine, records, total=total, shown=shown)
        pending: deque[asyncio.Task[list[Found]]] = deque()
        party: list[Found] = []
        try:
            async with aclosing(cast("AsyncGenerator[Found, None]", tops)) as stream:
                async for top in stream:
                    party.append(top)
                    if len(party) < self._together:
                        continue
                    pending.append(asyncio.ensure_future(self._down(engine, party)))
                    party = []
                    while pending and (len(pending) > _PENDING or pending[0].done()):
                        for one in await pending[0]:
                            yield one
                        pending.popleft()
            if party:
                pending.append(asyncio.ensure_future(self._down(engine, party)))
            while pending:
                for one in await pending[0]:
                    yield one
                pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _down(self, engine: Engine, party: list[Found]) -> list[Found]:
        """Follow answers down to leaves."""

        async def branch(name: str, places: list[int]) -> list[Found]:
            records = [party[at].item for at in places]
            stream = cast("AsyncGenerator[Found, None]", self._at(name).ask(engine, records, total=None, shown=False))
            async with aclosing(stream) as outcomes:
                return await self._down(engine, [outcome async for outcome in outcomes])

        split = self._split(party)
        tasks = [asyncio.ensure_future(branch(name, places)) for name, places in split.items()]
        try:
            return self._all_joined(party, split, await asyncio.gather(*tasks))
        finally:  # where one branch ends the run, the others ask nothing more
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Found | None]:
        """What the journal alone tells of each record."""
        tops = self._at(None).replay(engine, records)
        while party := list(islice(tops, self._together)):
            known = iter(self._replayed(engine, [top for top in party if top is not None]))
            yield from (None if top is None else next(known) for top in party)

    def _replayed(self, engine: Engine, party: list[Found]) -> list[Found | None]:
        split, found = self._split(party), []
        lacking: set[int] = set()
        for name, places in split.items():
            tops = list(self._at(name).replay(engine, [party[at].item for at in places]))
            deeper = iter(self._replayed(engine, [top for top in tops if top is not None]))
            made = [None if top is None else next(deeper) for top in tops]
            lacking.update(at for at, one in zip(places, made, strict=True) if one is None)
            found.append([party[at] if one is None else one for at, one in zip(places, made, strict=True)])
        joined = self._all_joined(party, split, found)
        return [None if at in lacking else one for at, one in enumerate(joined)]

    def _split(self, party: list[Found]) -> dict[str, list[int]]:
        """Which of a party go on below each label."""
        places: dict[str, list[int]] = {}
        for at, outcome in enumerate(party):
            for name in self._groups(outcome):
                places.setdefault(name, []).append(at)
        return places

    def _all_joined(self, party: list[Found], split: dict[str, list[int]], found: list[list[Found]]) -> list[Found]:
        """One outcome for each of a party, from those below it by label."""
        deeper: list[dict[str, Found]] = [{} for _ in party]
        for (name, places), made in zip(split.items(), found, strict=True):
            for at, one in zip(places, made, strict=True):
                deeper[at][name] = one
        return [self._joined(above, own) for above, own in zip(party, deeper, strict=True)]

    def _groups(self, outcome: Found) -> list[str]:
        labels = () if outcome.value is None else outcome.value.labels
        return [name for name in labels if self._space.children(name)]

    def _joined(self, above: Found, ways: Mapping[str, Found]) -> Found:
        """One outcome of a level and those below it: it fails where any of them failed."""
        answer = above.value
        if answer is None or not ways:
            return above
        deeper = [ways[name] for name in self._groups(above)]
        for failed in deeper:
            if failed.value is None:
                return failed
        labels: list[str] = []
        scores: dict[str, float] = {}
        confidence = answer.confidence
        rationales = [answer.rationale]
        for name in answer.labels:
            share = answer.scores.get(name)
            found = ways[name].value if name in ways else None
            if found is None:
                labels.append(name)
                scores.update({} if share is None else {name: share})
                continue
            labels += [label for label in found.labels if label not in labels]
            rationales.append(found.rationale)
            if share is not None:
                scores.update({label: share * score for label, score in found.scores.items()})
            if found.labels:
                confidence = None if None in (confidence, found.confidence) else confidence * found.confidence  # type: ignore[operator]
        joined = replace(
            answer,
            labels=tuple(labels),
            none_fits=not labels,
            rationale=" / ".join(filter(None, rationales)) or None,
            scores=scores,
            confidence=confidence,
            source={**answer.source, "steps": 1 + max(_steps(one) for one in deeper)},
        )
        return replace(above, value=joined, reply=deeper[0].reply or above.reply)


def _steps(outcome: Found) -> int:
    return 1 if outcome.value is None else int(outcome.value.source.get("steps", 1))


def below(space: LabelSpace, name: str | None) -> LabelSpace:
    """The labels directly below one, as a flat space; each group tells what it holds."""
    labels = []
    for child in space.children(name):
        label, held = space[child], space.children(child)
        said = label.description
        if held:
            named = ", ".join(held[:_NAMED]) + (", ..." if len(held) > _NAMED else "")
            said = f"{said} It holds: {named}.".strip()
        labels.append(Label(name=child, description=said, examples=label.examples, instructions=label.instructions))
    bucket = space.other if name is None else space.other or NONE_OF_THESE
    return LabelSpace(
        name=name or space.name, labels=tuple(labels), multi_label=space.multi_label, other=bucket or None
    )


def relabelled(space: LabelSpace, labelled: Iterable[Record], name: str | None) -> list[Record]:
    """Labelled examples that lie below a label, each with the label of that level."""
    found = []
    for record in labelled:
        paths = [space.path(label) for label in record.labels or () if label in space]
        depth = 0 if name is None else len(space.path(name))
        own = dict.fromkeys(path[depth] for path in paths if name is None or path[depth - 1 : depth] == (name,))
        if own:
            found.append(replace(record, labels=tuple(own)))
    return found
