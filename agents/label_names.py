"""Ask for labels by name, one document in a request: the plain way, which every model can follow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from labelspace.agents.replies import (
    NONE,
    choice_scores,
    fold,
    match_label,
    probability_of,
    read_object,
    without_thoughts,
)
from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request
from labelspace.prompts import Prompt, load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

JSON_TOKENS = 4096
"""Room for an answer in JSON: a model can lose itself in a list."""
_LEAST_CHARS = 200
"""A text is not shortened below this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read from a reply."""

    labels: tuple[str, ...]
    """Labels of the space, most important first; () where none fits."""
    none_fits: bool = False
    rationale: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Probability by label name, as far as the server told."""
    confidence: float | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    """What a prediction's source should say beyond model and prompt."""


class Question(Protocol):
    """A way of asking for labels."""

    @property
    def source(self) -> Mapping[str, Any]:
        """What a prediction's source says of the prompt."""
        ...

    async def start(self, engine: Engine) -> None:
        """Find out what has to be known before the first document."""
        ...

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """Every request that these records need, if each reply can be read."""
        ...

    def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        ...

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record; nothing is sent."""
        ...


class ByName:
    """One document, one request; the answer is a name, or JSON where there can be several or a reason."""

    def __init__(
        self,
        space: LabelSpace,
        *,
        use_case: str = "",
        rationale: bool = False,
        prompts: str | Path | None = None,
        examples: int = 2,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        logprobs: int = 1,
    ) -> None:
        """Fill in all of the prompt but the document; see `Labeler`."""
        self.space, self.rationale, self.max_chars = space, rationale, max_chars
        self.names = (*space.leaves, *([space.other] if space.other else []))
        self._none = NONE - {fold(name) for name in self.names}
        self.max_tokens, self._logprobs = max_tokens, logprobs
        template = load_prompt("label_multi" if space.multi_label else "label", folder=prompts)
        self.known: Mapping[str, Any] = {
            "use_case": use_case,
            "labels": label_table(space, examples),
            "other": space.other or "",
            "rationale": rationale,
        }
        """What the prompt says besides the document."""
        self.prompt: Prompt = template.bind(**self.known)

    @property
    def source(self) -> Mapping[str, Any]:
        """Name, version and hash of the prompt."""
        return self.prompt.provenance

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    # -- asking ------------------------------------------------------------------------------

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """One for each record."""
        return map(self.request, records)

    def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        return engine.map(
            records,
            self.request,
            self.read,
            purpose="label",
            version=self.prompt.hash,
            shorten=self.shorten,
            total=total,
            shown=shown,
        )

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record."""
        return engine.known(records, self.request, self.read, shorten=self.shorten)

    def request(self, record: Record) -> Request:
        """What is asked about a record."""
        return self._ask_about(cut_middle(record.text, self.max_chars))

    def shorten(self, record: Record, times: int) -> Request | None:
        """Half of the text, then a quarter, where the model's context is too small for it."""
        text = shorter(record, self.max_chars, times)
        return None if text is None else self._ask_about(text)

    def _ask_about(self, text: str) -> Request:
        form: dict[str, Any] = {"choices": self.names, "max_tokens": self.max_tokens}
        if self.rationale or self.space.multi_label:
            form = {"schema": self._schema(), "max_tokens": self.max_tokens or JSON_TOKENS}
        return Request(self.prompt.render(document=text), logprobs=self._logprobs, **form)

    def _schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {"rationale": {"type": "string"}} if self.rationale else {}
        properties["labels" if self.space.multi_label else "label"] = self.label_schema()
        return closed_object(properties)

    def label_schema(self) -> dict[str, Any]:
        """A label's name, or a list of them."""
        label = {"type": "string", "enum": list(self.names)}
        return {"type": "array", "items": label} if self.space.multi_label else label

    # -- reading -----------------------------------------------------------------------------

    def read(self, reply: Reply, _record: Record) -> Answer:
        """Read a reply strictly.

        Raises:
            ReplyError: It does not say which label.
        """
        if self.rationale or self.space.multi_label:
            key = "labels" if self.space.multi_label else "label"
            answer = self.answer(read_object(reply.text, ("rationale", key) if self.rationale else (key,)))
        else:
            answer = self.labels_in([_bare_choice(without_thoughts(reply.text))], None)
        if answer.none_fits:
            return answer
        scores, confidence = self._scores(answer, reply)
        return Answer(answer.labels, False, answer.rationale, scores, confidence)

    def answer(self, data: Mapping[str, Any]) -> Answer:
        """What a JSON object says.

        Raises:
            ReplyError: It does not say which label.
        """
        given = data["labels" if self.space.multi_label else "label"]
        if self.space.multi_label and not isinstance(given, list):
            raise ReplyError(f'"labels" must be a list of names from the list of labels, not {given!r:.100}.')
        rationale = data.get("rationale")
        if rationale is not None and not isinstance(rationale, str):
            raise ReplyError('"rationale" must be a text.')
        return self.labels_in(given if isinstance(given, list) else [given], rationale)

    def labels_in(self, given: list[Any], rationale: str | None) -> Answer:
        """The labels that these names mean.

        Raises:
            ReplyError: One means none, or could mean two.
        """
        found: dict[str, None] = {}
        none_fits = False
        for name in given:
            if name is None or (isinstance(name, str) and fold(name) in self._none):
                none_fits = True
            elif isinstance(name, str):
                found[match_label(name, self.names)] = None
            else:
                raise ReplyError(f"A label is a name from the list of labels, not {name!r:.100}.")
        none_fits = none_fits or self.space.other in found
        labels = tuple(name for name in found if name != self.space.other)
        return Answer(labels, none_fits and not labels, rationale)

    def _scores(self, answer: Answer, reply: Reply) -> tuple[dict[str, float], float | None]:
        """What the server told of probabilities: of every choice, of the tokens of the answer, or nothing."""
        if reply.choice_logprobs and answer.labels:
            scores = choice_scores(reply.choice_logprobs)
            scores.pop(self.space.other or "", None)
            return scores, scores.get(answer.labels[0])
        quoted = self.rationale or self.space.multi_label
        found = {name: probability_of(reply, name, quoted=quoted) for name in answer.labels}
        scores = {name: value for name, value in found.items() if value is not None}
        if not scores or len(scores) < len(answer.labels):
            return {}, None
        confidence = 1.0
        for value in scores.values():
            confidence *= value
        return scores, confidence


def closed_object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def shorter(record: Record, max_chars: int, times: int) -> str | None:
    """Half of a text, then a quarter, and so on; None where hardly anything would be left."""
    length = min(len(record.text), max_chars) >> times
    return cut_middle(record.text, length) if length >= _LEAST_CHARS else None


def _bare_choice(text: str) -> str | None:
    """A name that came in a JSON object or as a JSON string, without these; None for a null."""
    if text[:1] in '{"':
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        if value is None or isinstance(value, str):
            return value
    return text


def label_table(space: LabelSpace, examples: int = 2) -> list[dict[str, Any]]:
    """The leaves of a space as the variable `labels` of the templates `label` and `label_multi`.

    Raises:
        ConfigError: `examples` is negative.
    """
    if examples < 0:
        raise ConfigError(f"the number of examples shown of a label is 0 or more, not {examples}")
    table = []
    for name in space.leaves:
        label, above = space[name], space.ancestors(name)
        group = " > ".join(reversed(above))
        if above and space[above[0]].description:
            group += f": {space[above[0]].description}"
        table.append(
            {
                "name": name,
                "group": group,
                "description": label.description,
                "instructions": label.instructions,
                "examples": [text[:300] for text in label.examples[:examples]],
            }
        )
    return table
