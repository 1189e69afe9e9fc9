"""What an answer looks like: a bare name, or JSON where there can be several, a reason or a number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
from labelspace.llm import Reply, ReplyError
from labelspace.space import LabelSpace

GIVEN = 0.5
"""From what probability on a label of several is given."""


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


class Form:
    """The form of answers over one space: their JSON schema, and how they are read."""

    def __init__(self, space: LabelSpace, *, bucket: str, rationale: bool, confidence: bool) -> None:
        """Say what is asked for.

        Args:
            space: The labels.
            bucket: The answer where no label fits; "" for none.
            rationale: Whether the reason comes before the label.
            confidence: Whether a number says how likely the answer is right.
        """
        self.space, self.bucket, self.rationale, self.confidence = space, bucket, rationale, confidence
        self.in_json = rationale or confidence or space.multi_label
        """Whether an answer is more than a name."""
        self._none = NONE - {fold(name) for name in (*space.leaves, bucket)}
        self._leaves = frozenset(space.leaves)

    def schema(self, names: tuple[str, ...]) -> dict[str, Any]:
        """JSON schema of an answer among several: the bare label or labels where nothing else is asked for."""
        properties = self.properties(names)
        [only] = properties.values() if len(properties) == 1 else (None,)
        return only or closed_object(properties)

    def properties(self, names: tuple[str, ...]) -> dict[str, Any]:
        """JSON schemas of the parts of an answer that is one of these names."""
        properties: dict[str, Any] = {"rationale": {"type": "string"}} if self.rationale else {}
        label, number = {"type": "string", "enum": list(names)}, {"type": "integer"}
        if not self.space.multi_label:
            return {**properties, "label": label, **({"confidence": number} if self.confidence else {})}
        item = closed_object({"label": label, "confidence": number}) if self.confidence else label
        return {**properties, "labels": {"type": "array", "items": item}}

    def read(self, reply: Reply, shown: Callable[[], tuple[str, ...]]) -> Answer:
        """Read a reply strictly.

        Args:
            reply: The reply.
            shown: Gives the names that could be answered, where the reply is not plainly a label's.

        Raises:
            ReplyError: It does not say which label.
        """
        if self.in_json:
            answer = self.answer(read_object(reply.text, self.keys), shown())
        elif reply.text in self._leaves:  # as nearly all are
            answer = Answer((reply.text,))
        else:
            answer = self.labels_in([_bare_choice(without_thoughts(reply.text))], shown())
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

    def answer(self, data: Mapping[str, Any], names: tuple[str, ...]) -> Answer:
        """What a JSON object says.

        Raises:
            ReplyError: It does not say which label, or how likely it is.
        """
        rationale = data.get("rationale")
        if rationale is not None and not isinstance(rationale, str):
            raise ReplyError('"rationale" must be a text.')
        if not self.space.multi_label:
            answer = self.labels_in([data["label"]], names)
            if self.confidence:
                told = read_share(data["confidence"])
                answer = replace(answer, scores=dict.fromkeys(answer.labels, told), confidence=told)
            return replace(answer, rationale=rationale)
        given = data["labels"]
        if not isinstance(given, list):
            raise ReplyError(f'"labels" must be a list of names from the list of labels, not {given!r:.100}.')
        found = self._weighed(given, names) if self.confidence else self.labels_in(given, names)
        return replace(found, rationale=rationale)

    def _weighed(self, given: list[Any], names: tuple[str, ...]) -> Answer:
        """Labels that come with numbers: those at one half and above are given.

        The confidence is that of the whole set, were labels independent: that all given apply, and no other listed.
        """
        scores: dict[str, float] = {}
        none_fits = False
        for entry in given:
            if not isinstance(entry, dict) or not {"label", "confidence"} <= entry.keys():
                raise ReplyError(f'Each of "labels" is {{"label": ..., "confidence": ...}}, not {entry!r:.100}.')
            told = read_share(entry["confidence"])
            for name in self.labels_in([entry["label"]], names).labels:
                scores[name] = max(told, scores.get(name, 0.0))
                break
            else:
                none_fits = none_fits or told >= GIVEN
        labels = tuple(name for name, score in scores.items() if score >= GIVEN)
        confidence = math.prod(score if score >= GIVEN else 1 - score for score in scores.values())
        return Answer(labels, none_fits and not labels, None, scores, confidence)

    def labels_in(self, given: list[Any], names: tuple[str, ...]) -> Answer:
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
                found[name if name in self._leaves else match_label(name, names)] = None
            else:
                raise ReplyError(f"A label is a name from the list of labels, not {name!r:.100}.")
        none_fits = none_fits or self.bucket in found
        labels = tuple(name for name in found if name != self.bucket)
        return Answer(labels, none_fits and not labels)

    def _scores(self, answer: Answer, reply: Reply) -> tuple[dict[str, float], float | None]:
        """What the server told of probabilities: of every choice, of the tokens of the answer, or nothing."""
        if reply.choice_logprobs and answer.labels:
            scores = choice_scores(reply.choice_logprobs)
            scores.pop(self.bucket, None)
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
