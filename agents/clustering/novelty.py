"""Labels that are missing: what fits no label is clustered, and clusters that have grown are proposed.

Some texts never fit: chat, mistakes, texts between two labels. They were there before, so what fits nowhere now is
clustered together with what fitted nowhere in the reference, and a cluster is new where a larger share of all rows is
in it now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelspace.agents.clustering.naming import name_clusters
from labelspace.agents.clustering.partition import cluster
from labelspace.embed import Embedder, fit_embedder
from labelspace.metrics.drift import benjamini_hochberg

FEWEST = 5
"""Texts now that make a candidate."""


@dataclass(frozen=True)
class Candidate:
    """A label that may be missing."""

    name: str
    description: str
    examples: tuple[str, ...]
    rows: tuple[int, ...]
    """Places of its texts among those that fit nowhere now."""
    before: int
    """Texts of the reference in it."""
    p: float | None
    """Of Fisher's one-sided test that its share has grown, None where there is no reference. Corrected (Benjamini and
    Hochberg): of the candidates below a level, that share is wrong on average at most."""

    def is_new(self, alpha: float) -> bool:
        """Whether it has grown; without a reference nothing is known against it."""
        return self.p is None or self.p < alpha


def find_candidates(
    now: Sequence[str],
    before: Sequence[str],
    *,
    rows: tuple[int, int | None],
    embedder: Embedder,
    fit_on: Sequence[str] = (),
    taken: Sequence[str] = (),
    seed: int = 0,
) -> tuple[int, list[Candidate]]:
    """Cluster what fits nowhere.

    Args:
        now: Texts that fit nowhere now.
        before: Those of the reference.
        rows: All rows that could have fitted, now and in the reference; None where its texts are not known.
        embedder: What texts are compared by.
        fit_on: Texts that an embedder which learns from texts learns from, besides `now` and `before`.
        taken: Names that labels have already.
        seed: Of everything random.

    Returns:
        The number of clusters, estimated from the data, and those with at least `FEWEST` texts now: the surest first.
    """
    from scipy.stats import fisher_exact

    texts = [*now, *before]
    if sum(bool(text.strip()) for text in now) < FEWEST:
        return 0, []
    vectors = fit_embedder(embedder, [*texts, *fit_on]).embed(texts)
    leaf = cluster(vectors, seed=seed).leaf
    named = name_clusters(texts, vectors, leaf, taken=taken)
    inside = [np.flatnonzero(leaf[: len(now)] == number).tolist() for number in range(len(named))]
    earlier = [int((leaf[len(now) :] == number).sum()) for number in range(len(named))]
    raw: list[float] = []
    if rows[1] is not None:
        for own, old in zip(inside, earlier, strict=True):
            table = [[len(own), rows[0] - len(own)], [old, rows[1] - old]]
            raw.append(float(fisher_exact(table, alternative="greater")[1]))
    corrected: Sequence[float | None] = benjamini_hochberg(raw) if raw else [None] * len(named)
    found = [
        Candidate(one.name, one.description, one.examples, tuple(own), old, p)
        for one, own, old, p in zip(named, inside, earlier, corrected, strict=True)
        if len(own) >= FEWEST
    ]
    return len(named), sorted(found, key=lambda one: (one.p or 0.0, -len(one.rows)))
