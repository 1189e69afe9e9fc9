"""Conformal prediction sets: a set of labels that holds the right one as often as was promised.

The promise needs rows that calibrate and rows that are predicted to be exchangeable, and calibration
rows that nothing was fitted or chosen on. It then holds for any number of rows and any probabilities,
good or bad; bad ones only make the sets larger. It is an average over rows and over draws of the
calibration rows: with few of these, the coverage of one draw spreads around it (`coverage_interval`).

Single label here; for several labels a text see `powerset.py`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, DataError

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]
Score = Literal["lac", "aps", "raps"]
"""How strange a label is for a row.

`lac`: 1 - p of the label (Sadinle et al., 2019): the smallest sets, some of them empty. `aps`: the probability of all
likelier labels plus a random share of its own (Romano et al., 2020): sizes follow how hard a row is. `raps`: the same,
plus a penalty on labels far down (Angelopoulos et al., 2021): no very large sets.
"""


class ConformalClassifier:
    """Sets of labels for one label among k, from any probabilities.

    conformal = ConformalClassifier("raps").calibrate(dev_probabilities, dev_gold)
    sets = conformal.sets(probabilities, coverage=0.9)  # bool [n, k]
    """

    def __init__(
        self,
        score: Score = "lac",
        *,
        by_label: bool = False,
        penalty: float = 0.01,
        free: int = 5,
        smooth: bool = False,
        allow_empty: bool = True,
        seed: int = 0,
    ) -> None:
        """Choose the score and the kind of promise.

        Args:
            score: See `Score`.
            by_label: Keep the promise for each label by itself (class-conditional, or Mondrian), not only on average.
                A label with fewer calibration rows than 1 / (1 - coverage) - 1 is then in every set.
            penalty: RAPS's lambda, for each rank beyond `free`.
            free: RAPS's k_reg.
            smooth: Break ties at random, so that coverage is exactly, not at least, what was asked; then the set of
                one row depends on the seed.
            allow_empty: Leave sets empty where no label fits, as the promise allows. If not, such a row gets its
                likeliest label, and coverage can only rise.
            seed: Of what is random in aps, raps and smooth; the same for the same number of rows.
        """
        self.score, self.by_label, self.penalty, self.free = score, by_label, penalty, free
        self.smooth, self.allow_empty, self.seed = smooth, allow_empty, seed
        self._sorted: list[Doubles] | None = None

    def calibrate(self, probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> ConformalClassifier:
        """Learn from rows with known labels how strange a right label can look.

        Args:
            probabilities: [n, k].
            gold: [n] column numbers.

        Raises:
            DataError: There are no rows, or a number is no column.
        """
        p, y = _checked(probabilities, gold)
        scores = self.scores(p, stream=0)[np.arange(len(y)), y]
        groups = range(p.shape[1]) if self.by_label else (None,)
        self._sorted = [np.sort(scores if label is None else scores[y == label]) for label in groups]
        return self

    def scores(self, probabilities: npt.ArrayLike, *, stream: int = 1) -> Doubles:
        """Strangeness of every label [n, k].

        Args:
            probabilities: [n, k].
            stream: Number of the random draw: calibration and prediction must not share one.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        if self.score == "lac":
            return 1 - p
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        share = np.random.default_rng([self.seed, stream]).random((len(p), 1))
        ranked_scores = ranked.cumsum(axis=1) - share * ranked
        if self.score == "raps":
            ranked_scores += self.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - self.free, 0)
        found = np.empty_like(p)
        np.put_along_axis(found, order, ranked_scores, axis=1)
        return found

    def p_values(self, probabilities: npt.ArrayLike) -> Doubles:
        """Share of calibration rows that look at least as strange as each label would, itself counted; [n, k]."""
        scores = self.scores(probabilities)
        sizes = self._calibrated(scores.shape[1])
        draw = np.random.default_rng([self.seed, 2]).random((len(scores), 1)) if self.smooth else None
        found = np.empty_like(scores)
        for label in range(scores.shape[1]):
            found[:, label] = p_value(
                sizes[label if self.by_label else 0], scores[:, label], None if draw is None else draw[:, 0]
            )
        return found

    def sets(self, probabilities: npt.ArrayLike, *, coverage: float) -> Flags:
        """Sets that hold the right label with at least the asked probability; bool [n, k].

        Args:
            probabilities: [n, k].
            coverage: Wanted, in (0, 1).
        """
        check_coverage(coverage)
        if self.smooth:
            given: Flags = self.p_values(probabilities) > 1 - coverage
        else:
            scores = self.scores(probabilities)
            limits = [conformal_quantile(group, coverage) for group in self._calibrated(scores.shape[1])]
            given = scores <= np.array(limits)
        if not self.allow_empty:
            empty = ~given.any(axis=1)
            given[empty, np.asarray(probabilities)[empty].argmax(axis=1)] = True
        return given

    def _calibrated(self, labels: int) -> list[Doubles]:
        if self._sorted is None:
            raise ConfigError("nothing is promised yet; call calibrate(probabilities, gold) with rows of dev first")
        if self.by_label and len(self._sorted) != labels:
            raise ConfigError(f"calibrated for {len(self._sorted)} labels, but there are probabilities of {labels}")
        return self._sorted


