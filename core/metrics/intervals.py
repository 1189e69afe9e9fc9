"""Confidence intervals: Wilson and Clopper-Pearson for shares, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.metrics.cells import FloatArray, chunks

Interval = tuple[float, float]


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Wilson score interval of a share; close to its nominal level also near 0 and 1.

    Returns:
        Low and high in [0, 1]; (0, 1) where there are no trials.
    """
    _check(successes, trials, level)
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    # The bounds are exactly 0 and 1 at the ends; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Exact binomial interval of a share: never covers less often than `level`.

    Returns:
        Low and high in [0, 1]; (0, 1) where there are no trials.
    """
    _check(successes, trials, level)
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def _check(successes: int, trials: int, level: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and the {trials} trials, not {successes}")
    _check_level(level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is between 0 and 1, such as 0.95, not {level}")


def resamples_of(
    rows: npt.NDArray[Any], resamples: int, *, seed: int, width: int = 0
) -> Iterator[npt.NDArray[np.float64]]:
    """Draw bootstrap resamples of rows that are grouped into cells.

    Args:
        rows: Rows in each cell, shape [cells].
        resamples: How many to draw.
        seed: Seed of the draws; the same seed and rows give the same resamples.
        width: Numbers per resample that the caller makes of them, where that is more than cells.

    Yields:
        Rows in each cell, shape [some, cells]; each line sums to the number of rows.
    """
    cells, total = len(rows), int(rows.sum())
    random = np.random.default_rng(seed)
    for count in chunks(resamples, width=max(cells, width)):
        if cells < total / 16:
            yield random.multinomial(total, rows / total, size=count).astype(np.float64)
        else:  # a binomial for each cell takes longer than sixteen draws of a row
            owner = np.repeat(np.arange(cells, dtype=np.int32), rows)
            drawn = np.empty((count, cells))
            for line in range(count):
                picked = owner[random.integers(0, total, size=total, dtype=np.int32)]
                drawn[line] = np.bincount(picked, minlength=cells)
            yield drawn


def bootstrap(
    rows: npt.NDArray[Any],
    statistic: Callable[[FloatArray], FloatArray],
    *,
    resamples: int = 1000,
    seed: int = 0,
    width: int = 0,
) -> FloatArray:
    """Values of a statistic over bootstrap resamples.

    Args:
        rows: Rows in each cell, shape [cells]; ones where nothing is grouped.
        statistic: From rows in each cell, shape [some, cells], to values of shape [some] or [some, m].
        resamples: How many resamples to draw.
        seed: Two systems scored with the same seed on the same cells see the same resamples (paired).
        width: Largest number of floats per resample that the statistic needs; limits memory.

    Returns:
        Shape [resamples] or [resamples, m].
    """
    if rows.sum() == 0:
        raise ValueError("there are no rows to resample")
    return np.concatenate(
        [statistic(drawn) for drawn in resamples_of(rows, resamples, seed=seed, width=width)],
    )


def percentile_interval(draws: FloatArray, *, level: float = 0.95) -> Interval:
    """The middle `level` of bootstrap values, shape [resamples]; those that are undefined don't count."""
    _check_level(level)
    kept = draws[~np.isnan(draws)]
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def centred_interval(value: float, draws: FloatArray, *, level: float = 0.95, bounds: Interval = (0, 1)) -> Interval:
    """A percentile interval moved so that its draws have `value` as their mean.

    For measures that a resample systematically raises, since it repeats rows: mutual information,
    purity, calibration error. Their plain percentile interval can lie wholly above the value.

    Args:
        value: The measure on the data.
        draws: The measure on resamples, shape [resamples].
        level: Share of draws inside.
        bounds: What the measure can't leave.
    """
    low, high = percentile_interval(draws, level=level)
    shift = value - float(np.nanmean(draws)) if not np.isnan(draws).all() else float("nan")
    return max(bounds[0], low + shift), min(bounds[1], high + shift)
