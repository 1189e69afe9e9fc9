"""Labels as numbers to learn, and scores of logits against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.errors import DataError
from labelspace.finetune.shares import read_shares

Labels = Sequence[str] | Sequence[Sequence[str]] | Sequence[Mapping[str, float]] | npt.NDArray[np.floating]
"""One label a text; several; or a teacher's probabilities: by name, in the place of some labels or of all, or [n, k] in
the order of `classes`."""
Metric = Literal["accuracy", "macro-f1", "micro-f1"]


def find_classes(labels: Labels, *, multi_label: bool) -> list[str]:
    """The distinct labels, sorted.

    Raises:
        DataError: Probabilities were given, whose columns have no names; or what is no label.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind == "f":
        raise DataError("probabilities have no names", advice="give `classes`, the labels in the order of the columns")
    return sorted({name for row in _shares(labels, multi_label=multi_label) for name in row})


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
    named = _shares(labels, multi_label=multi_label)
    number = {name: i for i, name in enumerate(classes)}
    try:
        if not multi_label and not any(isinstance(given, Mapping) for given in labels):
            return np.array([number[next(iter(shares))] for shares in named], dtype=np.int64)
        targets = np.zeros((len(labels), len(classes)), dtype=np.float32)
        for row, shares in enumerate(named):
            targets[row, [number[name] for name in shares]] = list(shares.values())
    except KeyError as error:
        raise DataError(f"the label {error.args[0]!r} is not among the {len(classes)} classes") from None
    return targets


def as_shares(targets: npt.NDArray[Any], labels: int) -> npt.NDArray[Any]:
    """Share of each label [n, k], of what `as_targets` gives."""
    return np.eye(labels)[targets] if targets.ndim == 1 else targets


def check_weights(weights: Sequence[float] | None, rows: int) -> list[float]:
    """What each row counts: 1 if nothing else is given.

    Raises:
        DataError: One is negative or no number, all are 0, or there are not as many as rows.
    """
    if weights is None:
        return [1.0] * rows
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (rows,) or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise DataError(
            f"weights of shape {found.shape} for {rows} texts, or one of them negative or no number, or none above 0",
            advice="give each text a number of 0 or more",
        )
    weighed: list[float] = found.tolist()
    return weighed


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


def _shares(labels: Any, *, multi_label: bool) -> list[dict[str, float]]:
    """Share of each label of each text."""
    # Numpy's arrays of names hold names of a kind of their own.
    return read_shares([str(one) if isinstance(one, str) else one for one in labels], multi_label=multi_label)
