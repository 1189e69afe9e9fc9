"""How good each label looks: label quality scores of confident learning, 0 surely wrong to 1 surely right."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelspace.agents.audit.confident import Floats, check, chunks, class_thresholds, summarise
from labelspace.errors import ConfigError

Score = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
SCORES: tuple[Score, ...] = get_args(Score)

SMALLEST = 1e-6
"""Self-confidence and the ratio of entropy to it are not taken below this."""


def label_quality(
    labels: ArrayLike,
    probabilities: Floats,
    *,
    score: Score = "self_confidence",
    adjusted: bool = False,
    thresholds: ArrayLike | None = None,
    as_reference: bool = True,
) -> NDArray[np.float64]:
    """Score each label by the probabilities of its record.

    Args:
        labels: Given classes, [n], in 0..k-1.
        probabilities: Out-of-sample probabilities, [n, k]; may be memory-mapped.
        score: `self_confidence` is the probability of the label; `normalized_margin` its distance
            to the most probable other label, moved into [0, 1]; `confidence_weighted_entropy` is
            log(1 + r) / r, where r is the entropy (as a share of the highest) over the probability.
        adjusted: Take each class's threshold from its probabilities first, so that classes that
            are predicted with little confidence do not look wrong (not for the entropy).
        thresholds: Thresholds to adjust by, [k]; by default those of these records.
        as_reference: cleanlab scores a row that is quite sure of its label 0, the limit of
            log(1 + r) / r being 1; True does the same, False gives the limit (entropy only).

    Returns:
        Scores in [0, 1], [n].

    Raises:
        ConfigError: The score is unknown or can't be adjusted.
        DataError: Labels and scores do not fit together.
    """
    if score not in SCORES:
        raise ConfigError(f"no score named {score!r}; there are: {', '.join(SCORES)}")
    if adjusted and score == "confidence_weighted_entropy":
        raise ConfigError("confidence_weighted_entropy can't be adjusted; use self_confidence or normalized_margin")
    y = check(labels, probabilities)
    shift: NDArray[np.float64] | None = None
    if adjusted:
        by = class_thresholds(summarise(y, probabilities)) if thresholds is None else thresholds
        shift = np.asarray(by, np.float64).reshape(-1)
    out = np.empty(len(y), np.float64)
    for rows, piece in chunks(probabilities):
        out[rows] = _score(y[rows], piece, score, shift, as_reference)
    return out


def _score(
    y: NDArray[np.int64], piece: Floats, score: Score, shift: NDArray[np.float64] | None, as_reference: bool
) -> Floats:
    at = np.arange(len(y))
    if shift is not None:
        piece = piece - shift + shift.max()
        piece = piece / piece.sum(axis=1, keepdims=True)
    given: Floats = piece[at, y]
    if score == "self_confidence":
        return given
    if score == "normalized_margin":
        others = piece.copy()
        others[at, y] = -np.inf
        return np.asarray((given - others.max(axis=1) + 1) / 2)
    entropy = _entropy(piece)
    ratio = entropy / np.clip(given, SMALLEST, None)
    quality = np.log1p(ratio) / np.clip(ratio, SMALLEST, None)
    return quality if as_reference else np.where(ratio < SMALLEST, 1.0, quality)


def _entropy(piece: Floats) -> NDArray[np.float64]:
    """Entropy of each row as a share of the highest there can be, [n]."""
    classes = piece.shape[1]
    if classes == 1:
        return np.zeros(len(piece))
    exact = np.asarray(piece, np.float64)
    logs = np.log(exact, out=np.zeros_like(exact), where=exact > 0)
    return np.asarray(-(exact * logs).sum(axis=1) / np.log(classes), np.float64)


def rank_flags(flags: NDArray[np.bool_], quality: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the flagged records, the worst label first."""
    marked = np.flatnonzero(flags)
    return marked[np.argsort(quality[marked])]
