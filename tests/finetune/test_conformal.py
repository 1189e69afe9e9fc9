"""Conformal sets: values by hand, and coverage over many draws within what chance allows."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.conformal import (
    ConformalClassifier,
    conformal_quantile,
    coverage_interval,
    p_value,
)

P = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.7, 0.2, 0.1]])
GOLD = np.array([0, 2, 2, 1])


@pytest.mark.parametrize(
    ("n", "coverage", "expected"),
    [
        (9, 0.9, 9),  # ceil(10 * 0.9) = 9, though 10 * 0.9 is a little more in binary
        (10, 0.9, 10),
        (99, 0.95, 95),
        (19, 0.95, 19),
        (18, 0.95, math.inf),
        (3, 0.5, 2),
        (1000, 0.8, 801),
    ],
)
def test_quantile_is_the_exact_rank(n: int, coverage: float, expected: float) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert conformal_quantile(scores, coverage) == expected


def test_p_values_by_hand() -> None:
    calibration = np.array([0.1, 0.2, 0.2, 0.5])
    scores = [0.0, 0.1, 0.2, 0.3, 0.5, 0.6]
    assert p_value(calibration, scores).tolist() == pytest.approx([1.0, 1.0, 0.8, 0.4, 0.4, 0.2])
    # Half of the ties and of the row itself.
    smooth = p_value(calibration, scores, np.full(6, 0.5))
    assert smooth.tolist() == pytest.approx([0.9, 0.8, 0.5, 0.3, 0.2, 0.1])


def test_lac_by_hand() -> None:
    """Right labels have 0.5, 0.3, 0.6, 0.2: scores 0.4, 0.5, 0.7, 0.8."""
    conformal = ConformalClassifier().calibrate(P, GOLD)
    rows = [[0.5, 0.29, 0.21], [0.31, 0.35, 0.34]]
    # ceil(5 * 0.6) = 3: every label with 0.3 or more.
    assert conformal.sets(rows, coverage=0.6).tolist() == [[True, False, False], [True, True, True]]
    assert conformal.sets(rows, coverage=0.8).tolist() == [[True, True, True], [True, True, True]]
    assert conformal.sets(rows, coverage=0.2).tolist() == [[False] * 3, [False] * 3]
    assert conformal.p_values([[0.5, 0.29, 0.21]]).tolist() == [pytest.approx([0.8, 0.4, 0.4])]
    # Four rows can't promise nine in ten: everything is in.
    assert conformal.sets(rows, coverage=0.9).all()


def test_aps_and_raps_by_hand() -> None:
    row = np.array([[0.2, 0.5, 0.3]])
    share = float(np.random.default_rng([7, 1]).random((1, 1))[0, 0])
    aps = ConformalClassifier("aps", seed=7).scores(row)[0]
    assert aps.tolist() == pytest.approx([1.0 - share * 0.2, 0.5 - share * 0.5, 0.8 - share * 0.3])
    raps = ConformalClassifier("raps", seed=7, penalty=0.1, free=1).scores(row)[0]
    assert raps.tolist() == pytest.approx([1.2 - share * 0.2, 0.5 - share * 0.5, 0.9 - share * 0.3])


def make_rows(draw: np.random.Generator, n: int, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are rare, and probabilities that are overconfident and biased, as real ones are."""
    prior = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])[:k]
    gold = draw.choice(k, n, p=prior / prior.sum())
    logits = draw.normal(0, 1.5, (n, k)) + np.linspace(1, -1, k)
    logits[np.arange(n), gold] += 1.5
    raised = np.exp(2 * logits)
    return raised / raised.sum(axis=1, keepdims=True), gold


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_coverage_is_what_was_promised(score: str, coverage: float) -> None:
    """Over 100 draws of 200 calibration rows; the mean's standard error is below 0.003."""
    draw = np.random.default_rng(5)
    hits = []
    for trial in range(100):
        conformal = ConformalClassifier(score, seed=trial).calibrate(*make_rows(draw, 200))  # type: ignore[arg-type]
        p, gold = make_rows(draw, 500)
        hits.append(conformal.sets(p, coverage=coverage)[np.arange(500), gold].mean())
    rank = math.ceil(201 * coverage - 1e-9)
    assert np.mean(hits) == pytest.approx(rank / 201, abs=0.009)
    low, high = coverage_interval(coverage, calibration=200, test=500)
    assert np.mean([low <= hit <= high for hit in hits]) > 0.85


