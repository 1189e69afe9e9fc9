"""The parts of a report that need a confidence on each prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labelspace.metrics.calibration import (
    brier,
    calibration_error_estimate,
    expected_calibration_error,
    log_loss,
    reliability,
)
from labelspace.metrics.cells import FloatArray
from labelspace.metrics.report import Calibration, Selection, Target
from labelspace.metrics.selection import accuracy_at_coverage, area_under_risk_coverage, threshold_for_precision
from labelspace.records import Prediction

SUMS_TO_ONE = 0.01
"""How far scores may be from summing to 1 and still be a distribution (they are stored rounded)."""


def calibration_of(
    stated: FloatArray,
    right: FloatArray,
    predictions: Sequence[Prediction],
    gold: Sequence[tuple[str, ...]],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Calibration:
    """Calibration of answered rows that state a confidence."""
    told = [gold_probability(one, names) for one, names in zip(predictions, gold, strict=True)]
    known = [probability for probability in told if probability is not None]
    return Calibration(
        rows=len(stated),
        mean_confidence=float(stated.mean()),
        accuracy=float(right.mean()),
        ece=calibration_error_estimate(stated, right, level=level, resamples=resamples, seed=seed),
        ece_equal_mass=expected_calibration_error(stated, right, equal="mass"),
        brier=brier(stated, right),
        log_loss=log_loss(known) if len(known) == len(told) else None,
        bins=reliability(stated, right),
    )


def gold_probability(prediction: Prediction, gold: tuple[str, ...]) -> float | None:
    """What the scores give the one gold label; None where they don't tell.

    They tell where they are a distribution over labels. A label that a complete one leaves out got
    nothing; one that a list of the highest scores leaves out got an unknown share of the rest.
    """
    scores = prediction.scores
    total = sum(scores.values())
    if len(gold) != 1 or not scores or total > 1 + SUMS_TO_ONE:
        return None
    if gold[0] in scores:
        return float(scores[gold[0]])
    return 0.0 if total >= 1 - SUMS_TO_ONE else None


def selection_of(
    stated: FloatArray, right: FloatArray, *, total: int, targets: Iterable[float], level: float
) -> Selection:
    """What abstaining brings; coverage is of all rows, also those without an answer or a confidence."""
    return Selection(
        aurc=area_under_risk_coverage(stated, right),
        points=accuracy_at_coverage(stated, right, total=total, level=level),
        targets=tuple(
            Target(
                precision=target,
                reached=threshold_for_precision(stated, right, target=target, total=total, level=level),
            )
            for target in targets
        ),
    )
