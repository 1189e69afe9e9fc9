"""What a read reply becomes for whoever asked: a label, none that fits, or a failure with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelspace.agents.labeling.form import Answer
from labelspace.llm import Outcome
from labelspace.records import Prediction, Record

FITS_NOWHERE = "no label fits"
"""The reason on a prediction for a text that was found to fit no label."""


def from_answer(record_id: str, answer: Answer, remark: str | None, *, source: Mapping[str, Any]) -> Prediction:
    """An answer about a record as a prediction.

    Args:
        record_id: Of the record.
        answer: What was said.
        remark: The reason to give where a label fits.
        source: What made it.
    """
    return Prediction(
        record_id,
        answer.labels,
        answer.scores,
        None if answer.none_fits else answer.confidence,
        "abstained" if answer.none_fits else "ok",
        FITS_NOWHERE if answer.none_fits else remark,
        answer.rationale,
        source=source,
    )


def from_outcome(outcome: Outcome[Record, Answer], source: Mapping[str, Any], *, max_chars: int) -> Prediction:
    """What became of a record as a prediction.

    Args:
        outcome: Of the engine.
        source: What is the same for all records; how this one was asked is added.
        max_chars: Of a longer text only so many characters were shown.
    """
    record, answer, reply = outcome.item, outcome.value, outcome.reply
    if reply is not None and reply.constraint is not None:
        source = {**source, "constraint": reply.constraint}
    if answer is None:
        return Prediction(record.id, status="failed", reason=outcome.reason, raw=outcome.raw, source=source)
    if answer.source:
        source = {**source, **answer.source}
    remark = outcome.reason
    if remark is None and len(record.text) > max_chars:
        remark = f"{len(record.text):,} characters long: only {max_chars:,} were read, from both ends"
    return from_answer(record.id, answer, remark, source=source)