def conformal_quantile(scores: npt.ArrayLike, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th lowest of n scores; a new one exceeds it with probability 1 - coverage at most.

    Args:
        scores: [n], sorted or not.
        coverage: Wanted, in (0, 1).

    Returns:
        Infinity where n is too small to promise that much.
    """
    values = np.asarray(scores, dtype=np.float64)
    # 0.9 * 10 is a little more than 9 in binary: without the margin, the next score would be taken.
    rank = math.ceil((len(values) + 1) * coverage - 1e-9)
    return math.inf if rank > len(values) else float(np.partition(values, rank - 1)[rank - 1])


def p_value(calibration: npt.NDArray[Any], scores: npt.ArrayLike, draw: npt.ArrayLike | None = None) -> Doubles:
    """Conformal p-values: (rows at least as strange + 1) / (n + 1).

    Args:
        calibration: [n] scores, sorted upwards.
        scores: [...] scores to judge.
        draw: Numbers in [0, 1) like `scores`: ties, and the row itself, then count by this share
            (Vovk et al., 2005), which makes the p-values of right answers exactly uniform.
    """
    values = np.asarray(scores)
    n = len(calibration)
    at_least = n - np.searchsorted(calibration, values, side="left")
    if draw is None:
        return np.asarray((at_least + 1) / (n + 1), dtype=np.float64)
    above = n - np.searchsorted(calibration, values, side="right")
    return np.asarray((above + np.asarray(draw) * (at_least - above + 1)) / (n + 1), dtype=np.float64)


def coverage_interval(
    coverage: float, *, calibration: int | None, test: int, level: float = 0.95
) -> tuple[float, float]:
    """Where the observed coverage of a valid procedure lies with probability `level`.

    Args:
        coverage: Nominal.
        calibration: Rows it was calibrated on; the hits are then beta-binomial (Angelopoulos and Bates, 2023,
            section 3.2), since the calibration rows are themselves a draw. None takes them as endlessly many: binomial.
        test: Rows the coverage is observed on.
        level: Of the interval, with equal tails.
    """
    from scipy.stats import betabinom, binom

    tails = ((1 - level) / 2, (1 + level) / 2)
    if calibration is None:
        hits = binom(test, coverage)
    else:
        rank = math.ceil((calibration + 1) * coverage - 1e-9)
        if rank > calibration:
            return 1.0, 1.0
        hits = betabinom(test, rank, calibration + 1 - rank)
    low, high = (float(hits.ppf(tail)) / test for tail in tails)
    return low, high


def check_coverage(coverage: float) -> None:
    """Refuse what is no share.

    Raises:
        ConfigError: It is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"coverage is a share between 0 and 1, such as 0.9, not {coverage}")


def _checked(probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> tuple[Doubles, Numbers]:
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(gold)
    if p.ndim != 2 or y.ndim != 1 or len(p) != len(y) or not len(y):
        raise DataError(
            f"probabilities of shape {p.shape} and gold labels of shape {y.shape} were given",
            advice="give [n, k] probabilities and [n] column numbers, at least one row",
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(
            f"gold labels run from {y.min()} to {y.max()}", advice=f"give columns from 0 to {p.shape[1] - 1}"
        )
    return p, y.astype(np.intp)
