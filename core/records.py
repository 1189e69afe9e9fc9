"""What goes in and what comes out: a record is a text, a prediction is what was made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from labelspace.space import LabelSpace

Status = Literal["ok", "abstained", "failed"]
EMPTY_TEXT = "empty text"
"""The reason on a prediction for a record without text."""


@dataclass(frozen=True, slots=True)
class Record:
    """One text, with what is known about it."""

    id: str
    text: str
    labels: tuple[str, ...] | None = None
    """Gold labels; None where they are not known, () where it is known that there are none."""
    tokens: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    """One tag for each token (BIO)."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Every other column."""

    @property
    def label(self) -> str | None:
        """The gold label of a single-label record, or None."""
        return self.labels[0] if self.labels else None

    @property
    def is_blank(self) -> bool:
        """Whether the text has nothing but white space."""
        return not self.text.strip()


def derive_id(text: str) -> str:
    """A stable id for a text that came with none: sixteen hex digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def as_records(texts: Iterable[str | Record]) -> Iterator[Record]:
    """Pass records on and wrap bare strings, which get their position as id."""
    for position, text in enumerate(texts):
        yield text if isinstance(text, Record) else Record(id=str(position), text=text)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was made of one record."""

    record_id: str
    labels: tuple[str, ...] = ()
    """The labels given, best first; () where none applies or the record was set aside."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Probability by label name; sparse (the highest only) where the space is large."""
    confidence: float | None = None
    """Probability that `labels` is right, in [0, 1]; None where nothing is known of it."""
    status: Status = "ok"
    reason: str | None = None
    """Why it abstained or failed; a remark where it is ok (the text was truncated, say)."""
    rationale: str | None = None
    raw: str | None = None
    """The reply as it came, kept where it could not be read."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What made it: model, prompt and its hash, head, version of the label space."""

    @property
    def label(self) -> str | None:
        """The first label, or None."""
        return self.labels[0] if self.labels else None

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON line; fields that say nothing are left out."""
        data: dict[str, Any] = {"id": self.record_id, "label": self.label, "labels": list(self.labels)}
        if self.scores:
            data["scores"] = {name: round(float(score), 6) for name, score in self.scores.items()}
        if self.confidence is not None:
            data["confidence"] = round(float(self.confidence), 6)
        data["status"] = self.status
        for name in ("reason", "rationale", "raw"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        if self.source:
            data["source"] = dict(self.source)
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Prediction:
        """Read back what `to_data` made; a line with only `id` and `label` is enough."""
        labels = data.get("labels")
        if labels is None:
            labels = [] if data.get("label") is None else [data["label"]]
        return cls(
            record_id=str(data["id"]),
            labels=tuple(labels),
            scores=data.get("scores") or {},
            confidence=data.get("confidence"),
            status=data.get("status", "ok"),
            reason=data.get("reason"),
            rationale=data.get("rationale"),
            raw=data.get("raw"),
            source=data.get("source") or {},
        )


def set_aside_blank(record: Record, source: Mapping[str, Any]) -> Prediction:
    """The prediction for a record without text: it abstains and says why."""
    return Prediction(record.id, status="abstained", reason=EMPTY_TEXT, source=source)


@runtime_checkable
class Classifier(Protocol):
    """Anything that maps a text to a distribution over a label space."""

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        ...

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order, as soon as it is known.

        Implementations work in batches and never hold all texts; blank texts abstain.
        """
        ...


class Told:
    """Labels that are known, as a `Classifier`."""

    def __init__(self, space: LabelSpace, labels: Mapping[str, Prediction]) -> None:
        """Keep them."""
        self.label_space, self.labels = space, labels

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """The label of each record, by its id."""
        return (self.labels[record.id] for record in as_records(texts))
