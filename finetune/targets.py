"""Labels as numbers to learn, and scores of logits against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.errors import DataError

Labels = Sequence[str] | Sequence[Sequence[str]] | npt.NDArray[np.floating]
"""One label a text; several; or probabilities [n, k] in the order of `classes`, from a teacher."""
Metric = Literal["accuracy", "macro-f1", "micro-f1"]


def find_classes(labels: Labels, *, multi_label: bool) -> list[str]:
    """The distinct labels, sorted.

    Raises:
        DataError: Probabilities were given, whose columns have no names; or what is no label.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "f":
        raise DataError("probabilities have no names", advice="give `classes`, the labels in the order of the columns")
    _check(labels, multi_label=multi_label)
    if multi_label:
        return sorted({label for row in labels for label in row})
    return sorted(set(map(str, labels)))


def as_targets(labels: Labels, classes: Sequence[str], *, multi_label: bool) -> npt.NDArray[Any]:
    """Numbers to learn: [n] of classes, or [n, k] of 0 and 1 if multi-label, or the probabilities given.

    Raises:
        DataError: A label is not among the classes, or is none; or a probability is no number.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "f":
        if labels.ndim != 2 or labels.shape[1] != len(classes):
            raise DataError(f"probabilities for {len(classes)} classes must have so many columns, not {labels.shape}")
        if not np.isfinite(labels).all() or (not multi_label and labels.min(initial=0) < 0):
            raise DataError("a probability is negative or no number", advice="leave out texts that nobody judged")
        return labels.astype(np.float32)
    _check(labels, multi_label=multi_label)
    number = {name: i for i, name in enumerate(classes)}
    try:
        if not multi_label:
            return np.array([number[str(label)] for label in labels], dtype=np.int64)
        targets = np.zeros((len(labels), len(classes)), dtype=np.float32)
        for row, given in enumerate(labels):
            targets[row, [number[label] for label in given]] = 1.0
    except KeyError as error:
        raise DataError(f"the label {error.args[0]!r} is not among the {len(classes)} classes") from None
    return targets


def score(logits: npt.NDArray[np.float32], targets: npt.NDArray[Any], *, metric: Metric, multi_label: bool) -> float:
    """Score logits: accuracy, or F1 over all classes; a class that neither side has counts 0 (scikit-learn's way)."""
    k = logits.shape[1]
    if multi_label:
        return score_sets(logits >= 0, targets >= 0.5, metric=metric)
    wanted = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return score_sets(np.eye(k, dtype=bool)[logits.argmax(axis=1)], np.eye(k, dtype=bool)[wanted], metric=metric)


def score_sets(guess: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], *, metric: Metric) -> float:
    """Score label sets, [n, k] each; see `score`."""
    if metric == "accuracy":
        return float((guess == truth).all(axis=1).mean())
    right, total = (guess & truth).sum(axis=0), guess.sum(axis=0) + truth.sum(axis=0)
    if metric == "micro-f1":
        return float(2 * right.sum() / max(total.sum(), 1))
    return float(np.mean(2 * right / np.maximum(total, 1)))


def _check(labels: Labels, *, multi_label: bool) -> None:
    for at, given in enumerate(labels):
        if multi_label == isinstance(given, str) or given is None or (not multi_label and np.ndim(given)):
            raise DataError(
                f"label {at} is {given!r}",
                advice="with multi_label, give a list of names for each text; without, one name",
            )
