"""Conformal sets of label sets: which combinations of labels could be right, among all 2^k, without listing them.

Label-powerset inductive conformal prediction (Papadopoulos, 2014; Maltoudoglou et al., 2022, arXiv 2312.09304): every
combination Y of the k labels is one candidate, with a nonconformity score and so a p-value; the
region of a row holds those with p > 1 - coverage, the true combination with at least that probability.

The score is a sum over labels, |y - p|^2 (the square of the paper's Euclidean norm, which orders alike) or
-log p(y), counted in whole steps of 1 / resolution. From the best combination on, every change of
a label then costs a known whole number, and a region is all subsets of changes that fit a budget:

* membership and p-value of a combination: a sum, and a look into the sorted calibration scores;
* how many there are: a knapsack count over whole numbers, k additions of arrays, exact;
* the best m: a heap, in order, m log m;
* which labels are in all or in none: one comparison each.

The authors discard combinations that can't reach the level and test the rest, which is exponential in
what is left. Counting in steps is a score of its own, so that the promise is exact; with 1000 steps a unit it changes
no p-value that matters, except where scores tie. As theirs, the procedure knows no interaction of labels.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.conformal import check_coverage, conformal_quantile, p_value

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int64]
Cost = Literal["square", "log"]
_INT64_LABELS = 62
"""Up to so many labels a count of combinations fits in 64 bits."""


@dataclass(frozen=True)
class Region:
    """The combinations of labels that could be right for one row."""

    best: Flags
    """[k], the combination that conforms best; in the region unless that is empty."""
    costs: Steps
    """[k], steps that a change of each label of `best` adds to the score."""
    budget: int
    """Steps that may be added; negative for an empty region."""

    @property
    def size(self) -> int:
        """How many combinations it holds, exactly."""
        if self.budget < 0:
            return 0
        if self.budget >= self.costs.sum():
            return 1 << len(self.costs)
        fitting = self.costs[self.costs <= self.budget]
        free = int((fitting == 0).sum())  # labels at exactly one half: each doubles the count
        priced = np.sort(fitting[fitting > 0])
        limit = min(self.budget, int(priced.sum()))
        kind: Any = np.int64 if len(priced) <= _INT64_LABELS else object
        ways = np.zeros(limit + 1, dtype=kind)  # [s]: subsets that cost exactly s
        ways[0] = 1
        reach = 0
        for cost in priced.tolist():
            upto = min(reach + cost, limit)
            ways[cost : upto + 1] += ways[: upto + 1 - cost].copy()
            reach = upto
        return int(ways.sum()) << free

    @property
    def certain(self) -> Flags:
        """[k], labels that every combination of the region has."""
        return np.asarray(self.best & (self.costs > self.budget) & (self.budget >= 0))

    @property
    def possible(self) -> Flags:
        """[k], labels that some combination of the region has."""
        return np.asarray((self.best | (self.costs <= self.budget)) & (self.budget >= 0))

    def __contains__(self, combination: object) -> bool:
        """Whether a combination, [k] of true and false, is in the region."""
        changed = np.asarray(combination, dtype=bool) != self.best
        return int(self.costs[changed].sum()) <= self.budget

    def combinations(self) -> Iterator[Flags]:
        """Every combination, the best conforming first; there may be very many, so stop where it is enough."""
        if self.budget < 0:
            return
        order = np.argsort(self.costs, kind="stable")
        order = order[self.costs[order] <= self.budget]
        costs = self.costs[order].tolist()
        yield self.best.copy()
        # A subset of changes, as positions in rising order of cost, is followed by itself with its last change
        # moved one on, and by itself with the next change added. Each subset has one way to come about.
        heap: list[tuple[int, tuple[int, ...]]] = [(costs[0], (0,))] if costs else []
        while heap:
            spent, changes = heapq.heappop(heap)
            if spent > self.budget:
                return
            combination = self.best.copy()
            combination[order[list(changes)]] ^= True
            yield combination
            last = changes[-1]
            if last + 1 < len(costs):
                heapq.heappush(heap, (spent - costs[last] + costs[last + 1], (*changes[:-1], last + 1)))
                heapq.heappush(heap, (spent + costs[last + 1], (*changes, last + 1)))

    def top(self, count: int) -> list[Flags]:
        """The best conforming combinations, at most `count`."""
        return [combination for combination, _ in zip(self.combinations(), range(count), strict=False)]


class PowersetConformal:
    """Regions of label combinations, from any probabilities of k independent labels.

    conformal = PowersetConformal().calibrate(dev_probabilities, dev_gold)
    region = conformal.region(probabilities[0], coverage=0.9)
    region.size, region.top(5), region.certain, region.possible
    """

    def __init__(self, cost: Cost = "log", *, resolution: int = 1000, smooth: bool = False, seed: int = 0) -> None:
        """Choose the score.

        Args:
            cost: `square` is the paper's, `log` the likelihood of independent labels.
            resolution: Steps a unit of the score; more makes counting slower, in proportion.
            smooth: Break ties at random, so that coverage is exactly, not at least, what was asked.
            seed: Of that.
        """
        if resolution < 1:
            raise ConfigError(f"the resolution is at least one step a unit, not {resolution}")
        self.cost, self.resolution, self.smooth, self.seed = cost, resolution, smooth, seed
        self._sorted: Steps | None = None

    def calibrate(self, probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> PowersetConformal:
        """Learn from rows with known labels how strange a right combination can look.

        Args:
            probabilities: [n, k].
            gold: [n, k] of true and false.

        Raises:
            DataError: The shapes differ, or there are no rows.
        """
        p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(gold, dtype=bool)
        if p.shape != y.shape or p.ndim != 2 or not len(p):
            raise DataError(
                f"probabilities of shape {p.shape} and gold labels of {y.shape} were given",
                advice="give [n, k] of both, at least one row",
            )
        self._sorted = np.sort(self.scores(p, y))
        return self

    def scores(self, probabilities: npt.ArrayLike, combinations: npt.ArrayLike) -> Steps:
        """Strangeness, in steps [n], of one combination [n, k] for each row of probabilities [n, k]."""
        off, on = self._steps(np.asarray(probabilities, dtype=np.float64))
        return np.asarray(np.where(np.asarray(combinations, dtype=bool), on, off).sum(axis=-1), dtype=np.int64)

    def p_values(self, probabilities: npt.ArrayLike, combinations: npt.ArrayLike) -> Doubles:
        """Exact p-value [n] of one combination [n, k] for each row of probabilities [n, k]."""
        scores = self.scores(probabilities, combinations)
        draw = np.random.default_rng(self.seed).random(len(scores)) if self.smooth else None
        return p_value(self._calibrated(), scores, draw)

    def region(self, probabilities: npt.ArrayLike, *, coverage: float) -> Region:
        """The region of one row.

        Args:
            probabilities: [k].
            coverage: Probability that the true combination is in it, at least.
        """
        return next(self.regions(np.asarray(probabilities, dtype=np.float64)[None], coverage=coverage))

    def regions(self, probabilities: npt.ArrayLike, *, coverage: float) -> Iterator[Region]:
        """The region of each row of probabilities [n, k]."""
        check_coverage(coverage)
        calibrated = self._calibrated()
        off, on = self._steps(np.asarray(probabilities, dtype=np.float64))
        if self.smooth:
            draws = np.random.default_rng(self.seed).random(len(off))
            limits = [_smooth_limit(calibrated, coverage, float(draw)) for draw in draws]
        else:
            limits = [conformal_quantile(calibrated, coverage)] * len(off)
        for row, limit in enumerate(limits):
            costs = np.abs(on[row] - off[row])
            least = int(np.minimum(on[row], off[row]).sum())
            budget = int(costs.sum()) if limit == math.inf else max(int(limit) - least, -1)
            yield Region(best=on[row] < off[row], costs=costs, budget=budget)

    def _steps(self, p: Doubles) -> tuple[Steps, Steps]:
        """Cost in steps of leaving each label out, and of putting it in; like p."""
        if np.isnan(p).any() or p.min(initial=0) < 0 or p.max(initial=0) > 1:
            raise DataError("a probability is not between 0 and 1", advice="give probabilities, not logits")
        if self.cost == "square":
            off, on = p**2, (1 - p) ** 2
        else:
            kept = np.clip(p, 1e-9, 1 - 1e-9)
            off, on = -np.log1p(-kept), -np.log(kept)
        return tuple(np.rint(cost * self.resolution).astype(np.int64) for cost in (off, on))  # type: ignore[return-value]

    def _calibrated(self) -> Steps:
        if self._sorted is None:
            raise ConfigError("nothing is promised yet; call calibrate(probabilities, gold) with rows of dev first")
        return self._sorted


def _smooth_limit(calibrated: Steps, coverage: float, draw: float) -> float:
    """Highest score, in steps, whose smoothed p-value is above 1 - coverage; p-values fall as scores rise."""
    n = len(calibrated)
    distinct, ties = np.unique(calibrated, return_counts=True)
    above = n - ties.cumsum()
    passing = int(((above + draw * (ties + 1)) / (n + 1) > 1 - coverage).sum())
    stranger = int(above[passing - 1]) if passing else n
    if (stranger + draw) / (n + 1) > 1 - coverage:  # then all scores pass up to the next that occurs
        return float(distinct[passing] - 1) if passing < len(distinct) else math.inf
    return float(distinct[passing - 1]) if passing else -1.0
