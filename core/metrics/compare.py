"""Is one system better than another on the same rows, or was it luck?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from labelspace.metrics.cells import Answer, Cells, FloatArray, as_names, same_length
from labelspace.metrics.classification import macro_f1_of, micro_f1_of, weighted_f1_of
from labelspace.metrics.intervals import bootstrap, percentile_interval
from labelspace.metrics.report import Difference, McNemar


def mcnemar(gold: Sequence[Answer], first: Sequence[Answer], second: Sequence[Answer]) -> McNemar:
    """Test whether two systems differ in accuracy (McNemar, 1947; exact binomial, two-sided)."""
    from scipy.special import bdtr

    one, two = _pair(gold, first, second)
    only_first = int(((one.exact == 1) & (two.exact == 0)) @ one.rows)
    only_second = int(((one.exact == 0) & (two.exact == 1)) @ one.rows)
    differ = only_first + only_second
    p_value = 1.0 if not differ else min(1.0, 2 * float(bdtr(min(only_first, only_second), differ, 0.5)))
    return McNemar(only_first=only_first, only_second=only_second, p_value=p_value)


def _accuracy(cells: Cells, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ cells.exact / weights.sum(-1))


MEASURES: dict[str, Callable[[Cells, FloatArray], FloatArray]] = {
    "accuracy": _accuracy,
    "macro_f1": lambda cells, weights: macro_f1_of(cells.counts(weights)),
    "micro_f1": lambda cells, weights: micro_f1_of(cells.counts(weights)),
    "weighted_f1": lambda cells, weights: weighted_f1_of(cells.counts(weights)),
}


def paired_bootstrap(
    gold: Sequence[Answer],
    first: Sequence[Answer],
    second: Sequence[Answer],
    *,
    measure: str = "accuracy",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Difference of two systems in one measure; each resample scores both on the same rows.

    Args:
        gold: Gold labels of each row.
        first: Answers of one system.
        second: Answers of the other.
        measure: One of `accuracy`, `macro_f1`, `micro_f1`, `weighted_f1`.
        resamples: How many to draw.
        level: Of the interval.
        seed: Of the draws.
    """
    if measure not in MEASURES:
        raise ValueError(f"no measure {measure!r} to compare by; there are: {', '.join(MEASURES)}")
    one, two = _pair(gold, first, second)
    score = MEASURES[measure]
    ours, theirs = (float(score(cells, one.rows[None].astype(np.float64))[0]) for cells in (one, two))
    draws = bootstrap(
        one.rows,
        lambda drawn: score(one, drawn) - score(two, drawn),
        resamples=resamples,
        seed=seed,
        width=3 * len(one.names),
    )
    low, high = percentile_interval(draws, level=level)
    value = ours - theirs
    beyond = (draws <= 0).mean() if value > 0 else (draws >= 0).mean()
    p_value = min(1.0, 2 * max(float(beyond), 1 / (resamples + 1)))
    return Difference(
        first=ours, second=theirs, value=value, low=low, high=high, p_value=1.0 if value == 0 else p_value
    )


def _pair(gold: Sequence[Answer], first: Sequence[Answer], second: Sequence[Answer]) -> tuple[Cells, Cells]:
    """Cells of two systems over the same groups of rows."""
    same_length(gold, first)
    same_length(gold, second)
    counted = Counter(zip(*(map(as_names, side) for side in (gold, first, second)), strict=True))
    names = tuple(sorted({name for triple in counted for side in triple for name in side}))
    rows = np.array(list(counted.values()), dtype=np.int64)
    if not len(rows):
        raise ValueError("there are no rows to compare on")
    one = Cells(names, tuple((true, answer) for true, answer, _ in counted), rows)
    return one, Cells(names, tuple((true, answer) for true, _, answer in counted), rows)
