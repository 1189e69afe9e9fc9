"""Honest confidences, and what to do with them: a map from stated to true probability, and a threshold to trust.

Fitted on records whose gold labels are known: one pair of confidence and outcome for each, or in a space of
several labels one for each label that was named with a score. The error after calibration is measured
across folds, each calibrated by what was fitted on the others: on its own rows isotonic regression is always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from labelspace.errors import DataError
from labelspace.metrics.calibration import brier, calibration_error_estimate
from labelspace.metrics.report import Estimate, OperatingPoint
from labelspace.metrics.selection import threshold_for_precision
from labelspace.records import Prediction

Doubles = npt.NDArray[np.float64]
Method = Literal["temperature", "sigmoid", "isotonic"]
"""`temperature`: log-odds over one number (Guo et al., 2017). `sigmoid`: times one plus another (Platt, 1999).
`isotonic`: any rising steps (Zadrozny and Elkan, 2002), which need some hundred rows."""
LEAST = 20
"""Pairs that a calibration needs."""
_EDGE = 1e-3
"""Stated certainty is taken for this much short of it: a model's 100 is no infinity."""
_FOLDS = 10


@dataclass(frozen=True)
class Calibrator:
    """A map from stated to calibrated confidence that never reverses their order."""

    method: Method | Literal["none"]
    parameters: tuple[tuple[float, ...], ...] = ()
    """`temperature`: the divisor. `sigmoid`: slope and intercept. `isotonic`: confidences and their values."""

    def __call__(self, stated: npt.ArrayLike) -> Doubles:
        """Calibrate confidences in [0, 1] of any shape."""
        given = np.asarray(stated, dtype=np.float64)
        if self.method == "none":
            return given
        if self.method == "isotonic":
            confidences, values = (np.array(row) for row in self.parameters)
            return np.asarray(np.interp(given, confidences, values))
        [(slope, intercept)] = self.parameters
        return np.asarray(1 / (1 + np.exp(-(slope * _log_odds(given) + intercept))))

    @classmethod
    def fit(cls, stated: Doubles, correct: Doubles, method: Method) -> Calibrator:
        """Fit to pairs of confidence and outcome [n]."""
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(stated, correct)
            return cls(method, (tuple(found.X_thresholds_.tolist()), tuple(found.y_thresholds_.tolist())))
        from scipy.optimize import minimize

        odds = _log_odds(stated)
        free = method == "sigmoid"
        # Platt's targets: a few rows that are all right are no certainty.
        right = correct.sum()
        target = np.where(correct > 0, (right + 1) / (right + 2), 1 / (len(correct) - right + 2))

        def loss(at: Doubles) -> float:
            logits = np.exp(at[0]) * odds + (at[1] if free else 0.0)
            return float((np.logaddexp(0, logits) - target * logits).mean())

        at = minimize(loss, np.zeros(2 if free else 1), method="Nelder-Mead", options={"maxiter": 2000}).x
        return cls(method, ((float(np.exp(at[0])), float(at[1]) if free else 0.0),))


