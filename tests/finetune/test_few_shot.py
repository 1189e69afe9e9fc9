"""The few-shot head: its contrast by hand, what it learns, and that what it saves is a label-supervised model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from labelspace.errors import ConfigError
from labelspace.finetune.few_shot import FewShot
from labelspace.finetune.head_settings import ContrastSettings
from labelspace.finetune.losses.contrast import cosine_contrast, supervised_contrastive
from labelspace.finetune.ls import LabelSupervised

ANGLES = [0.0, 0.4, 1.5, 2.5]


def by_hand(alike: list[tuple[int, ...]], temperature: float) -> float:
    """The loss of four directions in the plane, whose cosines are those of the differences of their angles."""
    each = []
    for anchor, positives in enumerate(alike):
        shares = {at: math.exp(math.cos(ANGLES[anchor] - ANGLES[at]) / temperature) for at in range(4) if at != anchor}
        terms = [-math.log(shares[at] / sum(shares.values())) for at in positives]
        each += [sum(terms) / len(terms)] if terms else []
    return sum(each) / len(each)


@pytest.mark.parametrize(
    ("targets", "alike"),
    [
        ([0, 0, 1, 1], [(1,), (0,), (3,), (2,)]),
        ([0, 0, 0, 1], [(1, 2), (0, 2), (0, 1), ()]),
        ([[1.0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], [(1, 2), (0,), (0,), ()]),
    ],
    ids=["pairs", "one without another of its label", "several labels"],
)
def test_contrast_by_hand(targets: list[object], alike: list[tuple[int, ...]]) -> None:
    lengths = torch.tensor([1.0, 3.0, 0.5, 20.0])  # have no effect
    vectors = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in ANGLES]) * lengths[:, None]
    for temperature in (0.07, 1.0):
        found = supervised_contrastive(vectors, torch.tensor(targets), temperature=temperature)
        assert float(found) == pytest.approx(by_hand(alike, temperature), rel=1e-5)


@pytest.mark.parametrize(
    ("targets", "alike"),
    [
        ([0, 0, 1, 1], {(0, 1), (2, 3)}),
        ([0, 1, 2, 3], set()),
        ([5, 5, 5, 5], {(a, b) for a in range(4) for b in range(a + 1, 4)}),
        ([[1.0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], {(0, 1), (0, 2)}),
    ],
    ids=["pairs", "none alike", "all alike", "several labels"],
)
def test_cosines_by_hand(targets: list[object], alike: set[tuple[int, int]]) -> None:
    vectors = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in ANGLES]) * torch.tensor(
        [[2.0], [1], [9], [1]]
    )
    near, far = [], []
    for a in range(4):
        for b in range(a + 1, 4):
            cosine = math.cos(ANGLES[a] - ANGLES[b])
            (near if (a, b) in alike else far).append((cosine - ((a, b) in alike)) ** 2)
    wanted = sum(sum(kind) / len(kind) for kind in (near, far) if kind) / 2
    assert float(cosine_contrast(vectors, torch.tensor(targets))) == pytest.approx(wanted, rel=1e-5)


def test_labels_at_right_angles_are_the_floor_of_cosines() -> None:
    targets = torch.arange(3).repeat_interleave(4)
    assert float(cosine_contrast(torch.eye(3)[targets] * 7, targets)) == pytest.approx(0.0, abs=1e-9)
    assert float(cosine_contrast(torch.ones(1, 3), targets[:1])) == 0.0


@pytest.mark.parametrize(("each", "floor"), [(2, 0.0), (4, math.log(3))])
def test_texts_that_lie_with_their_label_reach_the_floor(each: int, floor: float) -> None:
    targets = torch.arange(2).repeat_interleave(each)
    vectors = torch.eye(2)[targets] * 2 - 1  # the labels lie opposite to each other
    assert float(supervised_contrastive(vectors, targets)) == pytest.approx(floor, abs=1e-6)


def test_contrast_of_nothing_alike_is_nothing_and_stays_finite() -> None:
    for vectors, targets in (([[1.0, 0.0]], [0]), ([[1.0, 0.0], [0.0, 1.0]], [0, 1]), ([[0.0, 0.0]] * 2, [1, 1])):
        given = torch.tensor(vectors, requires_grad=True)
        found = supervised_contrastive(given, torch.tensor(targets))
        found.backward()
        assert float(found.detach()) == pytest.approx(0.0, abs=1e-6)
        assert given.grad is not None and bool(given.grad.isfinite().all())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.build_base(tmp_path_factory.mktemp("base"), kind="bert")


QUICK = ContrastSettings(epochs=15, learning_rate=5e-3, device="cpu")


@pytest.mark.parametrize("contrast", ["auto", "softmax"])
@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_it_learns_and_is_saved_as_a_label_supervised_model(
    base: str, tmp_path: Path, several: bool, contrast: Any
) -> None:
    labels = tiny.SEVERAL if several else tiny.LABELS
    model = FewShot(base, multi_label=several, contrast=contrast, C=1000.0, training=QUICK).fit(tiny.TEXTS, labels)
    history = model.history_
    assert history is not None and history.losses[-1] < history.losses[0] - 0.1
    assert np.mean([got == sorted(want) if several else got == want
                    for got, want in zip(model.predict(tiny.TEXTS), labels, strict=True)]) > 0.9  # fmt: skip
    model.save(tmp_path / "model")
    for loaded in (LabelSupervised.load(tmp_path / "model"), FewShot.load(tmp_path / "model")):
        assert type(loaded) is LabelSupervised
        np.testing.assert_allclose(
            loaded.decision_function(tiny.TEXTS), model.decision_function(tiny.TEXTS), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    ("labels", "contrast"),
    [
        (["x", "x", "y", "y"], "softmax"),
        (["x", "y", "x", "y"], "cosine"),
        ([["x"], ["x", "y"], ["y"], ["z", "y"]], "softmax"),
        ([["x"], ["y"], [], []], "cosine"),
    ],
)
def test_the_contrast_depends_on_whether_texts_lie_beside_their_own(
    base: str, labels: list[Any], contrast: str
) -> None:
    several = isinstance(labels[0], list)
    once = QUICK.model_copy(update={"epochs": 1})
    model = FewShot(base, multi_label=several, names=False, training=once)
    assert model.fit(["a b", "a b", "c d e", "c d e"], labels).contrast_ == contrast  # type: ignore[attr-defined]
    model = FewShot(base, multi_label=several, names=False, contrast="cosine", training=once)
    assert model.fit(["a b", "a b", "c d e", "c d e"], labels).contrast_ == "cosine"  # type: ignore[attr-defined]


def test_names_of_labels_are_learnt_from_where_asked_for(base: str) -> None:
    texts, labels = ["a b", "c d"], ["red_cat", "dog"]
    found = {}
    for names in (False, True):
        model = FewShot(base, names=names, C=1e4, training=QUICK.model_copy(update={"epochs": 1})).fit(texts, labels)
        assert model.history_ is not None
        found[names] = model.history_.texts, model.predict(["red cat", "dog"])
    assert found[False][0] == 2
    assert found[True] == (4, labels)


def test_dev_texts_choose_the_epoch(base: str) -> None:
    half = slice(None, None, 2), slice(1, None, 2)
    model = FewShot(base, training=QUICK.model_copy(update={"epochs": 3}))
    model.fit(tiny.TEXTS[half[0]], tiny.LABELS[half[0]], dev=(tiny.TEXTS[half[1]], tiny.LABELS[half[1]]))
    history = model.history_
    assert history is not None and len(history.scores) == 3
    right = np.mean(
        [got == want for got, want in zip(model.predict(tiny.TEXTS[half[1]]), tiny.LABELS[half[1]], strict=True)]
    )
    assert right == pytest.approx(max(history.scores))


def test_what_it_refuses(base: str) -> None:
    with pytest.raises(ConfigError, match="gives texts no vectors to contrast"):
        FewShot(base, pooling="max")
    with pytest.raises(ConfigError, match="there is no contrast 'cosines'; there are: auto, cosine, softmax"):
        FewShot(base, contrast="cosines")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="train a linear head"):
        FewShot(base, tuning="frozen")
