"""Ask for labels by name, one document in a request: the plain way, which every model can follow."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from labelspace.agents.label_views import View, Views
from labelspace.agents.replies import (
    NONE,
    choice_scores,
    fold,
    match_label,
    probability_of,
    read_object,
    read_share,
    without_thoughts,
)
from labelspace.agents.texts import cut_middle
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request
from labelspace.prompts import Prompt, load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

JSON_TOKENS = 4096
"""Room for an answer in JSON: a model can lose itself in a list."""
GIVEN = 0.5
"""From what probability on a label of several is given."""
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
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        ...

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record; nothing is sent."""
        ...


class ByName:
    """One document, one request; the answer is a name, or JSON where there can be several, a reason or a number."""

    def __init__(
        self,
        space: LabelSpace,
        *,
        use_case: str = "",
        rationale: bool = False,
        confidence: bool = False,
        prompts: str | Path | None = None,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        logprobs: int = 1,
        views: Views | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Fill in all of the prompt that is the same for all documents.

        Args:
            space: The labels.
            use_case: What the labels are for.
            rationale: Whether the model gives its reason before the label.
            confidence: Whether the model says, as a number, how likely its answer is right.
            prompts: Folder of templates that replace ours by name.
            max_chars: Of longer texts the middle is left out.
            max_tokens: The most tokens of a reply.
            logprobs: Alternatives to ask for at each token.
            views: What a request shows besides the document; by default all labels.
            temperature: Of replies that vote.
            seed: Likewise.
        """
        self.space, self.rationale, self.confidence, self.max_chars = space, rationale, confidence, max_chars
        self.in_json = rationale or confidence or space.multi_label
        """Whether an answer is more than a name."""
        self.views = views or Views(space)
        bucket = self.views.bucket
        self._none = NONE - {fold(name) for name in (*space.leaves, bucket)}
        self._leaves = frozenset(space.leaves)
        self.max_tokens = max_tokens
        self.sampling: dict[str, Any] = {"temperature": temperature, "seed": seed}
        self._logprobs = 0 if confidence else logprobs
        template = load_prompt("label_multi" if space.multi_label else "label", folder=prompts)
        self.known: Mapping[str, Any] = {"use_case": use_case, "rationale": rationale, "confidence": confidence}
        """What the prompt says whatever the document."""
        self.prompt: Prompt = template.bind(**self.known)
        if self.views.is_fixed:
            self.prompt = self.prompt.bind(**self.views.of(()).variables)

    @property
    def source(self) -> Mapping[str, Any]:
        """Name, version and hash of the prompt."""
        return self.prompt.provenance

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    # -- asking ------------------------------------------------------------------------------

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """One for each record."""
        return map(self.request, self.views.look_up(records))

    def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        return engine.map(
            self.views.look_up(records),
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
        return self._ask_about(record, cut_middle(record.text, self.max_chars))

    def shorten(self, record: Record, times: int) -> Request | None:
        """Half of the text, then a quarter, where the model's context is too small for it."""
        text = shorter(record, self.max_chars, times)
        return None if text is None else self._ask_about(record, text)

    def _ask_about(self, record: Record, text: str) -> Request:
        view = self.views.of((record.text,))
        shown = {} if self.views.is_fixed else view.variables
        form: dict[str, Any] = {"choices": view.names, "max_tokens": self.max_tokens}
        if self.in_json:
            form = {"schema": closed_object(self._properties(view)), "max_tokens": self.max_tokens or JSON_TOKENS}
        return Request(self.prompt.render(document=text, **shown), logprobs=self._logprobs, **form, **self.sampling)

    def answer_schema(self, view: View) -> dict[str, Any]:
        """JSON schema of an answer among several: the bare label or labels where nothing else is asked for."""
        properties = self._properties(view)
        [only] = properties.values() if len(properties) == 1 else (None,)
        return only or closed_object(properties)

    def _properties(self, view: View) -> dict[str, Any]:
        properties: dict[str, Any] = {"rationale": {"type": "string"}} if self.rationale else {}
        label, number = {"type": "string", "enum": list(view.names)}, {"type": "integer"}
        if not self.space.multi_label:
            return {**properties, "label": label, **({"confidence": number} if self.confidence else {})}
        item = closed_object({"label": label, "confidence": number}) if self.confidence else label
        return {**properties, "labels": {"type": "array", "items": item}}

    # -- reading -----------------------------------------------------------------------------

    def read(self, reply: Reply, record: Record) -> Answer:
        """Read a reply strictly.

        Raises:
            ReplyError: It does not say which label.
        """
        if self.in_json:
            answer = self.answer(read_object(reply.text, self.keys), self.views.of((record.text,)))
        elif reply.text in self._leaves:  # as nearly all are
            answer = Answer((reply.text,))
        else:
            answer = self.labels_in([_bare_choice(without_thoughts(reply.text))], self.views.of((record.text,)))
        if answer.none_fits or self.confidence:
            return answer
        scores, confidence = self._scores(answer, reply)
        return Answer(answer.labels, False, answer.rationale, scores, confidence)

    @property
    def keys(self) -> tuple[str, ...]:
        """What an answer in JSON must have."""
        keys = ["rationale"] if self.rationale else []
        keys.append("labels" if self.space.multi_label else "label")
        return (*keys, "confidence") if self.confidence and not self.space.multi_label else tuple(keys)

    def answer(self, data: Mapping[str, Any], view: View) -> Answer:
        """What a JSON object says.

        Raises:
            ReplyError: It does not say which label, or how likely it is.
        """
        rationale = data.get("rationale")
        if rationale is not None and not isinstance(rationale, str):
            raise ReplyError('"rationale" must be a text.')
        if not self.space.multi_label:
            answer = self.labels_in([data["label"]], view)
            if self.confidence:
                told = read_share(data["confidence"])
                answer = replace(answer, scores=dict.fromkeys(answer.labels, told), confidence=told)
            return replace(answer, rationale=rationale)
        given = data["labels"]
        if not isinstance(given, list):
            raise ReplyError(f'"labels" must be a list of names from the list of labels, not {given!r:.100}.')
        found = self._weighed(given, view) if self.confidence else self.labels_in(given, view)
        return replace(found, rationale=rationale)

    def _weighed(self, given: list[Any], view: View) -> Answer:
        """Labels that come with numbers: those at one half and above are given.

        The confidence is that of the whole set, were labels independent: that all given apply, and no other listed.
        """
        scores: dict[str, float] = {}
        none_fits = False
        for entry in given:
            if not isinstance(entry, dict) or not {"label", "confidence"} <= entry.keys():
                raise ReplyError(f'Each of "labels" is {{"label": ..., "confidence": ...}}, not {entry!r:.100}.')
            told = read_share(entry["confidence"])
            for name in self.labels_in([entry["label"]], view).labels:
                scores[name] = max(told, scores.get(name, 0.0))
                break
            else:
                none_fits = none_fits or told >= GIVEN
        labels = tuple(name for name, score in scores.items() if score >= GIVEN)
        confidence = math.prod(score if score >= GIVEN else 1 - score for score in scores.values())
        return Answer(labels, none_fits and not labels, None, scores, confidence)

    def labels_in(self, given: list[Any], view: View) -> Answer:
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
                # A label that was not shown but is named as it is written is meant, too.
                found[name if name in self._leaves else match_label(name, view.names)] = None
            else:
                raise ReplyError(f"A label is a name from the list of labels, not {name!r:.100}.")
        none_fits = none_fits or self.views.bucket in found
        labels = tuple(name for name in found if name != self.views.bucket)
        return Answer(labels, none_fits and not labels)

    def _scores(self, answer: Answer, reply: Reply) -> tuple[dict[str, float], float | None]:
        """What the server told of probabilities: of every choice, of the tokens of the answer, or nothing."""
        if reply.choice_logprobs and answer.labels:
            scores = choice_scores(reply.choice_logprobs)
            scores.pop(self.views.bucket, None)
            return scores, scores.get(answer.labels[0])
        found = {name: probability_of(reply, name, quoted=self.in_json) for name in answer.labels}
        scores = {name: value for name, value in found.items() if value is not None}
        if not scores or len(scores) < len(answer.labels):
            return {}, None
        return scores, math.prod(scores.values())


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
