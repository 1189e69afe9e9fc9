"""The linear head through its scikit-learn face."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from labelspace.embed import load_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.linear import LinearHead

TEXTS = [
    f"{verb} {thing} {number}"
    for number in range(8)
    for thing, verb in (("refund", "give me a"), ("parcel", "where is my"), ("password", "I forgot my"))
]
LABELS = ["money", "delivery", "account"] * 8
SEVERAL = [("money",), ("delivery", "late"), ()] * 8


class Directions:
    """Each word is a direction."""

    name = "directions"

    def __init__(self, *words: str) -> None:
        self.words = words

    def embed(self, texts):
        rows = np.array([[text.split().count(word) for word in self.words] for text in texts], np.float32)
        return rows.reshape(len(texts), -1) / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def test_it_learns_and_says_how_sure_it_is() -> None:
    head = LinearHead().fit(TEXTS, LABELS)
    assert head.classes_.tolist() == ["account", "delivery", "money"]
    assert head.predict(["the refund please", "my password", "the parcel"]) == ["money", "account", "delivery"]
    chances = head.predict_proba(["the refund please", "   ", "xyz"])
    assert chances.dtype == np.float32
    assert chances.shape == (3, 3)
    assert chances.sum(1) == pytest.approx(np.ones(3), abs=1e-5)
    assert head.score(TEXTS, LABELS) == 1.0


def test_several_labels_or_none() -> None:
    head = LinearHead(multi_label=True).fit(TEXTS, SEVERAL)
    assert head.classes_.tolist() == ["delivery", "late", "money"]
    assert [set(names) for names in head.predict(TEXTS[:3])] == [{"money"}, {"delivery", "late"}, set()]
    assert head.score(TEXTS, SEVERAL) == 1.0
    chances = head.predict_proba(["where is my parcel"])[0]
    assert chances[:2].min() > 0.5 > chances[2]


def test_it_is_a_scikit_learn_estimator() -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.utils.validation import check_is_fitted

    head = LinearHead("tfidf", C=3.0, class_weight="balanced")
    copied = clone(head)
    assert copied is not head
    assert copied.get_params() == head.get_params()
    assert is_classifier(head)
    assert cross_val_score(head, TEXTS, LABELS, cv=2).tolist() == [1.0, 1.0]
    search = GridSearchCV(head, {"C": [0.1, 30.0]}, cv=2).fit(TEXTS, LABELS)
    check_is_fitted(search.best_estimator_)
    assert set(search.predict(TEXTS[:3])) == {"account", "delivery", "money"}
    assert head.set_params(C=5.0).C == 5.0
    with pytest.raises(ConfigError, match="LinearHead has no parameter 'c'"):
        head.set_params(c=1)


def test_weights_of_nothing_and_blank_texts_leave_rows_out() -> None:
    wrong = ["account", "money", "delivery"] * 8
    weighed = LinearHead(Directions("refund", "parcel", "password")).fit(
        [*TEXTS, *TEXTS, " "], [*LABELS, *wrong, "money"], [1.0] * 24 + [0.0] * 24 + [1.0]
    )
    plain = LinearHead(Directions("refund", "parcel", "password")).fit(TEXTS, LABELS)
    assert weighed.predict_proba(TEXTS) == pytest.approx(plain.predict_proba(TEXTS), abs=1e-6)


@pytest.mark.parametrize("weight", ["balanced", {"rare": 20.0}])
def test_a_rare_label_gains_from_weights(weight) -> None:
    embedder = Directions("a", "b")
    texts, labels = ["a"] * 40 + ["a b"] * 40 + ["a b"] * 4, ["common"] * 80 + ["rare"] * 4
    plain = LinearHead(embedder, calibrate=False).fit(texts, labels).predict_proba(["a b"])[0]
    heavy = LinearHead(embedder, calibrate=False, class_weight=weight).fit(texts, labels).predict_proba(["a b"])[0]
    assert heavy[1] > plain[1] + 0.2


@pytest.mark.parametrize(("C", "before"), [(0.05, -0.3), (1e4, 0.05)])
def test_probabilities_are_held_to_what_held_out_texts_show(C: float, before: float) -> None:
    """A label in five is drawn at random. Held back, a fit is too unsure; let loose, it learns those by heart."""
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(60)]
    texts, labels = [], []
    for number in range(1500):
        label = number % 3
        texts.append(" ".join([f"topic{label}", *draw.choice(words, 6)]))
        labels.append(f"l{label if draw.random() > 0.2 else draw.integers(3)}")
    embedder = Directions("topic0", "topic1", "topic2", *words)
    gaps, losses = [], []
    for calibrate in (False, True):
        head = LinearHead(embedder, C=C, calibrate=calibrate).fit(texts[:500], labels[:500])
        chances = head.predict_proba(texts[500:])
        gaps.append(chances.max(1).mean() - head.score(texts[500:], labels[500:]))
        column = [head.classes_.tolist().index(label) for label in labels[500:]]
        losses.append(-np.log(chances[np.arange(1000), column]).mean())
    assert gaps[0] / before > 1  # as far off as this or farther, on the same side
    assert losses[1] < losses[0] - 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TEXTS, LABELS[:-1]), "24 texts, 23 labels and 24 weights were given"),
        ((TEXTS, ["money"] * 24), "fewer than two labels to tell apart among texts that are not blank: only 'money'"),
        (([" "] * 24, LABELS), "fewer than two labels to tell apart among texts that are not blank: none"),
        (([], []), "fewer than two labels"),
        ((TEXTS, [("money",)] * 24), "label 0 is ('money',); with multi_label, give a list of names"),
        ((TEXTS, [*LABELS[:-1], None]), "label 23 is None"),
        ((TEXTS, LABELS, [1.0] * 23 + [-1.0]), "a weight is negative or not a number"),
        ((TEXTS, LABELS, [1.0] * 23 + [float("nan")]), "a weight is negative or not a number"),
    ],
)
def test_what_can_not_be_learnt_from_is_refused(arguments, message: str) -> None:
    with pytest.raises(DataError) as caught:
        LinearHead().fit(*arguments)
    assert message in str(caught.value)


def test_what_is_not_trained_can_not_predict() -> None:
    with pytest.raises(ConfigError, match="not trained; call fit"):
        LinearHead().predict(["x"])


def test_an_unknown_class_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="class_weight is"):
        LinearHead(class_weight="even").fit(TEXTS, LABELS)  # type: ignore[arg-type]


def test_another_embedder_than_that_of_the_training_is_refused() -> None:
    head = LinearHead(Directions("refund", "parcel")).fit(TEXTS, LABELS)
    with pytest.raises(ConfigError, match="directions gives 3 numbers a text, but this head was trained on 2"):
        head.probabilities(np.ones((1, 3), np.float32))


def test_a_label_with_one_text_and_very_few_texts_are_no_trouble() -> None:
    head = LinearHead("tfidf").fit(["a parcel", "a refund", "my refund"], ["delivery", "money", "money"])
    assert head.predict(["the refund", "parcel"]) == ["money", "delivery"]
    assert np.isfinite(head.predict_proba(["x"])).all()


def test_a_fitted_embedder_is_kept() -> None:
    embedder = load_embedder("tfidf")
    embedder.fit([*TEXTS, "something else"])  # type: ignore[attr-defined]
    head = LinearHead(embedder).fit(TEXTS, LABELS)
    assert head.fitted_embedder is embedder


def test_predicting_needs_no_scikit_learn() -> None:
    code = """
import sys, numpy as np
from labelspace.finetune.linear import LinearHead
class Letters:
    name = "letters"
    def embed(self, texts):
        return np.array([[text.count("a"), text.count("b")] for text in texts], np.float32)
head = LinearHead(Letters(), words=0).fit(["a", "b", "aa", "bb"], ["x", "y", "x", "y"])
assert head.predict(["aaa", "b"]) == ["x", "y"]
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("sklearn", "torch", "transformers"))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
