"""Measures on a tree, by hand and against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelspace import Label, LabelSpace
from labelspace.metrics import (
    accuracy,
    hierarchical_f1,
    level_accuracy,
    matched_tree_distance,
    mean_tree_distance,
    micro_f1,
)

SPACE = LabelSpace(
    labels=(
        Label(name="orders"),
        Label(name="track", parent="orders"),
        Label(name="cancel", parent="orders"),
        Label(name="money"),
        Label(name="refund", parent="money"),
        Label(name="refund late", parent="refund"),
        Label(name="spam"),
    )
)


@pytest.mark.parametrize(
    ("gold", "predicted", "score", "apart"),
    [
        (["track"], ["track"], (1, 1, 1), 0),
        (["track"], ["cancel"], (1 / 2, 1 / 2, 1 / 2), 2),
        (["track"], ["spam"], (0, 0, 0), 3),
        (["track"], ["orders"], (1, 1 / 2, 2 / 3), 1),
        (["refund late"], ["track"], (0, 0, 0), 5),
        (["track", "refund late"], ["cancel", "refund late"], (4 / 5, 4 / 5, 4 / 5), 1),
        (["track"], ["no such label"], (0, 0, 0), 3),
        (["track", "cancel"], [None, "cancel"], (1, 1 / 2, 2 / 3), 1),
    ],
)
def test_by_hand(gold, predicted, score, apart):
    assert hierarchical_f1(gold, predicted, space=SPACE) == pytest.approx(score)
    assert mean_tree_distance(gold, predicted, space=SPACE) == pytest.approx(apart)


def test_sets_are_extended_by_ancestors_each_counted_once():
    # {track, cancel, orders} against {track, orders, refund, money}: 2 shared.
    found = hierarchical_f1([["track", "cancel"]], [["track", "refund"]], space=SPACE)
    assert found == pytest.approx((2 / 4, 2 / 3, 4 / 7))


def test_accuracy_at_each_level_is_over_rows_that_reach_it():
    gold = ["track", "refund late", "spam", "cancel"]
    predicted = ["cancel", "refund late", "track", None]
    # Top: track and refund late agree. Second: of three rows one. Third: of one row one.
    assert level_accuracy(gold, predicted, space=SPACE) == pytest.approx([2 / 4, 1 / 3, 1])


def test_nothing_to_measure():
    assert all(math.isnan(score) for score in hierarchical_f1([], [], space=SPACE))
    assert math.isnan(hierarchical_f1(["track"], [None], space=SPACE).precision)
    assert level_accuracy([], [], space=SPACE) == []


def test_distance_is_that_of_the_space_and_flat_measures_are_those_of_a_flat_space():
    random = np.random.default_rng(0)
    gold, predicted = (random.choice(SPACE.names, size=50).tolist() for _ in range(2))
    expected = np.mean([SPACE.distance(one, two) for one, two in zip(gold, predicted, strict=True)])
    assert mean_tree_distance(gold, predicted, space=SPACE) == pytest.approx(expected)
    flat = LabelSpace.of(SPACE.names)
    assert hierarchical_f1(gold, predicted, space=flat).f1 == pytest.approx(micro_f1(gold, predicted))
    assert level_accuracy(gold, predicted, space=flat) == pytest.approx([accuracy(gold, predicted)])


@pytest.mark.parametrize(
    ("gold", "clusters", "apart"),
    [
        (["track", "cancel"], ["x", "y"], 0),
        # A cluster of a whole branch stands for its root: one edge to each leaf; either leaf would do as well.
        (["track", "cancel"], ["x", "x"], 1),
        (["track", "cancel", "orders"], ["x", "x", "x"], 2 / 3),
        # Most rows decide: three at "track", and one that is two edges away.
        (["track", "track", "track", "cancel"], ["x"] * 4, 2 / 4),
        (["track", "refund late"], ["x", "x"], (2 + 3) / 2),
        # A row without a cluster stands at the common root.
        (["track", "refund late", "spam"], [None, None, "x"], (2 + 3 + 0) / 3),
        (["unheard of", "spam"], ["x", "x"], 1),
    ],
)
def test_a_cluster_stands_for_the_nearest_node(gold, clusters, apart):
    assert matched_tree_distance(gold, clusters, space=SPACE) == pytest.approx(apart)


def test_no_rows_have_no_distance():
    assert math.isnan(matched_tree_distance([], [], space=SPACE))
