"""Calibration and selection against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from labelspace.metrics import (
    accuracy_at_coverage,
    area_under_risk_coverage,
    brier,
    clopper_pearson,
    expected_calibration_error,
    log_loss,
    multiclass_brier,
    reliability,
    risk_coverage,
    threshold_for_precision,
)
from labelspace.metrics.calibration import calibration_error_estimate

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(answers)
@settings(max_examples=100, deadline=None)
def test_bins_are_those_of_sklearn(rows):
    stated, right = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    accuracy, confidence = calibration_curve([*right, 0, 1], [*stated, 1.0, 1.0], n_bins=10)
    ours = reliability([*stated, 1.0, 1.0], [*right, 0, 1])
    assert [one.accuracy for one in ours] == pytest.approx(accuracy)
    assert [one.confidence for one in ours] == pytest.approx(confidence)
    assert sum(one.count for one in ours) == len(rows) + 2
    found = expected_calibration_error([*stated, 1.0, 1.0], [*right, 0, 1])
    expected = sum(one.count * abs(one.accuracy - one.confidence) for one in ours) / (len(rows) + 2)
    assert found == pytest.approx(expected)
    assert brier(stated, right) == pytest.approx(((stated - right) ** 2).mean())


def test_brier_is_that_of_sklearn():
    random = np.random.default_rng(0)
    stated = random.random(200)
    right = random.random(200) < stated
    assert brier(stated, right) == pytest.approx(sk.brier_score_loss(right, stated))


@given(answers, st.sampled_from(["width", "mass"]), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_calibration_error_is_a_share_and_no_less_than_the_overall_gap(rows, equal, bins):
    stated, right = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    error = expected_calibration_error(stated, right, bins=bins, equal=equal)
    assert abs(stated.mean() - right.mean()) - 1e-9 <= error <= 1
    assert sum(one.count for one in reliability(stated, right, bins=bins, equal=equal)) == len(rows)


@pytest.mark.parametrize(
    ("stated", "right", "expected"),
    [
        ([1.0, 1.0], [1, 1], 0.0),
        ([1.0, 1.0], [0, 0], 1.0),
        ([0.0], [0], 0.0),
        ([0.75] * 4, [1, 1, 1, 0], 0.0),
        ([0.95, 0.95, 0.35, 0.35], [1, 0, 1, 0], (0.45 * 2 + 0.15 * 2) / 4),
    ],
)
@pytest.mark.parametrize("equal", ["width", "mass"])
def test_calibration_error_by_hand(stated, right, expected, equal):
    assert expected_calibration_error(stated, right, equal=equal) == pytest.approx(expected)


def test_bins_of_equal_mass_have_equal_mass():
    stated = np.linspace(0.9, 1.0, 100)
    assert [one.count for one in reliability(stated, np.ones(100), bins=5, equal="mass")] == [20] * 5
    assert len(reliability(stated, np.ones(100), bins=5)) == 1


def test_the_interval_of_the_calibration_error_holds_it():
    random = np.random.default_rng(1)
    stated = random.random(2000)
    right = random.random(2000) < 0.8 * stated
    found = calibration_error_estimate(stated, right, resamples=300)
    assert found.value == pytest.approx(0.1, abs=0.02)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(4 * np.sqrt(0.16 / 2000), rel=0.3)


def test_log_loss_and_multiclass_brier_are_those_of_sklearn():
    random = np.random.default_rng(0)
    given_ = random.dirichlet(np.ones(4), size=50)
    gold = random.integers(4, size=50)
    assert log_loss(given_[np.arange(50), gold]) == pytest.approx(sk.log_loss(gold, given_, labels=range(4)))
    expected = ((given_ - np.eye(4)[gold]) ** 2).sum(1).mean()
    assert multiclass_brier(given_, gold) == pytest.approx(expected)
    assert log_loss([0.0, 1.0]) == pytest.approx(-math.log(1e-6) / 2)


@pytest.mark.parametrize(
    ("stated", "right", "message"),
    [
        ([], [], "no rows with a confidence"),
        ([1.5], [1], "must be in .0, 1.; given are 1.5"),
        ([float("nan")], [1], "must be in"),
        ([0.5], [1, 0], "one length"),
    ],
)
def test_confidences_that_are_none_are_refused(stated, right, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(stated, right)


# -- selection -----------------------------------------------------------------------------------

STATED = [0.9, 0.8, 0.8, 0.6, 0.5]
RIGHT = [1, 1, 0, 1, 0]


def test_risk_coverage_by_hand():
    thresholds, coverage, risk = risk_coverage(STATED, RIGHT, total=10)
    assert thresholds.tolist() == [0.9, 0.8, 0.6, 0.5]
    assert coverage.tolist() == [0.1, 0.3, 0.4, 0.5]
    assert risk == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])


def test_area_counts_ties_as_if_in_random_order():
    # Wrong among the first k: 0, 1/2 (either order of the tie), 1, 1, 2.
    assert area_under_risk_coverage(STATED, RIGHT) == pytest.approx(np.mean([0, 0.5 / 2, 1 / 3, 1 / 4, 2 / 5]))
    assert area_under_risk_coverage([0.5] * 4, [1, 0, 1, 0]) == pytest.approx(0.5)


@given(answers)
@settings(max_examples=50, deadline=None)
def test_area_is_the_mean_over_orders_of_ties(rows):
    stated, right = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    stated = stated.round(1)
    random = np.random.default_rng(0)
    areas = []
    for _ in range(300):
        order = np.lexsort((random.random(len(rows)), -stated))
        areas.append((np.cumsum(1 - right[order]) / np.arange(1, len(rows) + 1)).mean())
    assert area_under_risk_coverage(stated, right) == pytest.approx(np.mean(areas), abs=0.06)


def test_accuracy_at_coverage_keeps_at_least_as_much_as_asked():
    points = accuracy_at_coverage(STATED, RIGHT, coverages=(1.0, 0.5, 0.3, 0.1), total=6)
    assert [(one.threshold, one.rows) for one in points] == [(0.8, 3), (0.9, 1)]
    assert points[0].accuracy.value == pytest.approx(2 / 3)
    assert (points[0].accuracy.low, points[0].accuracy.high) == pytest.approx(clopper_pearson(2, 3))


@pytest.mark.parametrize(
    ("target", "threshold", "kept"), [(0.6, 0.5, 5), (0.7, 0.6, 4), (0.9, 0.9, 1), (0.0, 0.5, 5), (1.0, 0.9, 1)]
)
def test_the_lowest_threshold_that_reaches_a_precision(target, threshold, kept):
    point = threshold_for_precision(STATED, RIGHT, target=target, total=10)
    assert (point.threshold, point.rows, point.coverage) == (threshold, kept, kept / 10)
    assert (point.accuracy.low, point.accuracy.high) == pytest.approx(
        clopper_pearson(round(point.accuracy.value * kept), kept)
    )


def test_no_threshold_where_the_most_confident_answer_is_wrong():
    assert threshold_for_precision([0.9, 0.8], [0, 1], target=0.9) is None
    assert threshold_for_precision([0.5], [1], target=0.9, sure=True) is None, "one right answer proves little"


def test_a_sure_threshold_keeps_its_promise_on_new_rows():
    """Precision at confidence c is c: at most 5% of runs may pick a threshold whose precision is below 90%."""
    random = np.random.default_rng(5)
    broken = {True: 0, False: 0}
    for _ in range(300):
        stated = random.uniform(0.5, 1, size=300).round(2)
        right = random.random(300) < stated
        for sure in broken:
            point = threshold_for_precision(stated, right, target=0.9, sure=sure)
            if point is not None:
                broken[sure] += (point.threshold + 1) / 2 < 0.9
    assert broken[True] <= 0.05 * 300 + 5
    assert broken[False] > broken[True], "the observed precision alone is optimistic"
