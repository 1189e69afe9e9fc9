"""Partition measures against scikit-learn and by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from labelspace.metrics import (
    ami,
    ari,
    inverse_purity,
    macro_f1,
    many_to_one_f1,
    nmi,
    one_to_one_accuracy,
    one_to_one_f1,
    purity,
    v_measure,
)

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=50)


def sides(pairs):
    gold, found = zip(*pairs, strict=True)
    return [f"gold {name}" for name in gold], [f"found {name}" for name in found]


@given(rows)
@settings(max_examples=150, deadline=None)
def test_information_and_pair_measures_are_those_of_sklearn(pairs):
    gold, found = sides(pairs)
    assert nmi(gold, found) == pytest.approx(sk.normalized_mutual_info_score(gold, found), abs=1e-9)
    assert v_measure(gold, found) == pytest.approx(sk.homogeneity_completeness_v_measure(gold, found), abs=1e-9)
    assert ari(gold, found) == pytest.approx(sk.adjusted_rand_score(gold, found), abs=1e-9)


@given(rows.filter(lambda pairs: len({gold for gold, _ in pairs}) > 1))
@settings(max_examples=100, deadline=None)
def test_adjusted_information_is_that_of_sklearn(pairs):
    gold, found = sides(pairs)
    assert ami(gold, found) == pytest.approx(sk.adjusted_mutual_info_score(gold, found), abs=1e-6)


def test_adjusted_information_at_a_realistic_size():
    random = np.random.default_rng(0)
    gold = random.integers(60, size=3000)
    found = np.where(random.random(3000) < 0.6, gold, random.integers(45, size=3000))
    assert ami(gold, found) == pytest.approx(sk.adjusted_mutual_info_score(gold, found), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_matchings_are_the_best_there_are(pairs):
    gold, found = sides(pairs)
    labels, clusters = sorted(set(gold)), sorted(set(found))
    padded = labels + [None] * len(clusters)
    best_rows = best_f1 = 0.0
    for chosen in permutations(padded, len(clusters)):
        renamed = [dict(zip(clusters, chosen, strict=True))[name] for name in found]
        best_rows = max(best_rows, float(np.mean([one == two for one, two in zip(gold, renamed, strict=True)])))
        best_f1 = max(best_f1, macro_f1(gold, renamed))
    assert one_to_one_accuracy(gold, found) == pytest.approx(best_rows)
    assert one_to_one_f1(gold, found) == pytest.approx(best_f1)


def test_by_hand():
    gold = ["a", "a", "a", "b", "b", "c"]
    found = ["1", "1", "2", "2", "3", "3"]
    assert purity(gold, found) == pytest.approx(4 / 6)
    assert inverse_purity(gold, found) == pytest.approx((2 + 1 + 1) / 6)
    # 2 is a tie of a and b, so a; 3 is a tie of b and c, so b: a has F1 6/7, b has 1/2, c has 0.
    assert many_to_one_f1(gold, found) == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)
    # 1-a, 2-b, 3-c: 4/5, 1/2, 2/3.
    assert one_to_one_f1(gold, found) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert one_to_one_accuracy(gold, found) == pytest.approx(4 / 6)


def test_splitting_a_label_costs_one_to_one_but_not_many_to_one():
    gold, found = ["a"] * 4 + ["b"] * 4, ["1", "1", "2", "2", "3", "3", "3", "3"]
    assert many_to_one_f1(gold, found) == purity(gold, found) == 1
    assert one_to_one_f1(gold, found) == pytest.approx((2 / 3 + 1) / 2)
    assert one_to_one_accuracy(gold, found) == 0.75
    assert inverse_purity(gold, found) == 0.75


def test_rows_without_a_cluster_are_wrong_and_form_one_cluster():
    gold, found = ["a", "a", "b", "b"], ["1", None, "2", None]
    assert purity(gold, found) == one_to_one_accuracy(gold, found) == 0.5
    assert nmi(gold, found) == pytest.approx(sk.normalized_mutual_info_score(gold, ["1", "-", "2", "-"]))
    assert many_to_one_f1(gold, found) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        (["a", "a"], ["1", "1"], (1, 1, 1, 1)),
        (["a", "b"], ["1", "1"], (0, 0, 0, 0.5)),
        (["a", "b"], ["1", "2"], (1, 1, 1, 1)),
        (["a", "b"], [None, None], (0, 0, 0, 0)),
        (["a", "a"], [None, None], (1, 1, 1, 0)),
        (["a"], ["1"], (1, 1, 1, 1)),
    ],
)
def test_degenerate_partitions(gold, found, expected):
    assert (nmi(gold, found), ami(gold, found), ari(gold, found), purity(gold, found)) == pytest.approx(expected)


def test_names_may_be_numbers():
    assert nmi([0, 0, 1], [5, 5, 6]) == pytest.approx(1)
