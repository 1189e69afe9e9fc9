"""The combined suspicion: finds planted errors better than any single score, and learns from verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from labelspace.agents.audit import scores
from labelspace.agents.audit.calibration import calibrate
from labelspace.agents.audit.neighbours import nearest, neighbour_votes
from labelspace.agents.audit.planted import label_similarity, plant_errors
from labelspace.agents.audit.suspicion import DIFFERENCE, RATIO, suspect
from labelspace.errors import ConfigError, DataError


def problem(seed: int = 0, k: int = 20, n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in k clusters, of which each has near ones."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(generator.normal(size=(k // 4, 30)), 4, axis=0)
    centres = groups + 0.7 * generator.normal(size=(k, 30))
    true = generator.integers(0, k, n)
    vectors = centres[true] + 1.3 * generator.normal(size=(n, 30))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.eye(k, dtype=bool)[true]


@pytest.mark.parametrize("noise", ["uniform", "confusable"])
def test_beats_every_single_score(noise: str) -> None:
    vectors, true = problem()
    has, wrong = plant_errors(true, rate=0.1, noise=noise, similarity=label_similarity(vectors, true), seed=1)
    y = has.argmax(axis=1)
    p = cross_val_predict(LogisticRegression(C=5, max_iter=300), vectors * 5, y, cv=5, method="predict_proba")
    found = suspect(has, p, votes=neighbour_votes(nearest(vectors, k=30), has, temperature=0.05))
    singles = {
        (score, adjusted): average_precision_score(wrong, -scores.label_quality(y, p, score=score, adjusted=adjusted))
        for score in scores.SCORES
        for adjusted in ((False,) if score == "confidence_weighted_entropy" else (False, True))
    }
    assert average_precision_score(wrong, found.scores) > max(singles.values())
    near = {"uniform": found.offset < 0.006, "confusable": found.offset > 0.03}
    assert near[noise]
    assert RATIO <= found.offset <= DIFFERENCE


def test_above_a_half_where_a_rival_has_more() -> None:
    has = np.array([[1, 0, 0], [1, 0, 0]], bool)
    found = suspect(has, np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]))
    assert found.scores[0] < 0.5 < found.scores[1]
    assert (found.given.tolist(), found.rival.tolist()) == ([0, 0], [1, 2])


def test_several_labels_none_and_all() -> None:
    has = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    found = suspect(has, np.array([[0.9, 0.1, 0.8], [0.1, 0.9, 0.1], [0.9, 0.9, 0.2]]), multi_label=True)
    assert found.given.tolist() == [1, -1, 2]
    assert found.rival.tolist() == [2, 1, -1]
    assert (found.scores > 0.5).all()
    empty = suspect(np.zeros((1, 3), bool), np.array([[0.1, 0.1, 0.05]]), multi_label=True)
    assert empty.scores[0] < 0.2


def test_opinions_count_where_there_are_any() -> None:
    has = np.array([[1, 0]] * 3, bool)
    p = np.array([[0.6, 0.4]] * 3)
    found = suspect(has, p, opinions={"judges": np.array([0.1, np.nan, 0.9])})
    assert found.scores[0] > 0.8 > 0.5 > found.scores[1] > found.scores[2]
    assert found.scores[1] == pytest.approx(suspect(has, p).scores[1])


def test_verdicts_make_it_a_probability() -> None:
    generator = np.random.default_rng(3)
    chance = generator.beta(0.4, 2.0, 4000)
    wrong = generator.random(4000) < chance
    overconfident = chance**0.3  # ranks well, says far too much
    judged = np.sort(generator.choice(4000, 600, replace=False))
    learned = calibrate({"suspicion": overconfident, "noise": generator.random(4000)}, wrong[judged], judged)
    assert learned.mean() == pytest.approx(wrong.mean(), abs=0.03)
    top = learned > 0.5
    assert wrong[top].mean() == pytest.approx(learned[top].mean(), abs=0.08)
    with pytest.raises(DataError, match="judge more"):
        calibrate({"suspicion": overconfident}, np.ones(3, bool), judged[:3])


def test_planted_errors_are_as_asked() -> None:
    vectors, true = problem(n=400)
    similarity = label_similarity(vectors, true)
    for noise in ("uniform", "confusable"):
        has, wrong = plant_errors(true, rate=0.2, noise=noise, similarity=similarity, seed=2)
        assert wrong.sum() == 80
        assert (has.sum(axis=1) == 1).all()
        assert np.array_equal((has != true).any(axis=1), wrong)
    ranks = np.argsort(np.argsort(-similarity, axis=1), axis=1)
    assert ranks[true[wrong].argmax(axis=1), has[wrong].argmax(axis=1)].max() <= 3
    with pytest.raises(ConfigError, match="need the similarity"):
        plant_errors(true, rate=0.1, noise="confusable")
