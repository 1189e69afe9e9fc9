"""Regions of label combinations, against every one of the 2^k where k is small, and at fifty labels."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.conformal import coverage_interval
from labelspace.finetune.powerset import PowersetConformal, Region


def make_rows(draw: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Few labels a row, in groups that come together; probabilities that are too sure of themselves."""
    group = draw.normal(0, 1, (n, 5))
    logits = -2.5 + group[:, np.arange(k) % 5] + draw.normal(0, 1.2, (n, k))
    gold = draw.random((n, k)) < 1 / (1 + np.exp(-logits))
    seen = 1.4 * (logits + draw.normal(0, 0.7, (n, k)))
    return 1 / (1 + np.exp(-seen)), gold


def every_combination(k: int) -> np.ndarray:
    return np.array(list(itertools.product([False, True], repeat=k)))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("cost", ["square", "log"])
def test_regions_against_all_combinations(cost: str, smooth: bool) -> None:
    draw = np.random.default_rng(0)
    k = 8
    conformal = PowersetConformal(cost, smooth=smooth, resolution=50).calibrate(*make_rows(draw, 150, k))  # type: ignore[arg-type]
    rows = make_rows(draw, 12, k)[0]
    rows[0, :3] = 0.5  # changes that cost nothing
    everything = every_combination(k)
    # One p-value a row for each combination, with the row's own random number.
    p_values = np.stack([conformal.p_values(rows, np.repeat(y[None], len(rows), 0)) for y in everything], axis=1)
    scores = np.stack([conformal.scores(rows, np.repeat(y[None], len(rows), 0)) for y in everything], axis=1)
    for coverage in (0.3, 0.8, 0.9, 0.95):
        for at, region in enumerate(conformal.regions(rows, coverage=coverage)):
            inside = p_values[at] > 1 - coverage + 1e-12
            assert [y in region for y in everything] == inside.tolist()
            assert region.size == inside.sum()
            listed = list(region.combinations())
            assert len(listed) == region.size == len({tuple(y) for y in listed})
            order = [scores[at][(everything == y).all(axis=1)][0] for y in listed]
            assert order == sorted(order) and order == sorted(scores[at][inside])
            assert [tuple(y) for y in region.top(3)] == [tuple(y) for y in listed[:3]]
            if inside.any():
                assert np.array_equal(region.certain, everything[inside].all(axis=0))
                assert np.array_equal(region.possible, everything[inside].any(axis=0))
                assert scores[at].min() == order[0]
            else:
                assert not region.certain.any() and not region.possible.any()


def test_scores_by_hand() -> None:
    p, y = [[0.2, 0.9, 0.5]], [[False, True, True]]
    assert PowersetConformal("square").scores(p, y).tolist() == [40 + 10 + 250]
    steps = [round(-1000 * math.log(q)) for q in (0.8, 0.9, 0.5)]
    assert PowersetConformal("log").scores(p, y).tolist() == [sum(steps)]


def test_p_values_by_hand() -> None:
    """Calibration scores 40, 90, 90, 250 steps; the best combination has 10, one change makes it 810."""
    p = np.sqrt([[0.04], [0.09], [0.09], [0.25]])
    conformal = PowersetConformal("square").calibrate(p, np.zeros((4, 1), bool))
    rows = np.array([[0.1], [0.1], [0.3]])
    assert conformal.p_values(rows, [[False], [True], [False]]).tolist() == pytest.approx([1.0, 0.2, 0.8])


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("cost", ["square", "log"])
def test_coverage_is_what_was_promised(cost: str, coverage: float) -> None:
    draw = np.random.default_rng(1)
    hits = []
    for _ in range(60):
        conformal = PowersetConformal(cost).calibrate(*make_rows(draw, 200, 20))  # type: ignore[arg-type]
        p, gold = make_rows(draw, 300, 20)
        hits.append((conformal.p_values(p, gold) > 1 - coverage).mean())
    assert np.mean(hits) == pytest.approx(math.ceil(201 * coverage - 1e-9) / 201, abs=0.012)
    low, high = coverage_interval(coverage, calibration=200, test=300)
    assert np.mean([low <= hit <= high for hit in hits]) > 0.85


