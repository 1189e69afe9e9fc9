"""What all heads over embeddings do: learn names or shares, save, and keep to scikit-learn's manners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from labelspace import LabelSpace
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.store import EMBEDDED, load_classifier, save_model
from labelspace.finetune.two_layer import TwoLayerHead

THINGS = {"money": "refund card charge", "delivery": "parcel courier late", "account": "password login reset"}
TEXTS = [f"{word} please number {n}" for n in range(12) for words in THINGS.values() for word in words.split()]
LABELS = [label for _ in range(12) for label, words in THINGS.items() for _ in words.split()]
QUICK: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"hidden": 16, "epochs": 40, "dropout": 0.1, "learning_rate": 0.01},
    "knn": {"neighbours": 5},
    "lightgbm": {"trees": 60, "min_texts": 2, "features": 1.0},
}


@pytest.fixture(params=sorted(EMBEDDED))
def head(request: pytest.FixtureRequest) -> Any:
    return EMBEDDED[request.param](**QUICK[request.param])


def test_one_label_a_text(head: Any) -> None:
    assert (
        head.fit(TEXTS, LABELS).score(["late parcel", "my refund", "reset it"], ["delivery", "money", "account"]) == 1
    )
    chances = head.predict_proba(["late parcel", "my refund"])
    assert chances.shape == (2, 3)
    assert chances.sum(1) == pytest.approx(1, abs=1e-5)


def test_several_labels_a_text(head: Any) -> None:
    both = [f"{a} and {b}" for a, b in zip(TEXTS, TEXTS[3:], strict=False)]
    labels = [sorted({a, b}) for a, b in zip(LABELS, LABELS[3:], strict=False)]
    head.set_params(multi_label=True).fit([*TEXTS, *both], [*([label] for label in LABELS), *labels])
    right = head.score(both, labels)
    assert right >= 0.9
    assert all(set(given) <= set(THINGS) for given in head.predict(both))


@pytest.mark.parametrize("kind", ["linear", "lightgbm"])
def test_shares_say_what_copies_with_weights_say(kind: str) -> None:
    words = TfidfEmbedder().fit(TEXTS)
    head = EMBEDDED[kind](embedder=words, calibrate=False, **QUICK[kind])
    shares = [{label: 0.75, "account": 0.25} if label != "account" else {label: 1.0} for label in LABELS]
    copies = [(text, label, share) for text, row in zip(TEXTS, shares, strict=True) for label, share in row.items()]
    one = clone(head).fit(TEXTS, shares)
    two = clone(head).fit(*map(list, zip(*copies, strict=True)))
    assert one.predict_proba(TEXTS[:9]) == pytest.approx(two.predict_proba(TEXTS[:9]), abs=1e-3)


def test_a_teacher_that_is_torn_makes_a_student_that_is(head: Any) -> None:
    shares = [{label: 0.6, "account": 0.4} if label != "account" else {label: 1.0} for label in LABELS]
    sure = head.set_params(calibrate=False).fit(TEXTS, LABELS).predict_proba(["my refund"])[0]
    torn = clone(head).fit(TEXTS, shares).predict_proba(["my refund"])[0]
    account = list(head.classes_).index("account")
    assert torn[account] > sure[account] + 0.1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"a": 0.5}, {"b": -0.1}], "the shares of text 1"),
        ([{"a": 0.5}, {}], "text 1 has no label"),
        ([{"a": 0.5}, {"": 1.0}], "label 1 is"),
    ],
)
def test_shares_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EMBEDDED["linear"]().fit(["x", "y"], labels)


def test_a_saved_head_says_the_same(head: Any, tmp_path: Path) -> None:
    head.fit(TEXTS, LABELS)
    save_model(tmp_path / "model", head, LabelSpace.of(sorted(THINGS)))
    again = load_classifier(tmp_path / "model").head
    assert type(again) is type(head)
    assert np.array_equal(again.predict_proba(TEXTS[:9]), head.predict_proba(TEXTS[:9]))


def test_what_does_not_fit_is_refused(head: Any) -> None:
    with pytest.raises(ConfigError, match="has no parameter 'deep'"):
        head.set_params(deep=3)
    tensors, data = head.fit(TEXTS, LABELS).to_tensors()
    with pytest.raises(ConfigError, match="do not fit its 2 labels"):
        type(head).from_tensors(tensors, {**data, "classes": ["a", "b"]}, head.fitted_embedder)


def test_votes_of_the_nearest_by_hand() -> None:
    head = EMBEDDED["knn"](neighbours=2, sharpness=2.0)
    learned = head.learn(np.eye(3), np.array([[1.0, 0], [0, 1], [0, 1]]), np.array([1.0, 3.0, 1.0]), None)
    cosines = np.array([0.8, 0.6, 0.0])
    voices = np.exp(2 * (cosines[:2] - 0.8)) * np.array([1.0, 3.0])
    assert np.exp(head.apply(learned, cosines[None]))[0] == pytest.approx(voices / voices.sum(), abs=1e-4)
    head.set_params(multi_label=True)
    share = 1 / (1 + np.exp(-head.apply(learned, cosines[None])[0]))
    assert share == pytest.approx(voices / voices.sum(), abs=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_slopes_of_the_two_layers_are_those_of_the_loss(multi_label: bool) -> None:
    random = np.random.default_rng(0)
    head = TwoLayerHead(multi_label=multi_label, hidden=5)
    shapes = [(4, 5), (5,), (5, 3), (3,)]
    layers = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    inputs = random.normal(size=(6, 4)).astype(np.float32)
    wanted = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    counted = random.random((6, 1)).astype(np.float32)
    kept = np.ones((6, 5), np.float32)
    positive = np.array([1.0, 2.0, 3.0])

    def loss(made: list[Any]) -> float:
        doubles = [one.astype(np.float64) for one in made]
        logits = np.maximum(inputs @ doubles[0] + doubles[1], 0) @ doubles[2] + doubles[3]
        if multi_label:
            each = (np.logaddexp(0, logits) - wanted * logits) * (1 + wanted * (positive - 1))
        else:
            each = np.log(np.exp(logits).sum(1, keepdims=True)) * wanted - wanted * logits
        return float((each * counted).sum() / 6)

    slopes = head._slopes(layers, inputs, wanted, counted=counted, kept=kept, positive=positive)
    for number, slope in enumerate(slopes):
        for at in [(0,) * slope.ndim, tuple(size - 1 for size in slope.shape)]:
            moved = [one.astype(np.float64) for one in layers]
            moved[number][at] += 1e-5
            assert slope[at] == pytest.approx((loss(moved) - loss(layers)) / 1e-5, abs=1e-3)
