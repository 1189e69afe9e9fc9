"""Drift by hand, and how often it is seen where there is none."""

from __future__ import annotations

from math import log, log2, sqrt

import numpy as np
import pytest
from scipy import stats

from labelspace.metrics.drift import (
    benjamini_hochberg,
    confidence_drift,
    holm,
    jensen_shannon,
    label_drift,
    rate_drift,
    stability_index,
)
from labelspace.metrics.monitoring import monitor
from labelspace.records import EMPTY_TEXT, Prediction, Record


def rows(**counts):
    return [(name,) for name, count in counts.items() for _ in range(count)]


def test_label_shares_by_hand() -> None:
    found = label_drift(rows(a=30, b=70), rows(a=50, b=50))
    assert found.effect == pytest.approx(0.2)
    assert found.cramer_v == pytest.approx(sqrt(1 / 24))  # chi-square is 200 * (30 * 50 - 50 * 70)^2 / (80 * 120 * 1e4)
    expected = 2 * (30 * log(30 / 40) + 70 * log(70 / 60) + 50 * log(50 / 40) + 50 * log(50 / 60))
    assert found.g == pytest.approx(expected)
    exact = stats.fisher_exact([[30, 70], [50, 50]])[1]
    assert found.p == pytest.approx(exact, abs=0.002)
    assert [(one.name, round(one.change, 9)) for one in found.labels] == [("a", 0.2), ("b", -0.2)]
    assert [one.p for one in found.labels] == pytest.approx([2 * exact] * 2)


def test_several_labels_a_row_are_counted_each() -> None:
    found = label_drift([("a", "b"), ("a",)], [("a", "b"), (), ("b",)])
    assert {one.name: (one.before, one.now) for one in found.labels} == {
        "a": (1.0, pytest.approx(1 / 3)),
        "b": (0.5, pytest.approx(2 / 3)),
    }
    assert found.effect == pytest.approx(1 / 3)
    assert found.p > 0.3


def test_the_p_of_rows_with_one_and_with_several_labels_is_the_share_of_exchanges() -> None:
    # Of the 20 ways to choose three of six rows, two are as far apart as aaa and bbb.
    assert label_drift(rows(a=3), rows(b=3)).p == pytest.approx(0.1, abs=0.01)
    assert label_drift([("a", "c")] * 3, [("b", "c")] * 3).p == pytest.approx(0.1, abs=0.01)


def test_distances_of_distributions() -> None:
    assert jensen_shannon([1, 0], [0, 1]) == 1
    assert jensen_shannon([0.3, 0.7], [0.3, 0.7]) == 0
    assert jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(
        sqrt((log2(4 / 3) + 0.5 * log2(2 / 3) + 0.5 * log2(2)) / 2)
    )


def test_the_stability_index_by_hand() -> None:
    # Two bins at the median: 2 and 2 before, 1 and 3 now, each with half a row more.
    assert stability_index([1, 2, 3, 4], [1, 3, 4, 4], bins=2) == pytest.approx(
        (0.3 - 0.5) * log(0.3 / 0.5) + (0.7 - 0.5) * log(0.7 / 0.5)
    )
    assert stability_index([0.5] * 20, [0.5] * 7) == 0


def test_confidence_and_rates_against_scipy() -> None:
    before, now = np.linspace(0, 1, 60), np.linspace(0, 1, 50) ** 2
    found = confidence_drift(list(before), list(now))
    theirs = stats.ks_2samp(before, now, method="asymp")
    assert (found.effect, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    # The example of Newcombe (1998), table II, case (a), method 10: 56 of 70 against 48 of 80.
    rate = rate_drift("x", (48, 80), (56, 70))
    assert rate.change == pytest.approx(0.2)
    assert rate.change_interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert rate.p == pytest.approx(stats.fisher_exact([[48, 32], [56, 14]])[1])


def test_corrections_by_hand() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def made(labels, confidences=None):
    return [
        Prediction(
            str(at),
            labels=() if label is None else (label,),
            confidence=None if confidences is None else confidences[at],
            status="abstained" if label is None else "ok",
        )
        for at, label in enumerate(labels)
    ]


def test_rows_are_told_apart_and_spot_checks_joined() -> None:
    now = [
        *made(["a", "a", "b", "other", None]),
        Prediction("blank", status="abstained", reason=EMPTY_TEXT),
        Prediction("failed", status="failed"),
    ]
    checks = [Record(str(at), "", (name,)) for at, name in enumerate("abbb")]
    found = monitor(now, now, checks=[*checks, Record("9", "", ("a",)), Record("4", "", None)], other="other")
    assert found.rows["now"] == {"answered": 3, "nowhere": 2, "blank": 1, "failed": 1}
    assert found.nowhere is not None
    assert (found.nowhere.before, found.nowhere.now) == (0.4, 0.4)
    assert found.agreement is not None
    assert (found.agreement.same, found.agreement.rows) == (2, 3)
    assert [(one.name, one.same, one.rows) for one in found.agreement_by_label] == [("b", 1, 2), ("a", 1, 1)]
    assert found.remarks == (
        "1 spot checks are of rows without an answer, and are not compared",
        "1 spot checks have ids that no prediction has",
    )
    assert not found.drift
    assert found.confidence is None


def test_one_label_of_many_that_changed_is_drift() -> None:
    names = [f"label {at}" for at in range(40)]
    before, now = made(names * 10), made([*(names * 10), *(["label 0"] * 25)])
    assert [test.name for test in monitor(now, before).tests if test.drift] == ["one label"]


def test_a_small_change_is_no_drift_however_sure() -> None:
    before, now = made(["a"] * 5000 + ["b"] * 5000), made(["a"] * 5300 + ["b"] * 4700)
    assert not monitor(now, before).drift
    sure = monitor(now, before, least_effect=0.02)
    assert [test.name for test in sure.tests if test.drift] == ["labels", "one label"]


def test_false_alarms_are_as_rare_as_was_asked_for() -> None:
    """400 pairs of sets from the same source, with rare labels: labels near 5%, everything together no more."""
    rng = np.random.default_rng(7)
    shares = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    names = np.array(["a", "b", "c", "d", "e", "f"])
    labels = together = 0
    for _ in range(400):
        sides = []
        for size in (150, 80):
            fits = rng.random(size) > 0.1
            given = [name if ok else None for name, ok in zip(rng.choice(names, size, p=shares), fits, strict=True)]
            sides.append((given, rng.beta(4, 2, size).tolist()))
        before, now = (made(*side) for side in sides)
        answered = [[(name,) for name in side[0] if name] for side in sides]
        labels += label_drift(*answered, draws=199).p <= 0.05
        together += monitor(now, before, least_effect=0, draws=499).drift
    assert 0.03 <= labels / 400 <= 0.075
    assert 0.01 <= together / 400 <= 0.065