def test_class_conditional_covers_the_rare_label_too() -> None:
    draw = np.random.default_rng(0)
    covered = {False: np.zeros(6), True: np.zeros(6)}
    seen = np.zeros(6)
    for _ in range(20):
        calibration, (p, gold) = make_rows(draw, 2000), make_rows(draw, 3000)
        seen += np.bincount(gold, minlength=6)
        for by_label in covered:
            sets = ConformalClassifier(by_label=by_label).calibrate(*calibration).sets(p, coverage=0.9)
            covered[by_label] += np.bincount(gold, weights=sets[np.arange(3000), gold], minlength=6)
    assert (covered[False] / seen).min() < 0.75  # on average it is right, for the rare label it is not
    assert (covered[True] / seen).min() > 0.88


def test_a_label_with_too_few_rows_is_in_every_set() -> None:
    p, gold = make_rows(np.random.default_rng(0), 300)
    gold[gold == 5] = 4
    sets = ConformalClassifier(by_label=True).calibrate(p, gold).sets(p, coverage=0.9)
    assert sets[:, 5].all() and not sets[:, :5].all()


def test_smoothing_makes_coverage_exact_where_scores_tie() -> None:
    """Probabilities that take three values: without smoothing, coverage is well above what was asked."""
    draw = np.random.default_rng(0)
    plain, smooth = [], []
    for trial in range(60):

        def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
            gold = draw.integers(0, 3, n)
            right = draw.random(n) < 0.7
            p = np.full((n, 3), 0.2)
            p[np.arange(n), np.where(right, gold, (gold + 1) % 3)] = 0.6
            return p, gold

        calibration, (p, gold) = rows(99), rows(400)
        for kind, hits in ((False, plain), (True, smooth)):
            sets = ConformalClassifier(smooth=kind, seed=trial).calibrate(*calibration).sets(p, coverage=0.8)
            hits.append(sets[np.arange(400), gold].mean())
    assert np.mean(plain) > 0.95
    assert np.mean(smooth) == pytest.approx(0.8, abs=0.02)


def test_sets_agree_with_p_values() -> None:
    draw = np.random.default_rng(0)
    p, gold = make_rows(draw, 137)
    for conformal in (ConformalClassifier(), ConformalClassifier("raps", by_label=True)):
        conformal.calibrate(p, gold)
        rows = make_rows(draw, 200)[0]
        for coverage in (0.5, 0.8, 0.9, 0.95):
            assert np.array_equal(
                conformal.sets(rows, coverage=coverage), conformal.p_values(rows) > 1 - coverage + 1e-12
            )


def test_empty_sets_only_where_allowed() -> None:
    p, gold = make_rows(np.random.default_rng(0), 500)
    free = ConformalClassifier().calibrate(p, gold).sets(p, coverage=0.5)
    full = ConformalClassifier(allow_empty=False).calibrate(p, gold).sets(p, coverage=0.5)
    empty = ~free.any(axis=1)
    assert empty.any() and full.any(axis=1).all()
    assert np.array_equal(full[~empty], free[~empty])
    assert np.array_equal(full[empty].argmax(axis=1), p[empty].argmax(axis=1))


def test_coverage_interval_by_hand() -> None:
    # Two calibration rows and coverage 1/3: the limit is the lower of the two. One test row is then covered with
    # probability 1/3; two test rows both with 1/6 (of four rows, both come before the lower of two: 1 of 6 orders).
    assert coverage_interval(1 / 3, calibration=2, test=1, level=0.3) == (0, 0)
    assert coverage_interval(1 / 3, calibration=2, test=2, level=0.7) == (0, 1)
    wide, narrow = (coverage_interval(0.9, calibration=n, test=1000) for n in (100, None))
    assert wide[0] < narrow[0] < 0.9 < narrow[1] < wide[1]
    assert coverage_interval(0.9, calibration=5, test=10) == (1, 1)


@pytest.mark.parametrize(
    ("p", "gold", "says"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "at least one row"),
        (P, GOLD[:2], r"\(4, 3\) and gold labels of shape \(2,\)"),
        (P, np.array([0, 1, 2, 3]), "from 0 to 3; give columns from 0 to 2"),
        (P, GOLD * 0.5, "columns from 0 to 2"),
    ],
)
def test_rows_that_do_not_fit(p: np.ndarray, gold: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ConformalClassifier().calibrate(p, gold)


def test_misuse_is_named() -> None:
    with pytest.raises(ConfigError, match="calibrate"):
        ConformalClassifier().sets(P, coverage=0.9)
    with pytest.raises(ConfigError, match="such as 0.9, not 90"):
        ConformalClassifier().calibrate(P, GOLD).sets(P, coverage=90)
    with pytest.raises(ConfigError, match="3 labels, but there are probabilities of 2"):
        ConformalClassifier(by_label=True).calibrate(P, GOLD).sets(P[:, :2], coverage=0.5)


def test_deciding_needs_numpy_alone() -> None:
    names = ", ".join(f"labelspace.finetune.{name}" for name in ("conformal", "decision", "open_set", "powerset"))
    heavy = "{'torch', 'scipy', 'sklearn', 'transformers'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {names}; print({heavy})"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
