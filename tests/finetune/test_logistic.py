"""The solver against scikit-learn, and temperature and thresholds against values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.finetune.logistic import fit_logistic, fit_temperature, fit_thresholds, folds, sigmoid


@pytest.fixture
def problem():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(120, 6))
    owner = (vectors @ draw.normal(size=(6, 4)) + draw.normal(size=(120, 4))).argmax(1)
    return vectors, owner, np.eye(4)[owner], draw.uniform(0.1, 2, size=120)


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("C", [0.3, 5.0])
def test_softmax_equals_scikit_learn(problem, C: float) -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, owner, targets, weights = problem
    weight, bias = fit_logistic(vectors, targets, weights=weights, C=C, exclusive=True, max_iter=2000)
    peer = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(vectors, owner, sample_weight=weights)
    assert softmax(vectors @ weight + bias) == pytest.approx(peer.predict_proba(vectors), abs=3e-3)


def test_sigmoids_equal_scikit_learn_label_by_label(problem) -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, _, targets, weights = problem
    positive = np.array([1.0, 3.0, 0.5, 2.0])
    weight, bias = fit_logistic(
        vectors, targets, weights=weights, C=2.0, exclusive=False, positive_weights=positive, max_iter=2000
    )
    chances = sigmoid(vectors @ weight + bias)
    for label in range(4):
        own = weights * np.where(targets[:, label] > 0, positive[label], 1.0)
        peer = LogisticRegression(C=2.0, tol=1e-8, max_iter=5000).fit(vectors, targets[:, label], sample_weight=own)
        assert chances[:, label] == pytest.approx(peer.predict_proba(vectors)[:, 1], abs=3e-3)


def test_a_weight_counts_as_so_many_copies(problem) -> None:
    vectors, _, targets, _ = problem
    times = np.random.default_rng(1).integers(0, 4, size=120)
    weighted = fit_logistic(vectors, targets, weights=times.astype(float), C=1.0, exclusive=True, max_iter=2000)
    copied = fit_logistic(
        np.repeat(vectors, times, 0),
        np.repeat(targets, times, 0),
        weights=np.ones(times.sum()),
        C=1.0,
        exclusive=True,
        max_iter=2000,
    )
    assert weighted[0] == pytest.approx(copied[0], abs=5e-3)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_temperature_is_found_again(exclusive: bool, temperature: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 3)) * 2
    chances = softmax(logits) if exclusive else sigmoid(logits)
    if exclusive:
        owner = (draw.random(size=(20_000, 1)) > np.cumsum(chances, 1)).sum(1).clip(max=2)
        targets = np.eye(3)[owner]
    else:
        targets = (draw.random(size=chances.shape) < chances).astype(float)
    assert fit_temperature(logits * temperature, targets, exclusive=exclusive) == pytest.approx(temperature, rel=0.05)


def test_thresholds_give_the_best_f1() -> None:
    #  The first label: 12 positives from 0.52 up and one more at 0.10: best is to stop below 0.52.
    first = np.array([0.52 + 0.01 * at for at in range(12)] + [0.4, 0.3, 0.2, 0.1])
    truth = np.array([1] * 12 + [0, 0, 0, 1])
    # The second has two positives, too few for a threshold of its own.
    second = np.array([0.9, 0.8] + [0.05] * 14)
    chances = np.stack([first, second], 1)
    targets = np.stack([truth, [1, 1] + [0] * 14], 1).astype(float)
    found = fit_thresholds(chances, targets)
    assert found[0] == pytest.approx((0.52 + 0.4) / 2)
    assert found[1] == pytest.approx((0.52 + 0.4) / 2)  # that of all labels together


def test_equal_probabilities_are_not_parted() -> None:
    chances = np.array([[0.6]] * 11 + [[0.2]] * 5)
    targets = np.array([[1.0]] * 10 + [[0.0]] * 6)
    assert fit_thresholds(chances, targets)[0] == pytest.approx(0.4)


def test_folds_hold_out_each_row_once_and_spread_labels() -> None:
    owner = np.repeat([0, 1, 2], [50, 10, 1])
    targets = np.eye(3)[owner]
    held = [own for _, own in folds(targets, exclusive=True, seed=0)]
    assert sorted(np.concatenate(held).tolist()) == list(range(61))
    for own in held:
        assert (owner[own] == 0).sum() == 10
        assert (owner[own] == 1).sum() == 2
    for fitted, own in folds(targets, exclusive=True, seed=0):
        assert not set(fitted) & set(own)


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4], dtype=np.float32)).tolist() == [0.0, 0.5, 1.0]
