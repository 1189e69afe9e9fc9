"""Accuracy and F1 against scikit-learn, on random and on degenerate rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

from labelspace.metrics import (
    accuracy,
    confusion_pairs,
    example_f1,
    hamming_loss,
    macro_f1,
    micro_f1,
    per_label,
    subset_accuracy,
    weighted_f1,
)

names = st.sampled_from(["a", "b", "c", "d", "ä", ""])
single_rows = st.lists(st.tuples(names, names), min_size=1, max_size=60)
sets = st.sets(st.sampled_from("abcde"), max_size=4)
multi_rows = st.lists(st.tuples(sets, sets), min_size=1, max_size=40)


@given(single_rows)
@settings(max_examples=100, deadline=None)
def test_single_label_measures_are_those_of_sklearn(rows):
    gold, predicted = (list(side) for side in zip(*rows, strict=True))
    assert accuracy(gold, predicted) == pytest.approx(sk.accuracy_score(gold, predicted))
    for ours, average in ((macro_f1, "macro"), (micro_f1, "micro"), (weighted_f1, "weighted")):
        theirs = sk.f1_score(gold, predicted, average=average, zero_division=0)
        assert ours(gold, predicted) == pytest.approx(theirs), average


@given(single_rows)
@settings(max_examples=50, deadline=None)
def test_per_label_table_is_that_of_sklearn(rows):
    gold, predicted = (list(side) for side in zip(*rows, strict=True))
    table = per_label(gold, predicted)
    assert [label.name for label in table] == sorted({*gold, *predicted})
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        gold, predicted, labels=[label.name for label in table], zero_division=np.nan
    )
    for at, label in enumerate(table):
        assert label.support == support[at]
        assert label.precision == (None if math.isnan(precision[at]) else pytest.approx(precision[at]))
        assert label.recall == (None if math.isnan(recall[at]) else pytest.approx(recall[at]))
        assert label.f1 == pytest.approx(f1[at])


@given(multi_rows)
@settings(max_examples=100, deadline=None)
def test_multi_label_measures_are_those_of_sklearn(rows):
    gold, predicted = (list(side) for side in zip(*rows, strict=True))
    occurring = sorted({name for row in rows for side in row for name in side})
    if not occurring:
        assert math.isnan(macro_f1(gold, predicted))
        assert subset_accuracy(gold, predicted) == 1
        return
    # scikit-learn takes one column for a binary problem, so there is always a second, empty one.
    binary = MultiLabelBinarizer(classes=[*occurring, "never"]).fit(gold)
    one, two = binary.transform(gold), binary.transform(predicted)
    assert subset_accuracy(gold, predicted) == pytest.approx((one == two).all(1).mean())
    assert hamming_loss(gold, predicted) == pytest.approx((one != two)[:, :-1].mean())
    by_label = sk.f1_score(one, two, average=None, zero_division=0)[:-1]
    assert macro_f1(gold, predicted) == pytest.approx(by_label.mean())
    assert micro_f1(gold, predicted) == pytest.approx(sk.f1_score(one, two, average="micro"))
    assert example_f1(gold, predicted) == pytest.approx(sk.f1_score(one, two, average="samples", zero_division=1))


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        (["a", "a", "b"], ["a", "a", "b"], {"accuracy": 1, "macro": 1, "micro": 1}),
        (["a", "a"], ["a", "a"], {"accuracy": 1, "macro": 1, "micro": 1}),
        (["a", "b"], [None, None], {"accuracy": 0, "macro": 0, "micro": 0}),
        (["a", "a"], ["z", "z"], {"accuracy": 0, "macro": 0, "micro": 0}),
        # Half unanswered: precision 1, recall 1/2.
        (["a", "a"], ["a", None], {"accuracy": 0.5, "macro": 2 / 3, "micro": 2 / 3}),
        ([], [], {"accuracy": math.nan, "macro": math.nan, "micro": math.nan}),
    ],
)
def test_degenerate_rows(gold, predicted, expected):
    found = {
        "accuracy": accuracy(gold, predicted),
        "macro": macro_f1(gold, predicted),
        "micro": micro_f1(gold, predicted),
    }
    assert found == pytest.approx(expected, nan_ok=True)


def test_no_answer_is_missed_but_not_given():
    gold, predicted = ["a", "a", "b", "b"], ["a", None, "a", "b"]
    table = {label.name: label for label in per_label(gold, predicted)}
    assert (table["a"].precision, table["a"].recall, table["a"].support, table["a"].predicted) == (0.5, 0.5, 2, 2)
    # scikit-learn agrees if abstaining is a label whose own score is not asked for.
    theirs = sk.f1_score(gold, [name or "?" for name in predicted], labels=["a", "b"], average="micro")
    assert micro_f1(gold, predicted) == pytest.approx(theirs)


def test_per_label_keeps_the_order_asked_for_and_shows_what_never_occurs():
    table = per_label(["b"], ["c"], names=["z", "b"])
    assert [(label.name, label.precision, label.recall, label.f1) for label in table] == [
        ("z", None, None, None),
        ("b", None, 0.0, 0.0),
        ("c", 0.0, None, 0.0),
    ]


def test_hamming_loss_counts_labels_that_never_occur_if_they_were_asked_about():
    assert hamming_loss([["a"]], [["b"]]) == 1
    assert hamming_loss([["a"]], [["b"]], names=["a", "b", "c", "d"]) == 0.5


def test_confusions_are_ordered_by_count_and_then_by_name():
    found = confusion_pairs(["a", "a", "b", "c", "c"], ["b", "b", "a", None, "a"])
    assert [(one.gold, one.predicted, one.count, one.share) for one in found] == [
        ("a", "b", 2, 1.0),
        ("b", "a", 1, 1.0),
        ("c", "(no answer)", 1, 0.5),
        ("c", "a", 1, 0.5),
    ]
    assert confusion_pairs(["a", "a"], ["b", "c"], top=1)[0].predicted == "b"
    assert confusion_pairs(["a"], ["a"]) == []


def test_confusions_of_sets_pair_what_was_missed_with_what_was_wrong():
    found = confusion_pairs([["a", "b"], [], ["a"]], [["a", "c"], ["d"], ["a"]])
    assert {(one.gold, one.predicted, one.count, one.share) for one in found} == {
        ("b", "c", 1, 1.0),
        ("(no answer)", "d", 1, 1.0),
    }


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same rows in the same order, not 1 and 2"):
        accuracy(["a"], ["a", "b"])
