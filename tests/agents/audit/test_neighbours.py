"""Neighbours, near-duplicates and folds that keep them together."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.agents.audit import neighbours
from labelspace.agents.audit.folds import grouped_folds, out_of_sample
from labelspace.agents.audit.neighbours import conflicts, duplicate_groups, nearest, neighbour_votes, normalised
from labelspace.errors import DataError
from labelspace.finetune.linear import LinearHead


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_is_exact_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(50, 8)))
    vectors[7] = 0  # a blank text
    monkeypatch.setattr(neighbours, "BLOCK", 9)
    found = nearest(vectors, k=5)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    cosines[:, 7] = -2
    for at in range(50):
        if at == 7:
            assert (found.indices[at] == -1).all()
        else:
            assert found.indices[at].tolist() == np.argsort(-cosines[at])[:5].tolist()
            assert np.allclose(found.similarities[at], cosines[at, found.indices[at]])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_records_have_few_neighbours(count: int) -> None:
    found = nearest(np.ones((count, 3), np.float32), k=5)
    assert found.indices.shape == (count, max(0, count - 1))
    assert neighbour_votes(found, np.ones((count, 2), bool)).shape == (count, 2)


def test_votes_weigh_by_similarity() -> None:
    vectors = unit(np.array([[1, 0], [0.99, 0.14], [0.8, 0.6], [0.7, 0.71]]))
    has = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], bool)
    votes = neighbour_votes(nearest(vectors, k=3), has)
    assert votes.sum(axis=1) == pytest.approx(1)
    assert votes[0, 1] > 0.75  # the nearest outweighs two that are far
    even = neighbour_votes(nearest(vectors, k=3), has, temperature=1e6)
    assert even[0].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_duplicates_by_text_and_by_vector() -> None:
    texts = ["Where is my order?", "where  is my ORDER", "something else", "", "", "some thing else"]
    assert normalised(texts[0]) == normalised(texts[1]) == "where is my order"
    vectors = unit(np.eye(6)[[0, 1, 2, 3, 4, 2]])
    groups = duplicate_groups(texts, found=nearest(vectors, k=2))
    assert groups[0] == groups[1]
    assert groups[2] == groups[5]
    assert len(set(groups.tolist())) == 4  # blank texts are alone
    labels = [("a",), ("b",), ("c",), ("a",), ("b",), ("c",)]
    assert list(conflicts(groups, labels).values()) == [[0, 1]]


def test_folds_keep_groups_whole_and_spread_labels() -> None:
    generator = np.random.default_rng(1)
    groups = generator.integers(0, 150, 400)
    labels = [("abc"[at],) for at in generator.choice(3, 400, p=[0.7, 0.25, 0.05])]
    fold = grouped_folds(groups, labels, folds=5)
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups))
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 12
    rare = np.bincount(fold[[label == ("c",) for label in labels]], minlength=5)
    assert rare.max() - rare.min() <= 4
    with pytest.raises(DataError, match="fewer folds"):
        grouped_folds(np.zeros(4, np.int64), labels[:4], folds=3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_come_from_models_that_did_not_see_the_record(multi_label: bool) -> None:
    texts = [f"red ball {at}" for at in range(20)] + [f"blue cube {at}" for at in range(20)] + [""]
    labels = [("red",)] * 20 + [("blue",)] * 20 + [("red",)]
    labels[3] = ("blue",)  # wrong
    fold = grouped_folds(np.arange(41), labels, folds=4)
    scores = out_of_sample(
        texts, labels, fold, lambda: LinearHead(multi_label=multi_label), names=["red", "blue", "new"],
        multi_label=multi_label, repeats=[grouped_folds(np.arange(41), labels, folds=4, seed=1)],
    )  # fmt: skip
    assert scores.shape == (41, 3)
    assert scores[3, 0] > 0.6  # fitted on itself it would say blue
    assert (scores[:20, 0] > scores[:20, 1]).all()
    assert (scores[:40, 2] == 0).all()
    assert scores[40].tolist() == pytest.approx([0.5] * 3 if multi_label else [1 / 3] * 3)
