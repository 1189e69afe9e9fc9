"""What became of a row: answered, fitting nowhere, blank or failed."""

from __future__ import annotations

from typing import Literal

from labelspace.records import EMPTY_TEXT, Prediction

Fate = Literal["answered", "nowhere", "blank", "failed"]


def fate(prediction: Prediction, other: str | None = None) -> Fate:
    """What became of a row.

    Args:
        prediction: Of the row.
        other: Name of the bucket for what fits nowhere.
    """
    if prediction.status == "failed":
        return "failed"
    if prediction.reason == EMPTY_TEXT:
        return "blank"
    return "answered" if prediction.status == "ok" and answer(prediction, other) else "nowhere"


def answer(prediction: Prediction, other: str | None = None) -> tuple[str, ...]:
    """The labels given, in order of their names, without the bucket for what fits nowhere."""
    return tuple(sorted(name for name in prediction.labels if name != other))


def confidence_of(prediction: Prediction) -> float | None:
    """How sure a prediction is: its confidence, or its highest score where it says none."""
    if prediction.confidence is not None:
        return prediction.confidence
    return max(prediction.scores.values(), default=None)
