"""The confident joint: counts of given against probable true labels (Northcutt et al. 2021, section 3.1).

An example labelled i is counted under j where its probability of j reaches the threshold of j, the
mean probability of j among the examples that are labelled j. All work goes over the rows in chunks,
so the scores can be a memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelspace.errors import DataError

CHUNK_BYTES = 1 << 20
"""How much of the scores is worked on at once: what the processor's cache holds."""
LOWEST_THRESHOLD = 2e-6
"""Thresholds are not below this: a class that is never predicted must not attract every example."""
NEVER = 2.0
"""Threshold of a class that no example is labelled with: no probability reaches it."""
TOLERANCE = 1e-6
"""How far below its threshold a probability still counts."""
OUTSIDE = 0.01
"""How far outside [0, 1] a score may lie before it can't be a probability."""

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What confident learning needs of each row, from one pass over the scores.

    All arrays are of length n.
    """

    labels: Integers
    """The given label."""
    given: Floats
    """Probability of the given label."""
    rival: Integers
    """The most probable of the other labels."""
    rival_probability: Floats
    predicted: Integers
    """The most probable label; the first where several are."""
    counts: Integers
    """How many rows have each label, [k]."""


def check(labels: ArrayLike, probabilities: Floats, *, what: str = "the scores") -> Integers:
    """Labels as an array, after checking that labels and scores fit together.

    Raises:
        DataError: They do not.
    """
    if getattr(probabilities, "ndim", 0) != 2:
        raise DataError(f"{what} must be an array of rows by classes", advice="give one row of probabilities a record")
    given = np.asarray(labels)
    n, k = probabilities.shape
    if given.shape != (n,):
        raise DataError(f"there are {given.size:,} labels and {n:,} rows of scores", advice="give one row a record")
    if n == 0:
        raise DataError("there are no records", advice="give at least one")
    if given.dtype.kind not in "iu":
        raise DataError(f"labels must be class numbers, not {given.dtype}")
    if given.min() < 0 or given.max() >= k:
        raise DataError(
            f"labels run from {given.min()} to {given.max()}, but {what} have {k} columns",
            advice="number the classes from 0, in the order of the columns",
        )
    return given.astype(np.int64, copy=False)


def chunks(probabilities: Floats, *, checked: bool = True) -> Iterator[tuple[slice, Floats]]:
    """Cut the scores into runs of rows of `CHUNK_BYTES` each; `checked` looks at each score.

    Raises:
        DataError: A score is not a probability.
    """
    n, k = probabilities.shape
    step = max(1, CHUNK_BYTES // max(1, k * probabilities.dtype.itemsize))
    for start in range(0, n, step):
        piece = np.asarray(probabilities[start : start + step])
        if checked and piece.size and not (piece.min() >= -OUTSIDE and piece.max() <= 1 + OUTSIDE):
            bad = start + int(np.flatnonzero(~((piece >= -OUTSIDE) & (piece <= 1 + OUTSIDE)).all(axis=1))[0])
            raise DataError(
                f"the scores of record {bad} (counted from 0) are not probabilities",
                advice="they must lie in [0, 1]; apply a softmax or a sigmoid to logits, and leave no NaN",
            )
        yield slice(start, start + len(piece)), piece


def summarise(labels: ArrayLike, probabilities: Floats) -> Rows:
    """Read what is needed of each row, in one pass."""
    y = check(labels, probabilities)
    n, k = probabilities.shape
    kind = probabilities.dtype if probabilities.dtype.kind == "f" else np.dtype(np.float64)
    given, rival_probability = np.empty(n, kind), np.empty(n, kind)
    rival = np.empty(n, np.int64)
    for rows, piece in chunks(probabilities):
        at = np.arange(len(piece))
        given[rows] = piece[at, y[rows]]
        others = piece.astype(kind, copy=True)
        others[at, y[rows]] = -np.inf
        rival[rows] = others.argmax(axis=1)
        rival_probability[rows] = others[at, rival[rows]]
    own = (given > rival_probability) | ((given == rival_probability) & (y < rival))
    return Rows(
        labels=y,
        given=given,
        rival=rival,
        rival_probability=rival_probability,
        predicted=np.where(own, y, rival),
        counts=np.bincount(y, minlength=k),
    )


def class_thresholds(rows: Rows) -> NDArray[np.float64]:
    """Mean probability of each class among the rows that are labelled with it, [k] (equation 2)."""
    total = np.bincount(rows.labels, weights=rows.given, minlength=len(rows.counts))
    present = rows.counts > 0
    mean = np.divide(total, rows.counts, out=np.full(len(total), NEVER), where=present)
    return np.asarray(np.maximum(mean, LOWEST_THRESHOLD))


def confident_classes(rows: Rows, probabilities: Floats, thresholds: NDArray[np.float64]) -> Integers:
    """The class that each row confidently belongs to, [n]; -1 where there is none.

    Where several classes reach their threshold, it is the most probable class.
    """
    found = np.full(len(rows.labels), -1, np.int64)
    cut = thresholds - TOLERANCE
    width = probabilities.shape[1]
    for part, piece in chunks(probabilities, checked=False):  # `summarise` has seen them
        row, column = np.divmod(np.flatnonzero(piece >= cut), width)
        several = np.bincount(row, minlength=len(piece)) > 1
        reached = found[part]
        reached[row] = column
        reached[several] = rows.predicted[part][several]
    return found


def count_joint(rows: Rows, confident: Integers) -> Integers:
    """Count given (row) against confident (column) classes, [k, k]; every label given has a count on the diagonal."""
    k = len(rows.counts)
    sure = confident >= 0
    # Column by column in memory, as the reference has it: sums over all of it round by that order,
    # and a tie in `round_rows` can hang on the last bit.
    joint = np.bincount(confident[sure] * k + rows.labels[sure], minlength=k * k).reshape(k, k).T
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return np.asarray(joint)


def round_rows(matrix: NDArray[np.float64]) -> Integers:
    """Round to whole numbers so that each row keeps its total.

    What rounding adds or loses is made up where it changed most. Equal changes are taken in the
    order of numpy's default sort, as the reference does: any other order gives another joint.
    """
    whole = np.round(matrix).astype(np.int64)
    for row, exact in zip(whole, matrix, strict=True):
        missing = round(float(exact.sum())) - int(row.sum())
        order = np.argsort(exact - row)
        if missing > 0:
            row[order[-missing:]] += 1
        elif missing < 0:
            row[order[:-missing]] -= 1
    return whole


def calibrate(joint: ArrayLike, counts: ArrayLike) -> Integers:
    """Scale a joint so that its rows sum to the label counts and all of it to the number of rows."""
    matrix = np.asarray(joint, np.float64)
    given = np.asarray(counts, np.int64)
    totals = matrix.sum(axis=1, keepdims=True)
    scaled = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0) * given[:, None]
    if scaled.sum() > 0:
        scaled = scaled / scaled.sum() * given.sum()
    return round_rows(scaled)


def confident_joint(
    labels: ArrayLike, probabilities: Floats, *, thresholds: ArrayLike | None = None, calibrated: bool = True
) -> Integers:
    """Estimate the counts of given (rows) against true (columns) labels.

    Args:
        labels: Given classes, [n], in 0..k-1.
        probabilities: Out-of-sample probabilities, [n, k]; may be memory-mapped.
        thresholds: Probability from which a class counts, [k]; by default the mean self-confidence.
        calibrated: Scale the counts to the label counts.

    Returns:
        Counts, [k, k].
    """
    rows = summarise(labels, probabilities)
    cut = class_thresholds(rows) if thresholds is None else np.asarray(thresholds, np.float64).reshape(-1)
    joint = count_joint(rows, confident_classes(rows, probabilities, cut))
    return calibrate(joint, rows.counts) if calibrated else joint
