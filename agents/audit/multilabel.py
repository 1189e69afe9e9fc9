"""Confident learning where a record can have several labels: one against the rest, class by class.

Each class is its own question of two answers: 0, the record does not have the label; 1, it has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelspace.agents.audit.confident import Floats, Integers, chunks, confident_joint
from labelspace.agents.audit.filters import Filter, Flags, flag_labels, lowest
from labelspace.agents.audit.scores import Score, label_quality
from labelspace.errors import ConfigError, DataError

Pooling = Literal["moving_average", "softmin", "mean", "min"]


def as_matrix(labels: Sequence[Sequence[int]], classes: int) -> NDArray[np.bool_]:
    """Lists of class numbers as a matrix of who has what, [n, k]."""
    given = np.zeros((len(labels), classes), bool)
    for row, numbers in zip(given, labels, strict=True):
        row[list(numbers)] = True
    return given


def _checked(labels: ArrayLike, probabilities: Floats) -> NDArray[np.bool_]:
    given = np.asarray(labels)
    if given.shape != np.shape(probabilities):
        raise DataError(
            f"labels are {given.shape} and scores {np.shape(probabilities)}", advice="give one row of each a record"
        )
    return given.astype(bool)


def _both_answers(column: Floats) -> Floats:
    return np.stack([1 - column, column], axis=1)


def _column(probabilities: Floats, label: int) -> Floats:
    """One class's probabilities, read in chunks so that the rest of a file does not stay in memory."""
    return np.concatenate([piece[:, label] for _, piece in chunks(probabilities)])


def one_vs_rest_joint(labels: ArrayLike, probabilities: Floats, *, calibrated: bool = True) -> Integers:
    """The confident joint of each class, [k, 2, 2]: given (rows) against true (columns), 0 no and 1 yes."""
    given = _checked(labels, probabilities)
    return np.stack(
        [
            confident_joint(
                given[:, label].astype(np.int64), _both_answers(_column(probabilities, label)), calibrated=calibrated
            )
            for label in range(given.shape[1])
        ]
    )


def flag_classes(
    labels: ArrayLike,
    probabilities: Floats,
    *,
    filter_by: Filter = "prune_by_noise_rate",
    share: float = 1.0,
    keep_per_class: int = 1,
) -> Flags:
    """Flag each label of each record that is probably wrong: given and should not be, or the other way.

    Args:
        labels: Who has what, [n, k].
        probabilities: Out-of-sample probability of each label, [n, k]; rows need not sum to 1.
        filter_by: As in `flag_labels`.
        share: As in `flag_labels`.
        keep_per_class: As in `flag_labels`, of each answer to each class.

    Returns:
        True where the answer is probably wrong, [n, k]; a record is flagged where any of its row is.
    """
    given = _checked(labels, probabilities)
    flags = np.zeros(given.shape, bool)
    for label in range(given.shape[1]):
        flags[:, label] = flag_labels(
            given[:, label].astype(np.int64),
            _both_answers(_column(probabilities, label)),
            filter_by=filter_by,
            share=share,
            keep_per_class=keep_per_class,
        )
    return flags


def class_quality(
    labels: ArrayLike,
    probabilities: Floats,
    *,
    score: Score = "self_confidence",
    adjusted: bool = False,
    as_reference: bool = True,
) -> NDArray[np.float64]:
    """Score each answer of each record, [n, k], 0 surely wrong to 1 surely right; arguments as in `label_quality`."""
    given = _checked(labels, probabilities)
    out = np.empty(given.shape, np.float64)
    for label in range(given.shape[1]):
        answers = given[:, label].astype(np.int64)
        out[:, label] = label_quality(
            answers,
            _both_answers(_column(probabilities, label)),
            score=score,
            adjusted=adjusted,
            as_reference=as_reference,
        )
    return out


def pool_quality(
    quality: NDArray[np.float64],
    *,
    pooling: Pooling = "moving_average",
    alpha: float = 0.8,
    temperature: float = 0.1,
) -> NDArray[np.float64]:
    """One score a record from its scores by class.

    Args:
        quality: Scores by class, [n, k].
        pooling: `moving_average` goes from the best to the worst score and gives each new one the
            weight alpha, so that the worst weighs most; `softmin` weighs all by softmax(1 - score).
        alpha: Weight of the next worse score in the moving average, in [0, 1].
        temperature: Of the softmin; towards 0 it becomes the minimum.

    Returns:
        Scores, [n].
    """
    if pooling == "moving_average":
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha must lie in [0, 1], not {alpha}")
        ordered = np.sort(quality, axis=1)[:, ::-1]
        pooled: NDArray[np.float64] = ordered[:, 0].copy()
        for column in ordered.T[1:]:
            pooled = alpha * column + (1 - alpha) * pooled
        return pooled
    if pooling == "softmin":
        return softmin(quality, temperature)
    if pooling == "mean":
        return np.asarray(quality.mean(axis=1))
    if pooling == "min":
        return np.asarray(quality.min(axis=1))
    raise ConfigError(f"no pooling named {pooling!r}; there are: moving_average, softmin, mean, min")


def softmin(quality: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Mean of each row, [n], weighted by the softmax of what is missing to 1."""
    missing = (1 - quality) / temperature
    weights = np.exp(missing - missing.max(axis=1, keepdims=True))
    return np.asarray((quality * weights).sum(axis=1) / weights.sum(axis=1))


def flag_multilabel(
    labels: ArrayLike,
    probabilities: Floats,
    *,
    filter_by: Filter = "prune_by_noise_rate",
    share: float = 1.0,
    keep_per_class: int = 1,
) -> Flags:
    """Flag the records of which some label is probably wrong, [n].

    A record is flagged where one of its classes is; the two filters by the lowest scores take the
    lowest scores of records instead, as many as `confident_learning` flags. Arguments as in
    `flag_classes`.
    """
    if filter_by not in {"low_self_confidence", "low_normalized_margin"}:
        flags = flag_classes(labels, probabilities, filter_by=filter_by, share=share, keep_per_class=keep_per_class)
        return np.asarray(flags.any(axis=1))
    count = int(flag_classes(labels, probabilities, filter_by="confident_learning").any(axis=1).sum())
    # With two answers the margin orders as the self-confidence does.
    return lowest(pool_quality(class_quality(labels, probabilities)), count)