def test_fifty_labels_in_ten_milliseconds() -> None:
    """2^50 is more than 1e15 combinations; size, the best ten, what is certain and possible, of each row."""
    draw = np.random.default_rng(2)
    k = 50
    assert 2**k > 1e15
    conformal = PowersetConformal().calibrate(*make_rows(draw, 1000, k))
    p, gold = make_rows(draw, 200, k)
    started = time.process_time()
    held = 0
    for region, truth in zip(conformal.regions(p, coverage=0.9), gold, strict=True):
        assert region.size >= len(region.top(10)) and region.certain.sum() <= region.possible.sum()
        held += truth in region
    assert (time.process_time() - started) / len(p) < 0.010
    low, high = coverage_interval(0.9, calibration=1000, test=200, level=0.999)
    assert low <= held / 200 <= high


@pytest.mark.parametrize("k", [50, 80, 200])
def test_counts_are_exact_whatever_their_size(k: int) -> None:
    """Changes that cost one step each: how many there are within a budget is a sum of binomials."""
    region = Region(best=np.zeros(k, bool), costs=np.ones(k, np.int64), budget=k // 2)
    assert region.size == sum(math.comb(k, changes) for changes in range(k // 2 + 1))
    assert Region(best=np.zeros(k, bool), costs=np.ones(k, np.int64), budget=k).size == 2**k
    free = np.concatenate([np.zeros(5, np.int64), np.full(k - 5, 7)])
    assert Region(best=np.zeros(k, bool), costs=free, budget=20).size == 32 * sum(math.comb(k - 5, n) for n in range(3))


def test_too_few_rows_promise_by_holding_everything() -> None:
    p, gold = make_rows(np.random.default_rng(0), 5, 30)
    region = PowersetConformal().calibrate(p, gold).region(p[0], coverage=0.95)
    assert region.size == 2**30 and region.possible.all() and not region.certain.any()
    assert ~region.best in region


def test_a_region_can_be_empty() -> None:
    calibration = np.full((99, 3), 0.01)
    conformal = PowersetConformal().calibrate(calibration, np.zeros((99, 3), bool))
    region = conformal.region(np.array([0.5, 0.4, 0.45]), coverage=0.9)
    assert region.size == 0 and region.top(5) == [] and region.best not in region


def test_smoothing_makes_coverage_exact_where_scores_tie() -> None:
    draw = np.random.default_rng(0)
    hits: dict[bool, list[float]] = {False: [], True: []}
    for trial in range(60):

        def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
            gold = draw.random((n, 4)) < 0.3
            return np.where(gold ^ (draw.random((n, 4)) < 0.1), 0.8, 0.2), gold

        calibration, (p, gold) = rows(99), rows(300)
        for smooth, found in hits.items():
            conformal = PowersetConformal(smooth=smooth, seed=trial).calibrate(*calibration)
            regions = conformal.regions(p, coverage=0.8)
            found.append(np.mean([y in region for y, region in zip(gold, regions, strict=True)]))
    assert np.mean(hits[False]) > 0.9
    assert np.mean(hits[True]) == pytest.approx(0.8, abs=0.02)


def test_misuse_is_named() -> None:
    with pytest.raises(ConfigError, match="calibrate"):
        PowersetConformal().region(np.array([0.5]), coverage=0.9)
    with pytest.raises(DataError, match=r"\(2, 3\) and gold labels of \(2, 2\)"):
        PowersetConformal().calibrate(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="not logits"):
        PowersetConformal().calibrate([[3.0]], [[True]])
    with pytest.raises(ConfigError, match="resolution"):
        PowersetConformal(resolution=0)
