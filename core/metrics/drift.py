"""Has what a classifier says changed? Tests and sizes of change between two sets of predictions.

A test says whether a change is more than chance, an effect how large it is: with many rows every change is sure, and
with few none is. Effects are differences of shares, in [0, 1], so that they compare. `holm` keeps the probability
that any of several tests raises a false alarm at the level of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelspace.metrics.intervals import Interval, wilson

Doubles = npt.NDArray[np.float64]
_AT_ONCE = 2_000_000
"""Numbers held at once while rows are exchanged between the sets."""


@dataclass(frozen=True)
class Moved:
    """A share in both sets; for a label, of the answered rows."""

    name: str
    before: float
    now: float
    change: float
    change_interval: Interval
    """Of 95% (Newcombe, 1998, method 10)."""
    p: float
    """Of Fisher's exact test; for labels corrected for their number (Holm)."""


@dataclass(frozen=True)
class LabelDrift:
    """Change of how often labels are given."""

    effect: float
    """Total variation distance: the share of the labels given that would have to be others."""
    jensen_shannon: float
    """Jensen-Shannon distance with logarithms to the base 2, in [0, 1]."""
    cramer_v: float
    g: float
    """The likelihood-ratio statistic."""
    p: float
    """Of G, by exchanging rows between the sets: right for rare labels and for several labels a row, too."""
    labels: tuple[Moved, ...]
    """Each label, the largest change first."""


@dataclass(frozen=True)
class ConfidenceDrift:
    """Change of how sure the answers are."""

    before: float
    """Mean."""
    now: float
    effect: float
    """Kolmogorov-Smirnov distance: the largest difference between the shares below any one confidence."""
    p: float
    stability_index: float
    """Population stability index; see `stability_index`."""


def label_drift(
    before: Sequence[tuple[str, ...]], now: Sequence[tuple[str, ...]], *, draws: int = 9999, seed: int = 0
) -> LabelDrift:
    """Compare how often each label is given.

    Args:
        before: Labels of each row of the reference.
        now: Labels of each row to compare with it.
        draws: Exchanges of rows; the lowest p is 1 / (draws + 1).
        seed: Of the exchanges.

    Raises:
        ValueError: A set has no rows, or no row has a label.
    """
    if not before or not now:
        raise ValueError("both sets need rows")
    sets = sorted({*before, *now})
    names = sorted({name for one in sets for name in one})
    if not names:
        raise ValueError("no row has a label")
    place = {name: at for at, name in enumerate(names)}
    has = np.zeros((len(sets), len(names)))
    for at, one in enumerate(sets):
        has[at, [place[name] for name in one]] = 1
    first, second = Counter(before), Counter(now)
    rows = np.array([[counts[one] for one in sets] for counts in (first, second)], dtype=np.int64)
    table = rows @ has
    p_one, p_two = (line / max(line.sum(), 1) for line in table)
    p = _exchange_p(rows, has, draws=draws, seed=seed)
    given = table.astype(int).tolist()
    moved = [rate_drift(name, (given[0][at], len(before)), (given[1][at], len(now))) for name, at in place.items()]
    corrected = holm([one.p for one in moved])
    labels = [
        Moved(one.name, one.before, one.now, one.change, one.change_interval, p_here)
        for one, p_here in zip(moved, corrected, strict=True)
    ]
    return LabelDrift(
        effect=float(np.abs(p_one - p_two).sum() / 2),
        jensen_shannon=jensen_shannon(p_one, p_two),
        cramer_v=_cramer_v(table),
        g=float(_g(table[0], table[1])),
        p=p,
        labels=tuple(sorted(labels, key=lambda one: (-abs(one.change), one.name))),
    )


def confidence_drift(before: Sequence[float], now: Sequence[float]) -> ConfidenceDrift:
    """Compare how sure the answers are, by the Kolmogorov-Smirnov test.

    Args:
        before: Confidence of each row of the reference.
        now: Of each row to compare with it.
    """
    from scipy.stats import ks_2samp

    found = ks_2samp(before, now, method="asymp")
    return ConfidenceDrift(
        before=float(np.mean(before)),
        now=float(np.mean(now)),
        effect=float(found.statistic),
        p=float(found.pvalue),
        stability_index=stability_index(before, now),
    )


