"""Consensus of annotators: Dawid-Skene finds the good ones, and equals the published accuracy on snow_rte."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from labelspace.agents.audit.annotators import CLASSIFIER, collect_votes, dawid_skene, majority
from labelspace.errors import DataError

LABELS = ["no", "yes"]


def test_majority_is_the_share_of_votes() -> None:
    votes = collect_votes([[("a", "yes"), ("b", "yes"), ("c", "no")], []], LABELS)
    assert majority(votes).tolist() == [[pytest.approx(1 / 3), pytest.approx(2 / 3)], [0.5, 0.5]]


def test_em_by_hand() -> None:
    """One round of the paper's equations on two items and two annotators, worked out by hand."""
    votes = collect_votes([[("a", "yes"), ("b", "yes")], [("a", "no"), ("b", "yes")]], LABELS)
    found = dawid_skene(votes, smoothing=0.0, most_rounds=1)
    # From the majority shares (yes: 1, 1/2) a says yes with 2/3 where it is true and 0 where not; b always says yes.
    assert found.annotators[0].confusion[1].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.annotators[1].confusion[0].tolist() == pytest.approx([0.0, 1.0])
    # Item 2: yes 3/4 * 1/3 * 1 against no 1/4 * 1 * 1.
    assert found.probabilities[1].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)


def simulate(seed: int, quality: list[float], items: int = 300) -> tuple[list[list[tuple[str, str]]], list[str]]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, items)
    said = [
        [
            (f"w{who}", LABELS[value if generator.random() < right else 1 - value])
            for who, right in enumerate(quality)
        ]
        for value in truth
    ]  # fmt: skip
    return said, [LABELS[value] for value in truth]


def test_a_few_good_annotators_outweigh_many_bad_ones() -> None:
    said, truth = simulate(0, [0.95, 0.95, 0.55, 0.5, 0.5, 0.55, 0.5])
    votes = collect_votes(said, LABELS)
    found = dawid_skene(votes)
    plain = [LABELS[at] for at in majority(votes).argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(found.labels, truth, strict=True)])
    assert right > 0.93 > np.mean([a == b for a, b in zip(plain, truth, strict=True)]) + 0.1
    by_name = {worker.name: worker.accuracy for worker in found.annotators}
    assert by_name["w0"] == pytest.approx(0.95, abs=0.05)
    assert by_name["w3"] == pytest.approx(0.5, abs=0.1)


def test_a_classifier_helps_where_votes_are_few() -> None:
    said, truth = simulate(1, [0.7, 0.7, 0.7])
    generator = np.random.default_rng(2)
    right = np.array([LABELS.index(label) for label in truth])
    chance = np.clip(0.85 + 0.1 * generator.normal(size=len(truth)), 0.5, 0.99)
    good = np.where(np.arange(2)[None] == right[:, None], chance[:, None], 1 - chance[:, None])
    noise = generator.dirichlet(np.ones(2), len(truth))
    alone, aided, misled = (
        np.mean([a == b for a, b in zip(dawid_skene(collect_votes(said, LABELS, classifier=p)).labels, truth,
                                       strict=True)])
        for p in (None, good, noise)
    )  # fmt: skip
    assert aided > alone + 0.05
    assert misled > alone - 0.03
    names = [worker.name for worker in dawid_skene(collect_votes(said, LABELS, classifier=good)).annotators]
    assert names[-1] == CLASSIFIER


@pytest.mark.data
def test_snow_rte(data_dir: Path) -> None:
    with gzip.open(data_dir / "snow_rte" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    gold = [row["label"] for row in rows]
    votes = collect_votes([[(v["worker"], v["label"]) for v in row["annotations"]] for row in rows], sorted(set(gold)))

    def accuracy(labels: list[str]) -> float:
        return float(np.mean([a == b for a, b in zip(labels, gold, strict=True)]))

    assert accuracy([votes.label_names[at] for at in majority(votes).argmax(axis=1)]) == 0.875
    assert accuracy(dawid_skene(votes, smoothing=0.0).labels) == 0.9275
    assert accuracy(dawid_skene(votes).labels) >= 0.9275


def test_bad_votes_are_named() -> None:
    with pytest.raises(DataError, match="gave the label 'maybe'"):
        collect_votes([[("a", "maybe")]], LABELS)
    with pytest.raises(DataError, match="no votes"):
        collect_votes([[]], LABELS)
    with pytest.raises(DataError, match="3 by 2, not 1 by 2"):
        collect_votes([[("a", "yes")]], LABELS, classifier=np.ones((3, 2)))
