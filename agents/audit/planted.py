"""Planted errors: labels made wrong on purpose, so that a flagger can be measured where the truth is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelspace.errors import ConfigError

Noise = Literal["uniform", "confusable"]
NEAR = 3
"""A confusable label is one of this many nearest ones."""


def plant_errors(
    has: NDArray[np.bool_],
    *,
    rate: float,
    noise: Noise = "uniform",
    similarity: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Replace one label by a wrong one in a share of the records.

    Args:
        has: Which labels each record has, [n, k]; records with none are left alone.
        rate: Share of the records to make wrong, in [0, 1].
        noise: `uniform` replaces by any other label, `confusable` by one of the three most similar.
        similarity: How similar labels are, [k, k]; needed for `confusable`.
        seed: Of the draws.

    Returns:
        The labels with errors, [n, k], and which records were made wrong, [n].
    """
    if noise == "confusable" and similarity is None:
        raise ConfigError("confusable errors need the similarity of the labels")
    generator = np.random.default_rng(seed)
    n = len(has)
    labelled = np.flatnonzero(has.any(axis=1))
    chosen = generator.choice(labelled, size=round(rate * len(labelled)), replace=False)
    after = has.copy()
    wrong = np.zeros(n, bool)
    for at in chosen:
        old = int(generator.choice(np.flatnonzero(has[at])))
        open_labels = np.flatnonzero(~has[at])
        if noise == "confusable" and similarity is not None:
            open_labels = open_labels[np.argsort(-similarity[old, open_labels], kind="stable")][:NEAR]
        if not len(open_labels):
            continue
        after[at, old] = False
        after[at, int(generator.choice(open_labels))] = True
        wrong[at] = True
    return after, wrong


def label_similarity(vectors: NDArray[np.float32], has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosine of the mean vectors of the records of each label, [k, k]."""
    sums = has.T.astype(np.float64) @ vectors
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return np.asarray(means @ means.T)
