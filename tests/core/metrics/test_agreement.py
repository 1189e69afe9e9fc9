"""Agreement against scikit-learn and published worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from labelspace.metrics import agreement_of_runs, ari, cohen_kappa, fleiss_kappa, kappa_by, krippendorff_alpha, nmi


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(5))
def test_cohen_is_that_of_sklearn(weights, seed):
    random = np.random.default_rng(seed)
    first = random.integers(5, size=80).tolist()
    second = [one if random.random() < 0.6 else int(random.integers(5)) for one in first]
    ours = cohen_kappa(first, second, weights=weights, order=range(5))
    assert ours == pytest.approx(cohen_kappa_score(first, second, weights=weights, labels=range(5)))


def test_cohen_of_the_textbook_table():
    # 20 both yes, 5 only the first, 10 only the second, 15 both no: kappa 0.4.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_cohen_at_its_ends():
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1
    assert cohen_kappa(["a", "b"], ["b", "a"]) == -1
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]))
    with pytest.raises(ValueError, match="needs the order"):
        cohen_kappa(["a"], ["b"], weights="linear")
    with pytest.raises(ValueError, match="'c' is not in the order"):
        cohen_kappa(["a"], ["c"], weights="linear", order=["a", "b"])
    with pytest.raises(ValueError, match="no items"):
        cohen_kappa([], [])


def test_fleiss_of_the_worked_example():
    """Ten subjects, fourteen raters, five categories, as in the common worked example: 0.210."""
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [[category for category, count in enumerate(row) for _ in range(count)] for row in table]
    assert fleiss_kappa(ratings) == pytest.approx(0.2099, abs=5e-5)


def test_fleiss_at_its_ends():
    assert fleiss_kappa([["a", "a"], ["b", "b"]]) == 1
    assert math.isnan(fleiss_kappa([["a", "a"], ["a", "a"]]))
    with pytest.raises(ValueError, match="krippendorff_alpha"):
        fleiss_kappa([["a", "a"], ["a"]])
    with pytest.raises(ValueError, match="no items"):
        fleiss_kappa([])


def test_krippendorff_of_the_worked_examples():
    """Section C of "Computing Krippendorff's Alpha-Reliability": four observers, gaps, nominal 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    assert krippendorff_alpha(list(zip(*observers, strict=True))) == pytest.approx(0.743, abs=5e-4)
    # Section A: binary, two observers: 0.095. Section B: nominal, two observers: 0.692.
    assert krippendorff_alpha([*zip("0100000010", "1110010000", strict=True)]) == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha([*zip("aabbdcccedda", "babbbccceddd", strict=True)]) == pytest.approx(0.692, abs=5e-4)


def test_krippendorff_at_its_ends():
    assert krippendorff_alpha([["a", "a"], ["b", "b"], ["c", None]]) == 1
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]]))
    with pytest.raises(ValueError, match="no item has two labels"):
        krippendorff_alpha([["a", None], [None, None]])


def test_kappa_within_groups() -> None:
    one, two = list("aabbaabb"), list("aabbabab")
    found = kappa_by(one, two, list("xxxxyyyy"))
    assert list(found) == ["x", "y"]
    assert found["x"] == (4, 1.0, 1.0)
    assert found["y"] == (4, 0.5, cohen_kappa(one[4:], two[4:]))
    assert list(kappa_by(one, two, list("xyyyyyyy"))) == ["y", "x"]
    with pytest.raises(ValueError, match="same rows"):
        kappa_by(one, two, ["x"])


def test_agreement_of_runs_is_over_all_pairs_whatever_the_names() -> None:
    one, two, three = list("aabb"), list("yyxx"), ["p", "q", "p", None]
    assert agreement_of_runs([one, two]) == (1.0, 1.0)
    expected = [np.mean([measure(one, two), measure(one, three), measure(two, three)]) for measure in (nmi, ari)]
    assert agreement_of_runs([one, two, three]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="two runs"):
        agreement_of_runs([one])
