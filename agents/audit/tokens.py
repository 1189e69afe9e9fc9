"""Confident learning for tagged tokens: the tokens of all texts are one long list of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.confident import Floats
from labelspace.agents.audit.filters import Filter, flag_labels
from labelspace.agents.audit.multilabel import softmin
from labelspace.agents.audit.scores import Score, label_quality, rank_flags
from labelspace.errors import ConfigError, DataError


def _flat(tags: Sequence[Sequence[int]], probabilities: Sequence[Floats]) -> tuple[NDArray[np.int64], Floats]:
    if len(tags) != len(probabilities):
        raise DataError(f"there are {len(tags)} tagged texts and {len(probabilities)} arrays of scores")
    for at, (given, rows) in enumerate(zip(tags, probabilities, strict=True)):
        if len(given) != len(rows):
            raise DataError(
                f"text {at} (counted from 0) has {len(given)} tags and {len(rows)} rows of scores",
                advice="give one row of scores a token",
            )
    if not any(len(given) for given in tags):
        raise DataError("there are no tokens", advice="give at least one text with tags")
    flat = np.concatenate([np.asarray(given, np.int64) for given in tags])
    return flat, np.concatenate([np.asarray(rows) for rows in probabilities if len(rows)])


def flag_tokens(
    tags: Sequence[Sequence[int]],
    probabilities: Sequence[Floats],
    *,
    filter_by: Filter = "prune_by_noise_rate",
    score: Score = "self_confidence",
    share: float = 1.0,
    keep_per_class: int = 1,
) -> list[tuple[int, int]]:
    """Find the tokens whose tag is probably wrong.

    Args:
        tags: Class numbers by text and token.
        probabilities: One array a text, [tokens, k].
        filter_by: As in `flag_labels`.
        score: What to order the tokens by.
        share: As in `flag_labels`.
        keep_per_class: As in `flag_labels`.

    Returns:
        (text, token) positions, the worst tag first.
    """
    flat, rows = _flat(tags, probabilities)
    flags = flag_labels(flat, rows, filter_by=filter_by, share=share, keep_per_class=keep_per_class)
    worst = rank_flags(flags, label_quality(flat, rows, score=score))
    starts = np.cumsum([0, *(len(given) for given in tags)])
    texts = np.searchsorted(starts, worst, side="right") - 1
    return [(int(text), int(at - starts[text])) for text, at in zip(texts, worst, strict=True)]


def token_quality(
    tags: Sequence[Sequence[int]],
    probabilities: Sequence[Floats],
    *,
    score: Score = "self_confidence",
    pooling: Literal["min", "softmin"] = "min",
    temperature: float = 0.05,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Score each text and each of its tokens, 0 surely wrong to 1 surely right.

    Args:
        tags: Class numbers by text and token.
        probabilities: One array a text, [tokens, k].
        score: As in `label_quality`.
        pooling: A text is as good as its worst tag (`min`), or the mean of its tags weighted
            towards the worst (`softmin`).
        temperature: Of the softmin.

    Returns:
        One score a text, [n], NaN where it has no tokens; and one array of token scores a text.
    """
    flat, rows = _flat(tags, probabilities)
    quality = label_quality(flat, rows, score=score)
    by_text = np.split(quality, np.cumsum([len(given) for given in tags])[:-1])
    if pooling not in {"min", "softmin"}:
        raise ConfigError(f"no pooling named {pooling!r}; there are: min, softmin")
    pooled = np.full(len(tags), np.nan)
    for at, scores in enumerate(by_text):
        if len(scores):
            pooled[at] = scores.min() if pooling == "min" else softmin(scores[None], temperature)[0]
    return pooled, by_text
