"""Draw documents so that rare topics are among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelspace.agents.clustering.graph import Labels, nearest
from labelspace.agents.taxonomy.rare_sample import in_turns

_CELLS, _EACH = 512, 2
"""Cells that the documents are divided into, at most, and rows of the sample that each can give at least."""
_EVEN = 0.5
"""Share of the sample that is spread evenly over the cells; the rest is drawn at random."""
_LOOKED_AT = 10_000
"""Rows, drawn at random, among which the middles of cells are sought: ten of a topic of a tenth of a percent."""
_NEIGHBOURS = 5
"""Nearest rows that each of these is averaged with."""


def diverse_sample(vectors: npt.NDArray[np.float32], count: int, *, seed: int = 0) -> Labels:
    """Positions of `count` rows, sorted: half of them at random, half evenly from all regions.

    Regions grow around middles that are drawn far from each other, so that a rare topic gets one of its own. Each gives
    as many rows as any other, as far as it has them. The random half keeps the sample near what is common.

    This takes vectors in which topics lie apart, and fewer topics than a quarter of `count`; where each text is far
    from every other, as TF-IDF of short texts has it, the sample is no better than a random one.

    Args:
        vectors: Embeddings [n, d], rows of length 1 or 0.
        count: Rows wanted; all where there are no more.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    if len(vectors) <= count:
        return np.arange(len(vectors))
    order = rng.permutation(len(vectors))
    chosen = np.zeros(len(vectors), dtype=bool)
    chosen[order[: count - round(_EVEN * count)]] = True
    cells = max(1, min(_CELLS, round(_EVEN * count) // _EACH))
    cell = (vectors @ middles(vectors[order[:_LOOKED_AT]], cells, rng).T).argmax(axis=1)
    left = order[~chosen[order]]
    by_cell = left[np.argsort(cell[left], kind="stable")]
    chosen[in_turns(by_cell, cell[left], rng)[: count - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def middles(vectors: npt.NDArray[np.float32], count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """At most `count` directions that lie in the midst of rows and far from each other: [m, d].

    Each row is first averaged with its nearest others, which takes away most of what is its own: what is left apart is
    a topic, and no oddity. Directions are then drawn one by one with a probability that rises with the fourth power
    of the distance from all before. (The seeding of k-means++ takes the square; Arthur and Vassilvitskii 2007. There
    the many rows of common topics, each at a little distance, outweigh the few of a rare one.)
    """
    rows = vectors
    if len(vectors) > _NEIGHBOURS:
        near = nearest(vectors, _NEIGHBOURS)
        rows = vectors + vectors[near].sum(axis=1)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    drawn = [int(rng.integers(len(rows)))]
    distance = np.full(len(rows), np.inf)
    while len(drawn) < count:
        np.minimum(distance, np.maximum(1 - rows @ rows[drawn[-1]], 0), out=distance)
        reach = np.cumsum(distance**2)
        if reach[-1] <= 1e-9:  # all rows are copies of those drawn
            break
        drawn.append(min(int(np.searchsorted(reach, rng.random() * reach[-1])), len(rows) - 1))
    found: npt.NDArray[np.float32] = rows[drawn]
    return found