@dataclass(frozen=True)
class Calibration:
    """A fitted calibrator and what is known of it."""

    calibrator: Calibrator
    pairs: int
    before: Estimate
    """Expected calibration error as stated."""
    after: Estimate
    """And calibrated, across folds."""
    several: bool
    """Whether pairs are labels with scores, not whole answers."""
    threshold: float | None = None
    """Calibrated confidence below which an answer, or a label of several, is not given."""
    target: float | None = None
    """The precision that the threshold was chosen for."""
    reached: OperatingPoint | None = None
    """What the threshold reached on these rows."""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "method": self.calibrator.method,
            "parameters": [list(row) for row in self.calibrator.parameters],
            "pairs": self.pairs,
            "several": self.several,
            "ece_before": self.before.model_dump(),
            "ece_after_across_folds": self.after.model_dump(),
            "threshold": self.threshold,
            "target_precision": self.target,
            "reached": None if self.reached is None else self.reached.model_dump(),
        }

    @classmethod
    def from_data(cls, data: Any) -> Calibration:
        """Read back what `to_data` made.

        Raises:
            DataError: It is something else.
        """
        try:
            return cls(
                Calibrator(data["method"], tuple(tuple(map(float, row)) for row in data["parameters"])),
                data["pairs"],
                Estimate.model_validate(data["ece_before"]),
                Estimate.model_validate(data["ece_after_across_folds"]),
                data["several"],
                data["threshold"],
                data["target_precision"],
                None if data["reached"] is None else OperatingPoint.model_validate(data["reached"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a calibration: {type(error).__name__} {error}") from error


def pairs_of(
    predictions: Sequence[Prediction | None], gold: Sequence[tuple[str, ...]], *, several: bool
) -> tuple[Doubles, Doubles]:
    """Confidences and whether they were right [n], of answers, or of labels with scores where a text has several."""
    stated: list[float] = []
    correct: list[bool] = []
    for one, names in zip(predictions, gold, strict=True):
        if one is None or one.status == "failed":
            continue
        if several:
            stated += one.scores.values()
            correct += [name in names for name in one.scores]
        elif one.confidence is not None and one.labels:
            stated.append(one.confidence)
            correct.append(one.labels[:1] == names[:1])
    return np.array(stated, np.float64), np.array(correct, np.float64)


def calibrate(
    stated: Doubles,
    correct: Doubles,
    *,
    method: Method | Literal["auto"] = "auto",
    several: bool = False,
    seed: int = 0,
) -> Calibration:
    """Fit a calibrator, and measure it across folds.

    Args:
        stated: Confidences [n].
        correct: Whether they were right [n].
        method: See `Method`; "auto" takes what has the least Brier score across folds, which may be to change nothing.
        several: Whether these are labels, of which a text has several.
        seed: Of the folds and the intervals.

    Raises:
        DataError: There are fewer than 20 pairs, or all were right, or all wrong.
    """
    if len(stated) < LEAST or correct.min() == correct.max():
        how = "all of one outcome" if len(stated) >= LEAST else "which is too few"
        raise DataError(
            f"{len(stated):,} confidences with known outcomes, {how}",
            advice=f"a calibration needs {LEAST} or more, some right and some wrong; label more records by hand",
        )
    fold = np.random.default_rng(seed).permutation(len(stated)) % _FOLDS
    methods: tuple[Method, ...] = get_args(Method) if method == "auto" else (method,)
    across = {name: _across(stated, correct, fold, name) for name in methods}
    losses = {name: brier(values, correct) for name, values in across.items()}
    best = min(methods, key=lambda name: losses[name])
    before = calibration_error_estimate(stated, correct, seed=seed)
    if method == "auto" and brier(stated, correct) <= losses[best]:
        return Calibration(Calibrator("none"), len(stated), before, before, several)
    after = calibration_error_estimate(across[best], correct, seed=seed)
    return Calibration(Calibrator.fit(stated, correct, best), len(stated), before, after, several)


def _across(stated: Doubles, correct: Doubles, fold: npt.NDArray[Any], method: Method) -> Doubles:
    """Calibrated by what was fitted on all other folds."""
    found = np.empty_like(stated)
    for number in range(_FOLDS):
        held = fold == number
        found[held] = Calibrator.fit(stated[~held], correct[~held], method)(stated[held])
    return found


def decide(
    found: Calibration,
    stated: Doubles,
    correct: Doubles,
    *,
    target: float,
    sure: bool = False,
    total: int | None = None,
) -> Calibration:
    """Add the lowest threshold at which what is kept reaches a precision.

    Args:
        found: A calibration.
        stated: Confidences [n] before it.
        correct: Whether they were right [n].
        target: Wanted precision.
        sure: Whether new rows must reach it with 95 % certainty; see `threshold_for_precision`.
        total: Rows that coverage is a share of.

    Raises:
        DataError: No threshold reaches it.
    """
    reached = threshold_for_precision(found.calibrator(stated), correct, target=target, sure=sure, total=total)
    if reached is None:
        raise DataError(
            f"no threshold reaches a precision of {target:g} on {len(stated):,} confidences",
            advice="lower it, or label more records by hand" if sure else "lower it",
        )
    return replace(found, threshold=reached.threshold, target=target, reached=reached)


def best_f1(found: Calibration, stated: Doubles, correct: Doubles, *, missed: int) -> Calibration:
    """Add the threshold with the best micro F1, where a text can have several labels.

    Args:
        found: A calibration.
        stated: Scores [n] before it.
        correct: Whether their labels apply [n].
        missed: Gold labels that have no score at all.
    """
    values = found.calibrator(stated)
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    hits = np.cumsum(correct[order])[last]
    f1 = 2 * hits / (last + 1 + correct.sum() + missed)
    return replace(found, threshold=float(values[order][last[int(f1.argmax())]]))


def _log_odds(stated: Doubles) -> Doubles:
    kept = np.clip(stated, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept))
