"""Draw documents so that rare topics are among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelspace.agents.graph import Labels

_CELLS = 256
"""Cells that the documents are divided into."""
_EVEN = 0.5
"""Share of the sample that is spread evenly over the cells; the rest is drawn at random."""
_AT_MOST = 200_000
"""Of more rows, so many are drawn at random first, so that time and memory stay bounded."""


def diverse_sample(vectors: npt.NDArray[np.float32], count: int, *, seed: int = 0) -> Labels:
    """Positions of `count` rows, sorted: half of them at random, half evenly from all regions.

    Cells grow around rows that are drawn with a probability that rises with the squared distance from all that were
    drawn before (the seeding of k-means++; Arthur and Vassilvitskii 2007), so a topic far from the others gets a cell
    of its own, however rare it is. Each cell gives as many rows as any other, as far as it has them. The random half
    keeps the sample near what is common.

    Args:
        vectors: Embeddings [n, d], rows of length 1 or 0.
        count: Rows wanted; all where there are no more.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    pool = np.arange(len(vectors))
    if len(vectors) <= count:
        return pool
    if len(pool) > max(_AT_MOST, count):
        pool = np.sort(rng.choice(pool, max(_AT_MOST, count), replace=False))
    rows = vectors if len(pool) == len(vectors) else vectors[pool]
    chosen = np.zeros(len(rows), dtype=bool)
    order = rng.permutation(len(rows))
    chosen[order[: count - round(_EVEN * count)]] = True
    cell = cells(rows, min(_CELLS, count), rng)
    # The place of each row among those of its cell that are left: all firsts, then all seconds, and so on.
    left = order[~chosen[order]]
    by_cell = left[np.argsort(cell[left], kind="stable")]
    sizes = np.bincount(cell[left], minlength=int(cell.max()) + 1)
    turn = np.arange(len(left)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen[by_cell[np.lexsort((rng.random(len(left)), turn))][: count - int(chosen.sum())]] = True
    found: Labels = pool[chosen]
    return found


def cells(vectors: npt.NDArray[np.float32], count: int, rng: np.random.Generator) -> Labels:
    """The nearest of `count` seeds of each row, seeds being drawn far from each other: [n]."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    first = int(rng.integers(len(vectors)))
    nearest = np.zeros(len(vectors), dtype=np.int64)
    distance = _squared(vectors, squares, first)
    for number in range(1, count):
        total = float(distance.sum(dtype=np.float64))
        if total <= 0:  # all rows are copies of seeds
            break
        at = int(np.searchsorted(np.cumsum(distance, dtype=np.float64), rng.random() * total))
        here = _squared(vectors, squares, min(at, len(vectors) - 1))
        closer = here < distance
        nearest[closer] = number
        np.minimum(distance, here, out=distance)
    return nearest


def _squared(vectors: npt.NDArray[np.float32], squares: npt.NDArray[np.float32], at: int) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = np.maximum(squares + squares[at] - 2 * (vectors @ vectors[at]), 0.0)
    return found
