"""Logistic regression over vectors, softmax or one sigmoid a label, and what makes its probabilities honest.

Written out because one solver serves both forms, takes soft targets and weights, and leaves a matrix
that needs nothing but numpy to apply. It minimises what scikit-learn's LogisticRegression does, in double
precision: in single precision L-BFGS stops early here, at a cost of a point of accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Real = TypeVar("Real", np.float32, np.float64)

FOLDS = 5
ENOUGH_HELD_OUT = 1000
"""Rows to set a temperature and thresholds by; more folds are fitted until there are as many."""
ENOUGH_POSITIVES = 10
"""Held-out texts with a label, from which on it gets a threshold of its own."""


def fit_logistic(
    vectors: Doubles,
    targets: Doubles,
    *,
    weights: Doubles,
    C: float,
    exclusive: bool,
    positive_weights: Doubles | None = None,
    max_iter: int = 300,
) -> tuple[Doubles, Doubles]:
    """Minimise `C * sum of weighted losses + squared norm of the weights / 2` by L-BFGS.

    Args:
        vectors: Inputs [n, d].
        targets: Share of each label [n, k]: one-hot, many-hot or soft.
        weights: Of each row [n].
        C: Inverse strength of the penalty; the bias is not penalised.
        exclusive: Softmax over the labels, or else a sigmoid for each.
        positive_weights: Of the positive rows of each label [k]; only for sigmoids.
        max_iter: The most iterations.

    Returns:
        Weights [d, k] and bias [k].
    """
    from scipy.optimize import minimize

    width, labels = vectors.shape[1], targets.shape[1]
    total = weights.sum()
    share = (weights / total)[:, None]
    penalty = 1.0 / (C * total)
    prior = np.clip((targets * share).sum(0), 1e-6, 1 - 1e-6)
    start = np.zeros((width + 1, labels))
    start[-1] = np.log(prior) if exclusive else np.log(prior / (1 - prior))
    each = share if positive_weights is None else share * (1 + targets * (positive_weights - 1))

    def objective(flat: Doubles) -> tuple[float, Doubles]:
        matrix = flat.reshape(width + 1, labels)
        logits = vectors @ matrix[:-1] + matrix[-1]
        if exclusive:
            highest = logits.max(1, keepdims=True)
            raised = np.exp(logits - highest)
            summed = raised.sum(1, keepdims=True)
            loss = float((share * (np.log(summed) + highest)).sum() - (share * targets * logits).sum())
            slope = share * (raised / summed - targets)
        else:
            # log(1 + e^z) - y z, written so that neither end overflows.
            loss = float((each * (np.logaddexp(0, logits) - targets * logits)).sum())
            slope = each * (sigmoid(logits) - targets)
        gradient = np.empty_like(matrix)
        gradient[:-1] = vectors.T @ slope + penalty * matrix[:-1]
        gradient[-1] = slope.sum(0)
        return loss + 0.5 * penalty * float((matrix[:-1] ** 2).sum()), gradient.ravel()

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iter, "gtol": 1e-4 if exclusive else 1e-5, "ftol": 1e-10, "maxcor": 10},
    )
    matrix = found.x.reshape(width + 1, labels)
    return matrix[:-1], matrix[-1]


def folds(
    targets: Doubles, *, exclusive: bool, seed: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Row numbers to fit on and to hold out, in turn; each label is spread evenly where it is the only one."""
    rows = len(targets)
    order = np.random.default_rng(seed).permutation(rows)
    fold = np.empty(rows, dtype=np.intp)
    fold[order] = np.arange(rows) % FOLDS
    if exclusive:
        owner = targets.argmax(1)
        for label in range(targets.shape[1]):
            own = order[owner[order] == label]
            fold[own] = (np.arange(len(own)) + label) % FOLDS
    for number in range(FOLDS):
        held = fold == number
        if held.any() and not held.all():
            yield np.flatnonzero(~held), np.flatnonzero(held)


def fit_temperature(logits: Doubles, targets: Doubles, *, exclusive: bool) -> float:
    """The divisor of held-out logits [n, k] that makes their probabilities likeliest [n, k]."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if exclusive:
            highest = scaled.max(1, keepdims=True)
            summed = np.log(np.exp(scaled - highest).sum(1, keepdims=True)) + highest
            return float((targets * (summed - scaled)).sum() / len(logits))
        return float((np.logaddexp(0, scaled) - targets * scaled).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def fit_thresholds(probabilities: Doubles, targets: Doubles) -> Doubles:
    """For each label [k], the probability from which on it is given, by the best F1 on held-out rows [n, k].

    A label with few positives gets the threshold that is best for all labels together.
    """
    truth = targets > 0.5
    common = _best_threshold(probabilities.ravel(), truth.ravel())
    return np.array(
        [
            _best_threshold(probabilities[:, label], truth[:, label])
            if truth[:, label].sum() >= ENOUGH_POSITIVES
            else common
            for label in range(targets.shape[1])
        ]
    )


def _best_threshold(probabilities: Doubles, truth: npt.NDArray[np.bool_]) -> float:
    if not truth.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    ranked = probabilities[order]
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # a threshold can't part equal probabilities
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def softmax(logits: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """Logits [n, k] as probabilities of one label among k, without overflow."""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    chances: npt.NDArray[Real] = raised / raised.sum(1, keepdims=True)
    return chances


def sigmoid(logits: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """Logits as probabilities, without overflow at either end."""
    half = logits.dtype.type(0.5)
    chances: npt.NDArray[Real] = half * (1 + np.tanh(half * logits))
    return chances
