"""Answer only where confident: what is lost in coverage, what is gained in accuracy.

`confidence` and `correct` have shape [n] and are about answered rows; `total` is the number of all
rows, answered or not, that coverage is a share of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from labelspace.metrics.calibration import Column, columns_of
from labelspace.metrics.cells import FloatArray, IntArray
from labelspace.metrics.intervals import clopper_pearson
from labelspace.metrics.report import Estimate, OperatingPoint

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def risk_coverage(
    confidence: Column, correct: Column, *, total: int | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The risk-coverage curve, one point for each distinct confidence.

    Returns:
        Thresholds, highest first; coverage at each; and risk, the error rate of what is kept.
    """
    thresholds, kept, right = _steps(confidence, correct)
    return thresholds, kept / (total or kept[-1]), 1 - right / kept


def area_under_risk_coverage(confidence: Column, correct: Column) -> float:
    """Mean error rate of the k most confident answers over all k (Geifman and El-Yaniv, 2017).

    Answers of equal confidence count as if in random order: the expectation over their orders.
    """
    _, kept, right = _steps(confidence, correct)
    wrong = kept - right
    size = np.diff(kept, prepend=0)
    place = np.arange(1, kept[-1] + 1)
    group = np.repeat(np.arange(len(kept)), size)
    before, wrong_before = (kept - size)[group], (wrong - np.diff(wrong, prepend=0))[group]
    rate = (np.diff(wrong, prepend=0) / size)[group]
    return float(((wrong_before + (place - before) * rate) / place).mean())


def accuracy_at_coverage(
    confidence: Column,
    correct: Column,
    *,
    coverages: Iterable[float] = COVERAGES,
    total: int | None = None,
    level: float = 0.95,
) -> tuple[OperatingPoint, ...]:
    """Accuracy of the most confident rows.

    Args:
        confidence: Stated probability of being right.
        correct: Whether it was.
        coverages: Shares of rows to keep; each gives the highest threshold that keeps at least as
            much, or nothing where it can't be kept.
        total: Number of all rows.
        level: Of the Clopper-Pearson intervals.
    """
    thresholds, kept, right = _steps(confidence, correct)
    whole = total or int(kept[-1])
    points: dict[int, OperatingPoint] = {}
    for coverage in coverages:
        at = int(np.searchsorted(kept, math.ceil(coverage * whole - 1e-9)))
        if at < len(kept):
            points[at] = _point(thresholds[at], kept[at], right[at], whole=whole, level=level)
    return tuple(points.values())


def threshold_for_precision(
    confidence: Column,
    correct: Column,
    *,
    target: float,
    sure: bool = False,
    total: int | None = None,
    level: float = 0.95,
) -> OperatingPoint | None:
    """The lowest threshold, so the most rows, at which answers reach a wanted precision.

    Args:
        confidence: Stated probability of being right.
        correct: Whether it was.
        target: Wanted share of right answers among those kept.
        sure: Without it, the observed precision has to reach the target. That picks the best of many
            thresholds on these very rows, so on new rows it will be a little lower: look at the
            interval. With it, thresholds are tested in fixed order from the strictest that could
            pass, each by a one-sided Clopper-Pearson bound, up to the first that fails; the
            precision on new rows is then below the target with probability at most 1 - `level`.
        total: Number of all rows.
        level: Of the interval, and of the guarantee.

    Returns:
        The operating point; None where no threshold will do.
    """
    thresholds, kept, right = _steps(confidence, correct)
    whole = total or int(kept[-1])
    if not sure:
        reached = np.flatnonzero(right / kept >= target)
        at = int(reached[-1]) if len(reached) else None
    else:
        at = None
        # Fewer rows than this can't pass even if all are right; to start there looks at no outcome.
        fewest = math.ceil(math.log(1 - level) / math.log(target)) if 0 < target < 1 else 1
        for candidate in np.flatnonzero(kept >= fewest):
            # The lower end of a two-sided interval at 2 * level - 1 is the one-sided bound at level.
            low, _ = clopper_pearson(int(right[candidate]), int(kept[candidate]), level=2 * level - 1)
            if low < target:
                break
            at = int(candidate)
    return None if at is None else _point(thresholds[at], kept[at], right[at], whole=whole, level=level)


def _steps(confidence: Column, correct: Column) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct confidences, highest first; rows kept at each, and right ones among them."""
    stated, right = columns_of(confidence, correct)
    order = np.argsort(-stated, kind="stable")
    ordered = stated[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return ordered[last], last + 1, np.cumsum(right[order]).round().astype(np.int64)[last]


def _point(threshold: float, kept: int, right: int, *, whole: int, level: float) -> OperatingPoint:
    low, high = clopper_pearson(int(right), int(kept), level=level)
    return OperatingPoint(
        threshold=float(threshold),
        rows=int(kept),
        coverage=int(kept) / whole,
        accuracy=Estimate(value=int(right) / int(kept), low=low, high=high),
    )
