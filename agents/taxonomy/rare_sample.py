"""Draw documents so that rare topics are among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelspace.agents.clustering.graph import Labels, nearest

Rows = npt.NDArray[np.float32]
_VARIED = 0.75
"""Share of the sample that is drawn for variety; the rest is drawn at random."""
_LOOKED_AT = 200_000
"""Rows, drawn at random, among which variety is sought."""
_NEIGHBOURS = 5
"""Nearest rows that each row is averaged with."""
_COHERENCE = 16
"""Power to which the length of that average is taken: what has no like is rarely drawn."""
_AT_ONCE = 16
"""Middles that are drawn before the distances from them are known."""
_EXACT, _GROUP, _ROUNDS = 20_000, 1_000, 4
"""Of more rows, neighbours are sought within groups of about so many, and so many times in other groups."""


def rare_sample(vectors: Rows, count: int, *, seed: int = 0) -> Labels:
    """Positions of `count` rows, sorted: a quarter at random, the rest from regions that lie apart.

    Middles of regions are drawn (`middles`), and each gives the row that lies nearest to it, then each a second where
    there are fewer regions than rows wanted. The random quarter keeps the sample near what is common.

    Args:
        vectors: Embeddings [n, d], rows of length 1 or 0.
        count: Rows wanted; all where there are no more.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    if len(vectors) <= count:
        return np.arange(len(vectors))
    order = rng.permutation(len(vectors))
    varied = round(_VARIED * count)
    chosen = np.zeros(len(vectors), dtype=bool)
    chosen[order[: count - varied]] = True
    pool = np.sort(order[:_LOOKED_AT]) if len(order) > _LOOKED_AT + count else np.arange(len(order))
    cell, likeness = middles(vectors[pool], max(1, varied), rng)
    free = ~chosen[pool]
    left, cell, likeness = pool[free], cell[free], likeness[free]
    by_cell = np.lexsort((-likeness, cell))
    chosen[left[in_turns(by_cell, cell, rng)][: count - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def in_turns(by_cell: Labels, cell: Labels, rng: np.random.Generator) -> Labels:
    """Rows in the order in which cells give them: the first of each, then the second of each, and so on.

    Args:
        by_cell: Rows [n], cell by cell.
        cell: Of each row, by its place [n].
        rng: Draws the order of the cells in each turn.
    """
    sizes = np.bincount(cell)
    turn = np.arange(len(by_cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    given: Labels = by_cell[np.lexsort((rng.random(len(by_cell)), turn))]
    return given


def middles(vectors: Rows, count: int, rng: np.random.Generator) -> tuple[Labels, Rows]:
    """Draw at most `count` middles of regions; the region of each row, and its likeness to the middle.

    Each row is first averaged with its nearest others, which takes away most of what is its own. The longer the
    average, the more alike are the rows: a topic, however rare, has rows that are alike, and an oddity has none.
    Middles are then drawn with a probability that rises with that length and with the fourth power of the distance from
    all before. (The seeding of k-means++ takes the square, and no length; Arthur and Vassilvitskii 2007. There
    oddities, which are far from everything, take most of the draws.)
    """
    near = nearest(vectors, _NEIGHBOURS) if len(vectors) <= _EXACT else near_in_groups(vectors, _NEIGHBOURS, rng)
    rows = vectors.copy()
    for neighbour in near.T:
        rows += vectors[neighbour]
    length = np.linalg.norm(rows, axis=1)
    rows /= np.maximum(length, 1e-9)[:, None]
    weight = (length / (near.shape[1] + 1)).astype(np.float64) ** _COHERENCE + 1e-12
    cell, likeness = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), -1.0, dtype=np.float32)
    drawn, reach = 0, np.cumsum(weight)
    least = 1e-10 * reach[-1]  # less is left where all rows are copies of those drawn
    while drawn < count and reach[-1] > least:
        times = 1 if drawn == 0 else min(_AT_ONCE, count - drawn)
        at = np.minimum(np.searchsorted(reach, rng.random(times) * reach[-1]), len(rows) - 1)
        found = rows @ rows[at].T
        best = found.argmax(axis=1)
        most = found[np.arange(len(rows)), best]
        closer = most > likeness
        cell[closer], likeness[closer] = drawn + best[closer], most[closer]
        drawn += times
        reach = np.cumsum(np.maximum(1 - likeness, 0).astype(np.float64) ** 2 * weight)
    return cell, likeness


def near_in_groups(vectors: Rows, count: int, rng: np.random.Generator) -> Labels:
    """The most similar other rows of each, sought among those that are nearest to the same random row: [n, count].

    Not all are found, which an average can do without. A group that is too small gives a row itself.
    """
    size = len(vectors)
    found = np.repeat(np.arange(size)[:, None], count, axis=1)
    likeness = np.full((size, count), -1.0, dtype=np.float32)
    for _ in range(_ROUNDS):
        pivots = vectors[rng.choice(size, -(-size // _GROUP), replace=False)]
        group = (vectors @ pivots.T).argmax(axis=1)
        order = np.argsort(group, kind="stable")
        for inside in np.split(order, np.cumsum(np.bincount(group, minlength=len(pivots)))[:-1]):
            if len(inside) <= count:
                continue
            # Of one that is too large, parts: an average needs alike rows, and not the very nearest.
            for part in np.array_split(rng.permutation(inside), -(-len(inside) // (4 * _GROUP))):
                near = part[nearest(vectors[part], count)]
                own = np.einsum("nd,nkd->nk", vectors[part], vectors[near])
                both, like = np.hstack([found[part], near]), np.hstack([likeness[part], own])
                rank = np.argsort(both, axis=1, kind="stable")
                both, like = np.take_along_axis(both, rank, 1), np.take_along_axis(like, rank, 1)
                like[:, 1:][both[:, 1:] == both[:, :-1]] = -2
                best = np.argsort(-like, axis=1, kind="stable")[:, :count]
                found[part], likeness[part] = np.take_along_axis(both, best, 1), np.take_along_axis(like, best, 1)
    return found
