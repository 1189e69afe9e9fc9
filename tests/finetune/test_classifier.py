"""A head as a classifier of records."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.errors import SpaceError
from labelspace.finetune.classifier import HeadClassifier
from labelspace.records import Classifier, Record
from labelspace.space import Label, LabelSpace


class Table:
    """A head that knows a few texts by heart."""

    def __init__(self, classes, rows, thresholds=None):
        self.classes_ = np.array(classes)
        self.rows = rows
        self.multi_label = thresholds is not None
        self.thresholds_ = np.array(thresholds or [0.5] * len(classes))
        self.asked: list[list[str]] = []

    def predict_proba(self, texts):
        self.asked.append(list(texts))
        return np.array([self.rows[text] for text in texts], np.float32)


def test_records_get_labels_in_order_and_in_batches() -> None:
    head = Table(["b", "a"], {"x": [0.75, 0.25], "y": [0.125, 0.875]})
    classifier = HeadClassifier(head, LabelSpace.of(["a", "b", "c"]), source={"head": "table"}, batch_size=2)
    assert isinstance(classifier, Classifier)
    made = list(
        classifier.predict([Record("1", "x"), Record("2", " "), Record("3", "y"), Record("4", "x"), Record("5", "")])
    )
    assert [(one.record_id, one.label, one.confidence, one.status) for one in made] == [
        ("1", "b", 0.75, "ok"),
        ("2", None, None, "abstained"),
        ("3", "a", 0.875, "ok"),
        ("4", "b", 0.75, "ok"),
        ("5", None, None, "abstained"),
    ]
    assert list(made[2].scores.items()) == [("a", 0.875), ("b", 0.125)]
    assert made[0].source == {"head": "table", "space": classifier.label_space.version}
    assert head.asked == [["x"], ["y", "x"]]


def test_it_reads_no_further_than_a_batch() -> None:
    head = Table(["a", "b"], {"x": [0.6, 0.4]})
    read = 0

    def passing():
        nonlocal read
        while True:
            read += 1
            yield "x"

    next(HeadClassifier(head, LabelSpace.of(["a", "b"]), batch_size=3).predict(passing()))
    assert read == 3


@pytest.mark.parametrize(
    ("row", "labels", "confidence"),
    [
        ([0.9, 0.8, 0.1], ("a", "b"), 0.8),
        ([0.3, 0.8, 0.25], ("b", "c"), 0.25),  # c has a low threshold of its own, a a high one
        ([0.3, 0.2, 0.1], (), 0.7),
    ],
)
def test_several_labels_by_their_thresholds(row, labels, confidence: float) -> None:
    head = Table(["a", "b", "c"], {"x": row}, thresholds=[0.5, 0.5, 0.2])
    (made,) = HeadClassifier(head, LabelSpace.of(["a", "b", "c"], multi_label=True)).predict(["x"])
    assert made.labels == labels
    assert made.confidence == pytest.approx(confidence)


def test_scores_are_sparse_for_many_labels() -> None:
    names = [f"l{number:03}" for number in range(200)]
    row = np.linspace(0, 0.009, 200)
    (made,) = HeadClassifier(Table(names, {"x": row}), LabelSpace.of(names)).predict(["x"])
    assert list(made.scores) == names[:-11:-1]
    given = Table(names, {"x": row}, thresholds=[0.001] + [0.5] * 198 + [0.005])
    given.rows["x"][0] = 0.002
    (made,) = HeadClassifier(given, LabelSpace.of(names, multi_label=True)).predict(["x"])
    assert made.labels == ("l199", "l000")
    assert len(made.scores) == 11
    assert made.scores["l000"] == pytest.approx(0.002)


def test_the_other_bucket_can_be_learnt() -> None:
    space = LabelSpace(labels=(Label(name="a"),), other="none of these")
    (made,) = HeadClassifier(Table(["a", "none of these"], {"x": [0.1, 0.9]}), space).predict(["x"])
    assert made.label == "none of these"


def test_a_space_that_does_not_fit_is_refused() -> None:
    head = Table(["refund", "order"], {})
    with pytest.raises(SpaceError, match="the label 'order' is not in the space 'labels'"):
        HeadClassifier(head, LabelSpace.of(["refund"]))
    with pytest.raises(SpaceError, match="gives a text one label, but in the space 'labels' a text has several"):
        HeadClassifier(head, LabelSpace.of(["refund", "order"], multi_label=True))