def rate_drift(name: str, before: tuple[int, int], now: tuple[int, int]) -> Moved:
    """Compare a share, by Fisher's exact test.

    Args:
        name: What is counted.
        before: How many of how many rows of the reference.
        now: How many of how many rows to compare with it.

    Raises:
        ValueError: A set has no rows.
    """
    from scipy.stats import fisher_exact

    if not before[1] or not now[1]:
        raise ValueError("both sets need rows")
    one, two = before[0] / before[1], now[0] / now[1]
    (low_one, high_one), (low_two, high_two) = wilson(*before), wilson(*now)
    change = two - one
    down = float(np.hypot(two - low_two, high_one - one))
    up = float(np.hypot(high_two - two, one - low_one))
    p = float(fisher_exact([[before[0], before[1] - before[0]], [now[0], now[1] - now[0]]])[1])
    return Moved(name, one, two, change, (change - down, change + up), min(p, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, in the same order (Holm, 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P values corrected so that a level bounds the share of wrong findings, in the same order (1995)."""
    adjusted, lowest = [0.0] * len(p_values), 1.0
    for rank, at in sorted(enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at]), 1), reverse=True):
        lowest = min(lowest, p_values[at] * len(p_values) / rank)
        adjusted[at] = lowest
    return adjusted


def jensen_shannon(one: npt.ArrayLike, two: npt.ArrayLike) -> float:
    """Jensen-Shannon distance of two distributions [k], base 2: 1 where they share nothing."""
    first, second = (np.asarray(line, dtype=np.float64) for line in (one, two))
    middle = (first + second) / 2
    parts = [np.sum(line[line > 0] * np.log2(line[line > 0] / middle[line > 0])) for line in (first, second)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def stability_index(before: npt.ArrayLike, now: npt.ArrayLike, *, bins: int = 10) -> float:
    """Population stability index over bins that hold equally much of `before`; each that has any gets half a row more.

    By custom, below 0.1 is taken for stable and above 0.25 for a change that matters.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (before, now))
    edges = np.unique(np.quantile(first, np.arange(1, bins) / bins))
    places = [np.searchsorted(edges, values) for values in (first, second)]
    counts = np.stack([np.bincount(place, minlength=len(edges) + 1) for place in places])
    filled = counts[:, counts.any(axis=0)] + 0.5
    one, two = filled / filled.sum(axis=1, keepdims=True)
    return float(((two - one) * np.log(two / one)).sum())


def _g(one: Doubles, two: Doubles) -> Doubles:
    """G of tables of two lines [..., k]."""
    total = one.sum(axis=-1) + two.sum(axis=-1)
    parts = _x_log_x(one) + _x_log_x(two) - _x_log_x(one + two)
    margins = _x_log_x(one.sum(axis=-1)) + _x_log_x(two.sum(axis=-1)) - _x_log_x(total)
    return np.asarray(np.maximum(2 * (parts.sum(axis=-1) - margins), 0))


def _x_log_x(values: npt.ArrayLike) -> Doubles:
    counts = np.asarray(values, dtype=np.float64)
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


def _exchange_p(rows: npt.NDArray[np.int64], has: Doubles, *, draws: int, seed: int) -> float:
    """Share of exchanges of rows between the sets whose G is at least that of the sets as they are."""
    rng = np.random.default_rng(seed)
    all_rows, observed = rows.sum(axis=0), float(_g(*(rows @ has)))
    least, left = 1, draws
    while left:
        size = min(left, max(1, _AT_ONCE // max(has.shape)))
        drawn = rng.multivariate_hypergeometric(all_rows, int(rows[0].sum()), size=size, method="marginals")
        least += int((_g(drawn @ has, (all_rows - drawn) @ has) >= observed - 1e-9).sum())
        left -= size
    return least / (draws + 1)


def _cramer_v(table: Doubles) -> float:
    """Cramér's V of a table of two lines."""
    total = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    squares = np.divide((table - expected) ** 2, expected, out=np.zeros_like(table), where=expected > 0)
    return float(np.sqrt(squares.sum() / total))
