"""Ask about several documents in one request: for long label tables, which are then sent and paid less often.

Answers are mapped back by the number of their document. What is missing, said twice or no label is
asked again singly, and all of a reply that answers for a document which it was not shown.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from labelspace.agents.labeling.form import Answer, closed_object
from labelspace.agents.labeling.names import JSON_TOKENS, ByName
from labelspace.agents.labeling.views import View
from labelspace.agents.replies import read_object
from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request
from labelspace.prompts import load_prompt
from labelspace.records import Record

_PENDING = 64
"""Requests whose documents may wait for answers that are asked again singly."""
_TWICE = object()
"""The answer of a document that was given two different ones."""


@dataclass(slots=True)
class _Pending:
    outcome: Outcome[list[Record], dict[int, Answer]]
    singly: dict[int, asyncio.Task[Outcome[Record, Answer]]]
    """Documents that are asked again, by their place."""


class InBatches:
    """So many documents in a request; a single one, and what goes wrong, is asked by name."""

    def __init__(self, names: ByName, size: int, *, prompts: str | Path | None = None) -> None:
        """Fill in all of the prompt but the documents.

        Args:
            names: How a document is asked about singly.
            size: Documents in a request.
            prompts: Folder of templates that replace ours by name.

        Raises:
            ConfigError: `size` is less than 2.
        """
        if size < 2:
            raise ConfigError(f"a batch has at least 2 documents, not {size}")
        self._names, self._size = names, size
        several = names.space.multi_label
        self._prompt = load_prompt("label_batch", folder=prompts).bind(**names.known, several=several)
        if names.views.is_fixed:
            self._prompt = self._prompt.bind(**names.views.of(()).variables)
        self.asked_singly = 0
        """Documents whose answer in a batch could not be used."""

    @property
    def source(self) -> Mapping[str, Any]:
        """That of the single question; answers from a batch say so themselves."""
        return self._names.source

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    # -- asking ------------------------------------------------------------------------------

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """One for each batch."""
        return map(self._request, self._batches(records))

    async def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        self.asked_singly = 0
        outcomes = engine.map(
            self._batches(records),
            self._request,
            self._read,
            purpose="label",
            version=self._prompt.hash,
            shorten=self._shorten,
            total=None if total is None else -(-total // self._size),
            shown=shown,
        )
        pending: deque[_Pending] = deque()
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", outcomes)) as stream:
                async for outcome in stream:
                    pending.append(self._begin(engine, outcome))
                    while pending and (len(pending) > _PENDING or _is_done(pending[0])):
                        for one in await self._end(pending[0]):
                            yield one
                        pending.popleft()
            while pending:
                for one in await self._end(pending[0]):
                    yield one
                pending.popleft()
        finally:
            left = [task for one in pending for task in one.singly.values()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record."""
        for batch in self._batches(records):
            [outcome] = engine.known([batch], self._request, self._read, shorten=self._shorten)
            if outcome is None:
                yield from [None] * len(batch)
                continue
            for place, record in enumerate(batch):
                if outcome.value is not None and place in outcome.value:
                    yield self._found(outcome, place)
                else:
                    yield from self._names.replay(engine, [record])

    def _batches(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        left = iter(self._names.views.look_up(records))
        while batch := list(islice(left, self._size)):
            yield batch

    def _request(self, batch: list[Record]) -> Request:
        if len(batch) == 1:
            return self._names.request(batch[0])
        texts = [cut_middle(record.text, self._names.max_chars) for record in batch]
        view = self._view(batch)
        shown = {} if self._names.views.is_fixed else view.variables
        answer = self._names.form.schema(view.names)
        numbers = {str(number): {"$ref": "#/$defs/answer"} for number in range(1, len(batch) + 1)}
        schema = {**closed_object(numbers), "$defs": {"answer": answer}}
        return Request(
            self._prompt.render(documents=texts, **shown),
            schema=schema,
            max_tokens=self._names.max_tokens or JSON_TOKENS,
            **self._names.sampling,
        )

    def _view(self, batch: list[Record]) -> View:
        return self._names.views.of([record.text for record in batch])

    def _shorten(self, batch: list[Record], times: int) -> Request | None:
        return self._names.shorten(batch[0], times) if len(batch) == 1 else None

    def _begin(self, engine: Engine, outcome: Outcome[list[Record], dict[int, Answer]]) -> _Pending:
        """Ask again for the documents that have no usable answer."""
        found, singly = outcome.value or {}, {}
        if len(outcome.item) > 1:
            lacking = [place for place in range(len(outcome.item)) if place not in found]
            self.asked_singly += len(lacking)
            singly = {place: asyncio.ensure_future(self._single(engine, outcome.item[place])) for place in lacking}
        return _Pending(outcome, singly)

    async def _single(self, engine: Engine, record: Record) -> Outcome[Record, Answer]:
        outcomes = self._names.ask(engine, [record], total=None, shown=False)
        async with aclosing(cast("AsyncGenerator[Outcome[Record, Answer], None]", outcomes)) as stream:
            return await anext(stream)

    async def _end(self, pending: _Pending) -> list[Outcome[Record, Answer]]:
        """The outcomes of a batch, once those that are asked again are there."""
        return [
            await pending.singly[place] if place in pending.singly else self._found(pending.outcome, place)
            for place in range(len(pending.outcome.item))
        ]

    def _found(self, outcome: Outcome[list[Record], dict[int, Answer]], place: int) -> Outcome[Record, Answer]:
        record, answer = outcome.item[place], None if outcome.value is None else outcome.value[place]
        return Outcome(record, answer, outcome.status, outcome.reason, outcome.code, outcome.raw, outcome.reply)

    # -- reading -----------------------------------------------------------------------------

    def _read(self, reply: Reply, batch: list[Record]) -> dict[int, Answer]:
        """Answers by place; none where the reply as a whole can't be trusted."""
        if len(batch) == 1:
            return {0: self._names.read(reply, batch[0])}
        try:
            given = read_object(reply.text, (), pairs=_marked)
        except ReplyError:
            return {}
        found: dict[int, Answer] = {}
        names = self._view(batch).names
        source = {**self._prompt.provenance, "documents": len(batch)}
        for key, value in given.items():
            number = re.fullmatch(r"\D*(\d{1,6})\D*", key)
            if number is None or not 1 <= int(number[1]) <= len(batch):
                return {}  # it counts otherwise than we do: no answer is sure to be for its document
            try:
                found[int(number[1]) - 1] = replace(self._answer(value, names), source=source)
            except ReplyError:
                continue
        return found

    def _answer(self, value: Any, names: tuple[str, ...]) -> Answer:
        if value is _TWICE:
            raise ReplyError("two answers for one document")
        keys = self._names.form.keys
        if len(keys) == 1 and not (isinstance(value, dict) and keys[0] in value):
            return self._names.form.answer({keys[0]: value}, names)
        if not isinstance(value, dict) or not value.keys() >= set(keys):
            raise ReplyError("an answer that lacks something")
        return self._names.form.answer(value, names)


def _is_done(pending: _Pending) -> bool:
    return all(task.done() for task in pending.singly.values())


def _marked(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which a key that was given two different values is marked."""
    found: dict[str, Any] = {}
    for key, value in entries:
        found[key] = _TWICE if key in found and found[key] != value else value
    return found
