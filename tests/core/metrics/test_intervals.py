"""Intervals against scipy, and by how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelspace.metrics import clopper_pearson, wilson
from labelspace.metrics.intervals import bootstrap, centred_interval, percentile_interval, resamples_of


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (931, 1000), (1, 100000)])
def test_binomial_intervals_are_those_of_scipy(successes, trials, level):
    test = stats.binomtest(successes, trials)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = test.proportion_ci(level, method=method)
        assert ours(successes, trials, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_binomial_intervals_of_nothing_and_of_nonsense(interval):
    assert interval(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="between 0 and the 3 trials, not 4"):
        interval(4, 3)
    with pytest.raises(ValueError, match="such as 0.95, not 95"):
        interval(1, 3, level=95)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.93])
def test_binomial_intervals_cover_as_often_as_they_say(share):
    trials = 60
    outcomes = np.arange(trials + 1)
    weight = stats.binom.pmf(outcomes, trials, share)
    covered = {}
    for interval in (wilson, clopper_pearson):
        ends = np.array([interval(int(count), trials) for count in outcomes])
        covered[interval] = weight[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum()
    assert covered[clopper_pearson] >= 0.95
    assert covered[wilson] > 0.92


@pytest.mark.parametrize("cells", [3, 40], ids=["multinomial", "row by row"])
def test_resamples_have_the_size_of_the_data_and_its_cells_on_average(cells):
    rows = np.arange(1, cells + 1) if cells == 3 else np.ones(cells, dtype=int)
    rows = rows * (20 if cells == 3 else 1)
    drawn = np.concatenate(list(resamples_of(rows, 4000, seed=1)))
    assert drawn.shape == (4000, cells)
    assert (drawn.sum(1) == rows.sum()).all()
    assert drawn.mean(0) == pytest.approx(rows, rel=0.1)
    share = rows / rows.sum()
    assert drawn.var(0) == pytest.approx(rows.sum() * share * (1 - share), rel=0.15)


def test_the_same_seed_gives_the_same_draws_and_memory_limits_do_not_change_them():
    rows = np.array([30, 50, 20])

    def share(weights):
        return weights[:, 0] / weights.sum(1)

    first = bootstrap(rows, share, resamples=300, seed=7)
    assert (first == bootstrap(rows, share, resamples=300, seed=7, width=1 << 20)).all()
    assert not (first == bootstrap(rows, share, resamples=300, seed=8)).all()
    assert first.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.15)


def test_bootstrap_of_a_mean_covers_it_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        sample = random.exponential(size=80)
        draws = bootstrap(
            np.ones(80, dtype=int),
            lambda weights, sample=sample: weights @ sample / weights.sum(1),
            resamples=400,
            seed=trial,
        )
        low, high = percentile_interval(draws)
        covered += low <= 1 <= high
    assert 0.87 <= covered / 200 <= 0.99


def test_a_centred_interval_holds_its_value_and_keeps_to_its_bounds():
    draws = np.linspace(0.5, 0.6, 101)  # all above the value, as resampled mutual information is
    assert centred_interval(0.4, draws) == pytest.approx((0.3525, 0.4475))
    assert centred_interval(0.99, draws) == pytest.approx((0.9425, 1.0))


def test_undefined_draws_do_not_count():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert all(np.isnan(percentile_interval(np.array([np.nan]))))


def test_nothing_can_not_be_resampled():
    with pytest.raises(ValueError, match="no rows to resample"):
        bootstrap(np.array([], dtype=int), lambda weights: weights.sum(1))
