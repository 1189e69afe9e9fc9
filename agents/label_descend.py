"""Go down a tree of labels level by level: each request shows only what lies directly below the label before.

Short prompts in deep spaces, at one request for each level. What is lost on the way down is lost for good,
so the confidence of a label is the product of those of the steps that led to it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from labelspace.agents.label_form import Answer
from labelspace.agents.label_names import ByName
from labelspace.agents.label_views import NONE_OF_THESE
from labelspace.errors import ConfigError
from labelspace.llm import Engine, Outcome, Request
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

_PENDING = 64
"""Documents that may be further down than the first of them."""
_NAMED = 12
"""Labels of a group that are named in its description."""


class Descend:
    """Asks for a label of the top, then for one below it, down to a leaf; along several branches where there are."""

    def __init__(self, space: LabelSpace, make: Callable[[LabelSpace, str | None], ByName]) -> None:
        """Take the tree.

        Args:
            space: The labels.
            make: Makes the question for one level from its labels, as a flat space, and the label above them.

        Raises:
            ConfigError: The space has one level only.
        """
        if space.is_flat:
            raise ConfigError(f"{space.name!r} has one level, so there is nothing to descend")
        self._space, self._make = space, make
        self._levels: dict[str | None, ByName] = {}

    @property
    def source(self) -> Mapping[str, Any]:
        """That of the first level."""
        return self._at(None).source

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    def _at(self, name: str | None) -> ByName:
        """The question about what lies directly below a label; None is above all."""
        if name not in self._levels:
            self._levels[name] = self._make(below(self._space, name), name)
        return self._levels[name]

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """Those of the first level; what is asked then depends on the replies."""
        return self._at(None).requests(records)

    async def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        tops = self._at(None).ask(engine, records, total=total, shown=shown)
        pending: deque[asyncio.Task[Outcome[Record, Answer]]] = deque()
        try:
            async with aclosing(cast("AsyncGenerator[Outcome[Record, Answer], None]", tops)) as stream:
                async for top in stream:
                    pending.append(asyncio.ensure_future(self._down(engine, top)))
                    while pending and (len(pending) > _PENDING or pending[0].done()):
                        yield await pending[0]
                        pending.popleft()
            while pending:
                yield await pending[0]
                pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _down(self, engine: Engine, above: Outcome[Record, Answer]) -> Outcome[Record, Answer]:
        """Follow an answer down to leaves."""
        deeper: list[Outcome[Record, Answer]] = []
        for name in self._groups(above):
            stream = cast("AsyncGenerator[Any, None]", self._ask_one(engine, above.item, name))
            async with aclosing(stream) as outcomes:
                async for outcome in outcomes:
                    deeper.append(await self._down(engine, outcome))
        return self._joined(above, deeper)

    def _ask_one(self, engine: Engine, record: Record, name: str) -> AsyncIterator[Outcome[Record, Answer]]:
        return self._at(name).ask(engine, [record], total=None, shown=False)

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record."""
        for top in self._at(None).replay(engine, records):
            yield None if top is None else self._replayed(engine, top)

    def _replayed(self, engine: Engine, above: Outcome[Record, Answer]) -> Outcome[Record, Answer] | None:
        deeper = []
        for name in self._groups(above):
            [outcome] = self._at(name).replay(engine, [above.item])
            found = None if outcome is None else self._replayed(engine, outcome)
            if found is None:
                return None
            deeper.append(found)
        return self._joined(above, deeper)

    def _groups(self, outcome: Outcome[Record, Answer]) -> list[str]:
        labels = () if outcome.value is None else outcome.value.labels
        return [name for name in labels if self._space.children(name)]

    def _joined(self, above: Outcome[Record, Answer], deeper: list[Outcome[Record, Answer]]) -> Outcome[Record, Answer]:
        """One outcome of a level and those below it: it fails where any of them failed."""
        answer = above.value
        if answer is None or not deeper:
            return above
        for failed in deeper:
            if failed.value is None:
                return failed
        ways = dict(zip(self._groups(above), deeper, strict=True))
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


def _steps(outcome: Outcome[Record, Answer]) -> int:
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
