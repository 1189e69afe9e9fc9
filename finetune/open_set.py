"""Texts that belong to no known label: how far off a text is, and a limit that refuses few that are not.

A score says how far off a text looks, higher is farther: from logits (`energy`, `lack_of_confidence`) or from
vectors (`neighbour_distance`, `mahalanobis_distance`). `OpenSet` turns scores into a decision: known texts are
refused with at most the probability asked for, whatever the score; how many unknown texts are caught is
for the score to earn, and shown by `auroc` and `caught_at`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.conformal import p_value

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_BLOCK = 1 << 22
"""Cosines held at once."""


class OpenSet:
    """Refuses texts that look stranger than known ones do.

    known = OpenSet().calibrate(energy(dev_logits))
    refused = known.refuse(energy(logits), wrongly=0.05)
    """

    def __init__(self) -> None:
        """Start without knowledge of any text."""
        self._sorted: Doubles | None = None

    def calibrate(self, scores: npt.ArrayLike) -> OpenSet:
        """Learn how strange known texts look.

        Args:
            scores: [n], of texts that belong to known labels and that nothing was fitted to.

        Raises:
            DataError: There are none, or one is not a number.
        """
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise DataError(
                f"scores of shape {values.shape}, {int(np.isnan(values).sum())} of them not numbers, were given",
                advice="give one score for each text",
            )
        self._sorted = np.sort(values)
        return self

    def p_values(self, scores: npt.ArrayLike) -> Doubles:
        """Probability of a known text to look at least as strange [n]; low means unknown."""
        if self._sorted is None:
            raise ConfigError("it is not known yet how known texts look; call calibrate(scores) first")
        return p_value(self._sorted, np.asarray(scores, dtype=np.float64))

    def refuse(self, scores: npt.ArrayLike, *, wrongly: float) -> Flags:
        """Which texts to refuse [n].

        Args:
            scores: [n].
            wrongly: Probability of refusing a known text, at most. With fewer than 1 / wrongly - 1
                calibration texts nothing can be refused.
        """
        if not 0 < wrongly < 1:
            raise ConfigError(f"the share refused wrongly is between 0 and 1, such as 0.05, not {wrongly}")
        return np.asarray(self.p_values(scores) <= wrongly + 1e-12)


# -- scores ----------------------------------------------------------------------------------------


def lack_of_confidence(probabilities: npt.ArrayLike) -> Doubles:
    """One minus the highest probability [n], the baseline (Hendrycks and Gimpel, 2017); from [n, k]."""
    return np.asarray(1 - np.asarray(probabilities, dtype=np.float64).max(axis=1))


def energy(logits: npt.ArrayLike, *, temperature: float = 1.0) -> Doubles:
    """Free energy, -T log sum exp(z / T) (Liu et al., 2020, arXiv 2010.03759, eq. 4); [n] from logits [n, k]."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    highest = scaled.max(axis=1)
    return np.asarray(-temperature * (highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))))


def neighbour_distance(known: npt.ArrayLike, vectors: npt.ArrayLike, *, neighbours: int = 10) -> Doubles:
    """Distance on the unit sphere to the k-th nearest known text (Sun et al., 2022, arXiv 2204.06507).

    Args:
        known: [m, d] vectors of known texts.
        vectors: [n, d].
        neighbours: k; the paper's for ImageNet is 1% of m, some tens for small sets.

    Returns:
        [n], between 0 and 2.
    """
    bank, queries = _unit(known), _unit(vectors)
    if not 1 <= neighbours <= len(bank):
        raise ConfigError(f"there are {len(bank)} known texts, so that there is no {neighbours}-th nearest")
    found = np.empty(len(queries))
    step = max(1, _BLOCK // len(bank))
    for at in range(0, len(queries), step):
        cosines = queries[at : at + step] @ bank.T
        found[at : at + step] = np.partition(cosines, -neighbours, axis=1)[:, -neighbours]
    return np.asarray(np.sqrt(np.maximum(2 - 2 * found, 0)))


def mahalanobis_distance(
    known: npt.ArrayLike, labels: npt.ArrayLike, vectors: npt.ArrayLike, *, shrinkage: float = 0.01
) -> Doubles:
    """Squared distance to the nearest label's mean, in units of the spread within labels (Lee et al., 2018, eq. 2).

    Args:
        known: [m, d] vectors of known texts.
        labels: [m] their label numbers.
        vectors: [n, d].
        shrinkage: Share of the mean variance mixed into the covariance, which few texts don't fill.

    Returns:
        [n].
    """
    bank, y = np.asarray(known, dtype=np.float64), np.asarray(labels)
    numbers, place = np.unique(y, return_inverse=True)
    means = np.stack([bank[y == number].mean(axis=0) for number in numbers])
    centred = bank - means[place]
    covariance = centred.T @ centred / len(bank)
    spread = np.trace(covariance) / len(covariance)
    mixed = (1 - shrinkage) * covariance + (shrinkage * spread + 1e-12) * np.eye(len(covariance))
    root = np.linalg.cholesky(np.linalg.inv(mixed))
    ours, theirs = np.asarray(vectors, dtype=np.float64) @ root, means @ root
    squares = (ours**2).sum(axis=1)[:, None] - 2 * ours @ theirs.T + (theirs**2).sum(axis=1)
    return np.asarray(np.maximum(squares.min(axis=1), 0))


# -- how good a score is ---------------------------------------------------------------------------


def auroc(known: npt.ArrayLike, unknown: npt.ArrayLike) -> float:
    """Probability that an unknown text scores higher than a known one, ties counting half."""
    low, high = np.sort(np.asarray(known, dtype=np.float64)), np.asarray(unknown, dtype=np.float64)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / 2 / len(low))


def caught_at(known: npt.ArrayLike, unknown: npt.ArrayLike, *, wrongly: float = 0.05) -> float:
    """Share of unknown texts refused at the limit which refuses this share of these known ones, at most."""
    values = np.asarray(known, dtype=np.float64)
    limit = np.sort(values)[max(int(np.ceil(len(values) * (1 - wrongly) - 1e-9)) - 1, 0)]
    return float((np.asarray(unknown, dtype=np.float64) > limit).mean())


def _unit(vectors: npt.ArrayLike) -> Doubles:
    rows = np.asarray(vectors, dtype=np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
