"""Open-set rejection: scores by hand, the promise over many draws, and real out-of-scope texts' shape."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.open_set import (
    OpenSet,
    auroc,
    caught_at,
    energy,
    lack_of_confidence,
    mahalanobis_distance,
    neighbour_distance,
)


def test_scores_by_hand() -> None:
    assert lack_of_confidence([[0.2, 0.7, 0.1]]).tolist() == pytest.approx([0.3])
    z = [[1.0, 2.0], [1e4, -1e4]]
    assert energy(z).tolist() == pytest.approx([-math.log(math.e + math.e**2), -1e4])
    assert energy(z, temperature=2.0)[0] == pytest.approx(-2 * math.log(math.exp(0.5) + math.e))


def test_neighbour_distance_by_hand() -> None:
    known = [[1.0, 0.0], [0.0, 3.0], [1.0, 1.0]]
    distances = [0.0, math.sqrt(2 - math.sqrt(2)), math.sqrt(2)]
    for k, distance in enumerate(distances, 1):
        found = neighbour_distance(known, [[2.0, 0.0]], neighbours=k)
        assert found.tolist() == pytest.approx([distance], abs=1e-7)
    with pytest.raises(ConfigError, match="no 4-th nearest"):
        neighbour_distance(known, [[2.0, 0.0]], neighbours=4)


def test_mahalanobis_against_its_definition() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 200) * 5  # numbers need not be consecutive
    known = draw.normal(0, [1, 3, 0.2], (200, 3)) + labels[:, None]
    vectors = draw.normal(0, 4, (10, 3))
    means = {label: known[labels == label].mean(axis=0) for label in (0, 5, 10)}
    centred = known - np.stack([means[label] for label in labels])
    inverse = np.linalg.inv(centred.T @ centred / 200)
    wanted = [min((x - mean) @ inverse @ (x - mean) for mean in means.values()) for x in vectors]
    assert mahalanobis_distance(known, labels, vectors, shrinkage=0.0).tolist() == pytest.approx(wanted)
    # Fewer texts than dimensions: shrinkage keeps it defined.
    assert np.isfinite(mahalanobis_distance(known[:4, :], labels[:4], vectors)).all()


def test_area_and_share_caught_by_hand() -> None:
    assert auroc([0.1, 0.2, 0.3, 0.4], [0.25, 0.5, 0.3]) == pytest.approx((2 + 4 + 2.5) / 12)
    known = np.arange(100.0)
    assert caught_at(known, [93.0, 94.0, 95.0, 200.0], wrongly=0.05) == 0.5
    assert (known > 94).mean() == 0.05


@pytest.mark.parametrize("wrongly", [0.01, 0.05, 0.2])
def test_known_texts_are_refused_as_seldom_as_promised(wrongly: float) -> None:
    draw = np.random.default_rng(0)
    refused, caught = [], []
    for _ in range(100):
        known = OpenSet().calibrate(draw.normal(0, 1, 199))
        refused.append(known.refuse(draw.normal(0, 1, 500), wrongly=wrongly).mean())
        caught.append(known.refuse(draw.normal(4, 1, 500), wrongly=wrongly).mean())
    assert np.mean(refused) == pytest.approx(math.floor(200 * wrongly + 1e-9) / 200, abs=0.008)
    assert np.mean(caught) > 0.9


def test_decision_by_hand() -> None:
    known = OpenSet().calibrate([0.1, 0.2, 0.3, 0.4])
    assert known.p_values([0.05, 0.25, 0.5]).tolist() == pytest.approx([1.0, 0.6, 0.2])
    assert known.refuse([0.05, 0.35, 0.5], wrongly=0.2).tolist() == [False, False, True]
    assert not known.refuse([99.0], wrongly=0.1).any()  # four texts can't promise that


def test_misuse_is_named() -> None:
    with pytest.raises(ConfigError, match="calibrate"):
        OpenSet().refuse([1.0], wrongly=0.1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        OpenSet().calibrate([1.0]).refuse([1.0], wrongly=5)
    for scores in ([], [math.nan], [[1.0]]):
        with pytest.raises(DataError, match="one score for each text"):
            OpenSet().calibrate(scores)
