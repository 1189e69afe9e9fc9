"""One suspicion for each record, from a classifier's scores, its neighbours, and whoever else was asked.

The classifier and the neighbours are pooled as a geometric mean. What counts is the best label that
was not given against the worst that was, log((rival + c) / (given + c)). The offset c decides what
"against" means: near 0 it is a ratio, which finds labels that can't be right; large, it is a
difference, which finds those that have one clear rival. The ratio is better where labels were
mistaken at random, the difference where they were mistaken for near ones; so c follows from the
share of near rivals among the clearest disagreements. Measured in `labelspace run audit_planted`.

Nothing here has seen the truth. With verdicts, `labelspace.agents.audit.calibration` turns it into a probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.confident import Floats, chunks
from labelspace.errors import ConfigError, DataError

NEIGHBOUR_WEIGHT = 0.3
"""Exponent of the neighbours' share in the pool; the classifier has the rest."""
NEIGHBOUR_TEMPERATURE = 0.05
"""For `neighbour_votes`: what this module was measured with."""
FLOOR, NEIGHBOUR_FLOOR = 1e-4, 0.05
"""A label that no neighbour has is not impossible."""
RATIO, DIFFERENCE = 0.003, 0.1
"""The offset c where rivals are anywhere, and where they are near."""
NEAR, ALL_NEAR = 3, 0.7
"""Rivals among this many nearest are near; from this share of them c is at its highest."""
CLEAREST = 0.3
"""Share of the disagreements that is looked at for near rivals."""


@dataclass(frozen=True)
class Suspicion:
    """How suspicious each label is, and what speaks against it."""

    scores: NDArray[np.float64]
    """In [0, 1], [n]: above a half where a label that was not given has more for it."""
    given: NDArray[np.int64]
    """The worst of the given labels, [n]; -1 where none is given."""
    rival: NDArray[np.int64]
    """The best of the labels not given, [n]; -1 where all are."""
    given_probability: NDArray[np.float64]
    rival_probability: NDArray[np.float64]
    offset: float
    """The c that was used."""
    near_share: float
    """Share of near rivals among the clearest disagreements: near 1 where labels are mistaken for near ones."""


def suspect(
    has: NDArray[np.bool_],
    probabilities: Floats,
    *,
    votes: Floats | None = None,
    opinions: Mapping[str, NDArray[np.float64]] | None = None,
    multi_label: bool = False,
    tolerance: int = 0,
    weight: float = NEIGHBOUR_WEIGHT,
) -> Suspicion:
    """Combine all signals into one suspicion.

    Args:
        has: The given labels, [n, k].
        probabilities: Out-of-sample probabilities, [n, k]; may be memory-mapped.
        votes: Share of each label among the neighbours, [n, k] (`neighbour_votes`).
        opinions: More signals by name: the probability that the labels of each record are right,
            [n], NaN where there is no opinion (LLM judges, annotators). Their log-odds are added.
        multi_label: Whether a record can have several labels; else rows of the pool sum to 1.
        tolerance: How many columns away from the given label one may be and still speak for it: for
            labels that are a scale, in order (one label a record).
        weight: Exponent of the neighbours in the pool, in [0, 1].

    Raises:
        DataError: The arrays do not fit together.
    """
    n, k = probabilities.shape
    if has.shape != (n, k) or (votes is not None and votes.shape != (n, k)):
        raise DataError(f"labels, scores and neighbours must all be {n} by {k}")
    if not 0 <= weight <= 1:
        raise ConfigError(f"the weight of the neighbours must lie in [0, 1], not {weight}")
    given, rival = np.empty(n, np.int64), np.empty(n, np.int64)
    low, high = np.empty(n), np.empty(n)
    sums = np.zeros((k, k))
    for rows, piece in chunks(probabilities):
        owned = has[rows]
        sums += owned.T.astype(np.float64) @ piece
        pool = _pool(piece, None if votes is None else votes[rows], weight, multi_label)
        at = np.arange(len(pool))
        own, other = np.where(owned, pool, np.inf), np.where(owned, -np.inf, pool)
        given[rows] = own.argmin(axis=1)
        if tolerance:
            band = np.abs(np.arange(k) - given[rows, None]) <= tolerance
            own = np.where(owned, (pool * band).sum(axis=1, keepdims=True), np.inf)
            other = np.where(band, -np.inf, pool)
        rival[rows] = other.argmax(axis=1)
        low[rows], high[rows] = own[at, given[rows]], other[at, rival[rows]]
    none, every = np.isinf(low), np.isinf(high)
    given[none], rival[every] = -1, -1
    high[every] = 1 - low[every]
    low[none] = 1 - high[none]
    near = _near_share(sums, given, rival, low, high)
    chance = min(NEAR / max(k - 1, 1), 1.0)
    position = np.clip((near - chance) / max(ALL_NEAR - chance, 1e-9), 0, 1) if chance < ALL_NEAR else 0.0
    offset = float(RATIO * (DIFFERENCE / RATIO) ** position)
    odds = np.log((high + offset) / (low + offset))
    for right in (opinions or {}).values():
        odds -= np.where(np.isnan(right), 0.0, log_odds(right))
    return Suspicion(1 / (1 + np.exp(-odds)), given, rival, low, high, offset, near)


def _pool(piece: Floats, votes: Floats | None, weight: float, multi_label: bool) -> NDArray[np.float64]:
    logs = np.log(np.asarray(piece, np.float64).clip(0) + FLOOR)
    if votes is not None:
        logs = (1 - weight) * logs + weight * np.log(votes + NEIGHBOUR_FLOOR)
    if multi_label:
        return np.asarray(np.exp(logs).clip(0, 1))
    pool = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(pool / pool.sum(axis=1, keepdims=True))


def _near_share(
    sums: NDArray[np.float64],
    given: NDArray[np.int64],
    rival: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> float:
    """Share of rivals that are near the given label, among the disagreements where it is least probable.

    Labels are near where the classifier gives one to records of the other.
    """
    disagree = np.flatnonzero((high > low) & (given >= 0) & (rival >= 0))
    if not len(disagree):
        return 0.0
    counts = sums.sum(axis=1, keepdims=True)
    mean = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    nearness = mean + mean.T
    np.fill_diagonal(nearness, np.inf)
    rank = np.argsort(np.argsort(-nearness, axis=1, kind="stable"), axis=1, kind="stable")
    number = min(len(disagree), max(10, int(CLEAREST * len(disagree))))
    clearest = disagree[np.argsort(low[disagree], kind="stable")[:number]]
    return float((rank[rival[clearest], given[clearest]] <= NEAR).mean())


def log_odds(probability: NDArray[np.float64], *, least: float = 1e-3) -> NDArray[np.float64]:
    """Log of p / (1 - p), with p kept `least` away from 0 and 1."""
    kept = np.clip(probability, least, 1 - least)
    return np.asarray(np.log(kept) - np.log1p(-kept))
