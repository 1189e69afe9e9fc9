"""Prototypes: labels that move towards the texts they attract, and those that must not."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.agents.labeling.prototypes import plain_prototypes, refined_prototypes
from labelspace.embed.base import unit_rows


def clusters(sizes, *, seed=0, offset=0.9, width=48):
    """Labels beside the middle of their texts: label vectors, texts, owners."""
    draw = np.random.default_rng(seed)
    middles = unit_rows(draw.normal(size=(len(sizes), width)))
    labels = unit_rows(middles + offset * unit_rows(draw.normal(size=middles.shape)))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    shared = unit_rows(draw.normal(size=(1, width)))  # texts are unlike labels in one direction
    texts = unit_rows(middles[owner] + 0.22 * draw.normal(size=(len(owner), width)) + shared)
    return labels, texts, owner


def accuracy(prototypes, texts, owner):
    return float((prototypes.similarities(texts).argmax(1) == owner).mean())


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([40] * 20, id="balanced"),
        pytest.param([max(2, 400 // rank) for rank in range(1, 21)], id="zipf"),
        pytest.param([60] * 7 + [0] * 13, id="most labels absent"),
    ],
)
def test_refining_helps_whatever_the_shares_of_the_labels(sizes) -> None:
    gains = []
    for seed in range(3):
        labels, texts, owner = clusters(sizes, seed=seed)
        plain = accuracy(plain_prototypes(labels, texts), texts, owner)
        gains.append(accuracy(refined_prototypes(labels, texts), texts, owner) - plain)
    assert min(gains) >= 0
    assert np.mean(gains) > 0.02


def test_a_label_without_texts_stays_nearest_to_its_own_text() -> None:
    labels, texts, _ = clusters([50] * 9 + [0])
    refined = refined_prototypes(labels, texts)
    own = plain_prototypes(labels, texts).vectors
    assert (refined.vectors @ own.T).argmax(1).tolist() == list(range(10))
    assert refined.vectors[-1] @ own[-1] > 0.5


def test_probabilities_are_those_of_a_softmax_and_follow_similarity() -> None:
    labels, texts, _ = clusters([20] * 5)
    prototypes = refined_prototypes(labels, texts)
    similarities = prototypes.similarities(texts)
    chances = prototypes.probabilities(similarities)
    assert chances.sum(1) == pytest.approx(np.ones(100), abs=1e-5)
    assert (chances.argmax(1) == similarities.argmax(1)).all()
    by_hand = np.exp((4.0 + 1.5 * np.log(5)) * similarities[0])
    assert chances[0] == pytest.approx(by_hand / by_hand.sum(), rel=1e-4)


def test_chunks_change_nothing(monkeypatch) -> None:
    labels, texts, _ = clusters([20] * 6)
    whole = refined_prototypes(labels, texts)
    monkeypatch.setattr("labelspace.agents.labeling.prototypes._CELLS", 40)
    parts = refined_prototypes(labels, texts)
    assert parts.vectors == pytest.approx(whole.vectors, abs=1e-4)
    assert parts.usual == pytest.approx(whole.usual, abs=1e-4)


@pytest.mark.parametrize(("labels", "texts"), [(1, 0), (1, 5), (2, 0), (2, 1), (3, 1), (50, 1)])
def test_few_labels_and_few_texts_give_finite_numbers(labels: int, texts: int) -> None:
    draw = np.random.default_rng(0)
    prototypes = plain_prototypes(unit_rows(draw.normal(size=(labels, 8))), unit_rows(draw.normal(size=(texts, 8))))
    found = prototypes.similarities(unit_rows(draw.normal(size=(4, 8))))
    assert np.isfinite(prototypes.probabilities(found)).all()
    assert np.isfinite(prototypes.memberships(found)).all()
