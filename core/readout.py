"""From one row of probabilities to a prediction, in the same way for a model here and one behind an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.records import Prediction, Record

ALL_SCORES = 50
"""Scores of every label are given for heads with up to so many; the ten highest for larger ones."""


def read_probabilities(
    record: Record,
    row: npt.NDArray[np.floating[Any]],
    *,
    names: Sequence[str],
    thresholds: npt.ArrayLike | None,
    source: Mapping[str, Any],
) -> Prediction:
    """Give a record its label or labels.

    Args:
        record: What was asked.
        row: Probability of each label [k].
        names: Of the labels [k].
        thresholds: Probability from which on each label is given [k], where a text can have several; None gives the
            likeliest.
        source: What is said of the model in the prediction.
    """
    given, confidence = give_labels(row, thresholds)
    order = np.argsort(-row, kind="stable")
    if len(row) > ALL_SCORES:
        order = order[: max(10, len(given))]
    # With thresholds of their own, labels that are given need not be the likeliest.
    shown = dict.fromkeys([*given, *order.tolist()])
    return Prediction(
        record.id,
        tuple(names[at] for at in given),
        scores={names[at]: float(row[at]) for at in sorted(shown, key=lambda at: -row[at])},
        confidence=confidence,
        source=source,
    )


def give_labels(row: npt.NDArray[np.floating[Any]], thresholds: npt.ArrayLike | None) -> tuple[list[int], float]:
    """Columns of the labels that one row of probabilities gives, likeliest first, and how sure that is.

    Args:
        row: Probability of each label [k].
        thresholds: As for `read_probabilities`.
    """
    if thresholds is None:
        best = int(row.argmax())
        return [best], float(row[best])
    given = np.flatnonzero(row >= np.asarray(thresholds))
    given = given[np.argsort(-row[given], kind="stable")]
    return given.tolist(), float(row[given].min()) if len(given) else 1 - float(row.max())


def to_probabilities(logits: npt.NDArray[np.float32], *, multi_label: bool) -> npt.NDArray[np.float32]:
    """Probabilities of logits [n, k], in single precision: one for each label, or rows that sum to 1."""
    if multi_label:
        return np.asarray(1 / (1 + np.exp(-logits, dtype=np.float32)), np.float32)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
