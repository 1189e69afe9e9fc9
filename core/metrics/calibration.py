"""Whether a confidence of 0.8 is right eight times in ten.

Everywhere here `confidence` is the stated probability that an answer is right, in [0, 1], shape
[n]; and `correct` whether it was, shape [n].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from labelspace.metrics.cells import FloatArray, IntArray
from labelspace.metrics.intervals import bootstrap, centred_interval
from labelspace.metrics.report import Bin, Estimate

Column: TypeAlias = "Sequence[float] | npt.NDArray[Any]"
Binning = Literal["width", "mass"]


def expected_calibration_error(
    confidence: Column, correct: Column, *, bins: int = 10, equal: Binning = "width"
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their rows (Guo et al., 2017).

    Args:
        confidence: Stated probability of being right.
        correct: Whether it was.
        bins: How many.
        equal: "width" for bins (0, 0.1], (0.1, 0.2], ...; "mass" for about equally many rows in each,
            equal confidences never torn apart.
    """
    stated, right = columns_of(confidence, correct)
    edges = _edges(stated, bins=bins, equal=equal)
    return float(_gaps(_bin(stated, edges), stated - right, bins=len(edges) - 1)[0])


def calibration_error_estimate(
    confidence: Column, correct: Column, *, bins: int = 10, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Expected calibration error over bins of equal width, with a bootstrap interval."""
    stated, right = columns_of(confidence, correct)
    value = expected_calibration_error(stated, right, bins=bins)
    if not resamples:
        return Estimate(value=value)
    at = _bin(stated, _edges(stated, bins=bins, equal="width"))
    # Rows with about the same confidence and outcome are interchangeable, which makes for few cells;
    # what rounding does to the draws, centring takes out again.
    pairs, rows = np.unique(np.column_stack([at, np.round(stated - right, 3)]), axis=0, return_counts=True)
    where, gap = pairs[:, 0].astype(np.int64), pairs[:, 1]
    draws = bootstrap(rows, lambda drawn: _gaps(where, gap, bins=bins, weights=drawn), resamples=resamples, seed=seed)
    low, high = centred_interval(value, draws, level=level)
    return Estimate(value=value, low=low, high=high)


def reliability(confidence: Column, correct: Column, *, bins: int = 10, equal: Binning = "width") -> tuple[Bin, ...]:
    """Mean confidence and accuracy in each bin that has rows; what a reliability diagram draws."""
    stated, right = columns_of(confidence, correct)
    edges = _edges(stated, bins=bins, equal=equal)
    at = _bin(stated, edges)
    found = []
    for position in np.unique(at):
        here = at == position
        found.append(
            Bin(
                low=float(edges[position]),
                high=float(edges[position + 1]),
                count=int(here.sum()),
                confidence=float(stated[here].mean()),
                accuracy=float(right[here].mean()),
            )
        )
    return tuple(found)


def brier(confidence: Column, correct: Column) -> float:
    """Mean squared difference between confidence and being right: 0 is best, 0.25 is what a constant 0.5 gets."""
    stated, right = columns_of(confidence, correct)
    return float(((stated - right) ** 2).mean())


def multiclass_brier(probabilities: FloatArray, gold: IntArray) -> float:
    """Brier score over all labels, in [0, 2].

    Args:
        probabilities: Shape [n, labels], each row summing to 1.
        gold: Column of the gold label, shape [n].
    """
    target = np.zeros_like(probabilities)
    target[np.arange(len(gold)), gold] = 1
    return float(((probabilities - target) ** 2).sum(-1).mean())


def log_loss(gold_probability: Column, *, floor: float = 1e-6) -> float:
    """Mean negative natural logarithm of the probability given to the gold label.

    Args:
        gold_probability: In [0, 1], shape [n].
        floor: What smaller probabilities are raised to; stored scores are rounded to six digits, and
            one rounded 0 must not make the mean infinite.
    """
    given = np.asarray(gold_probability, dtype=np.float64)
    if not len(given):
        raise ValueError("there are no rows")
    return float(-np.log(np.clip(given, floor, 1.0)).mean())


def columns_of(confidence: Column, correct: Column) -> tuple[FloatArray, FloatArray]:
    """Both as float arrays of one length [n], checked."""
    stated = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if stated.shape != right.shape or stated.ndim != 1:
        raise ValueError(f"confidence and correct must be two columns of one length: {stated.shape}, {right.shape}")
    if not len(stated):
        raise ValueError("there are no rows with a confidence")
    if not ((stated >= 0) & (stated <= 1)).all():
        raise ValueError(f"a confidence must be in [0, 1]; given are {stated.min()} to {stated.max()}")
    return stated, right


def _edges(stated: FloatArray, *, bins: int, equal: Binning) -> FloatArray:
    if bins < 1:
        raise ValueError(f"at least one bin is needed, not {bins}")
    if equal == "width":
        return np.linspace(0, 1, bins + 1)
    edges = np.unique(np.quantile(stated, np.linspace(0, 1, bins + 1)))
    return np.array([edges[0], edges[0]]) if len(edges) == 1 else edges


def _bin(stated: FloatArray, edges: FloatArray) -> IntArray:
    """Position of the bin that each confidence is in; bins are open below, the first is closed."""
    return np.searchsorted(edges[1:-1], stated, side="left").astype(np.int64)


def _gaps(at: IntArray, gap: FloatArray, *, bins: int, weights: npt.NDArray[Any] | None = None) -> FloatArray:
    """Sum of |mean gap| of bins weighted by rows: |sum of gaps| / rows. From weights [some, n] to [some]."""
    from scipy.sparse import csr_matrix

    drawn = np.ones((1, len(gap))) if weights is None else weights
    by_bin = csr_matrix((gap, (at, np.arange(len(gap)))), shape=(bins, len(gap)))
    return np.asarray(np.abs(by_bin @ drawn.T).sum(0) / drawn.sum(-1))
