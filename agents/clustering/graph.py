"""Communities in a graph of nearest neighbours.

A text belongs with the texts whose neighbours are its own: shared neighbours hold where distances
mean little, as they do between hundreds of dimensions (Ertöz, Steinbach and Kumar 2003). The
communities are found as in Blondel et al. 2008 (Louvain) with a resolution (Reichardt and
Bornholdt 2006), coarser ones starting from the finer, and every text being moved once more at
each resolution, which mends most of what plain Louvain gets wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
"""One community for each node, counted from 0 without gaps."""

_BLOCK_CELLS = 32_000_000
"""Similarities held at once: 128 MB."""


def nearest(vectors: npt.NDArray[np.float32], count: int) -> Labels:
    """The most similar other rows of each row, most similar first: [n, count]."""
    size = len(vectors)
    count = min(count, size - 1)
    found = np.empty((size, count), dtype=np.int64)
    step = max(1, _BLOCK_CELLS // size)
    for start in range(0, size, step):
        likeness = vectors[start : start + step] @ vectors.T
        here = np.arange(len(likeness))
        likeness[here, start + here] = -np.inf
        near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(likeness, near, axis=1), axis=1, kind="stable")
        found[start : start + step] = np.take_along_axis(near, order, axis=1)
    return found


def shared_neighbours(near: Labels) -> Any:
    """Graph of neighbours weighted by how many they share: sparse symmetric [n, n].

    Args:
        near: Neighbours of each node; -1 where there are fewer.
    """
    from scipy.sparse import csr_matrix, identity

    size = len(near)
    known = near >= 0
    rows = np.repeat(np.arange(size), known.sum(axis=1))
    linked = csr_matrix((np.ones(len(rows)), (rows, near[known])), shape=(size, size))
    around = linked + identity(size, format="csr")
    common = (around @ around.T).multiply(linked.maximum(linked.T)).tocoo()
    reach = np.asarray(around.sum(axis=1)).ravel()
    jaccard = common.data / (reach[common.row] + reach[common.col] - common.data)
    return csr_matrix((jaccard, (common.row, common.col)), shape=(size, size))


def communities(graph: Any, resolutions: Sequence[float], rng: np.random.Generator) -> list[Labels]:
    """Communities of a graph at each resolution; the higher, the more there are.

    Args:
        graph: Weights, sparse symmetric [n, n], none on the diagonal.
        resolutions: In descending order: each starts from the communities of the one before.
        rng: Decides the order in which nodes are visited.
    """
    size, total = graph.shape[0], float(graph.sum())
    if total == 0:
        return [np.arange(size)] * len(resolutions)
    strength = np.asarray(graph.sum(axis=1)).ravel()
    labels = np.arange(size)
    coarse, weights, found = graph, strength, []
    for resolution in resolutions:
        for _ in range(2):
            while True:
                merged = _move(coarse, weights, resolution / total, rng.permutation(coarse.shape[0]))
                if merged.max() + 1 == coarse.shape[0]:
                    break
                labels = merged[labels]
                coarse, weights = _contract(coarse, merged), np.bincount(merged, weights)
            before = labels
            labels = _move(graph, strength, resolution / total, rng.permutation(size), labels)
            coarse, weights = _contract(graph, labels), np.bincount(labels, strength)
            if np.array_equal(before, labels):
                break
        found.append(labels)
    return found


def modularity(graph: Any, labels: Labels, resolution: float = 1.0) -> float:
    """Share of the weight within communities, less what chance would put there."""
    total = float(graph.sum())
    if total == 0:
        return 0.0
    pairs = graph.tocoo()
    inside = float(pairs.data[labels[pairs.row] == labels[pairs.col]].sum()) / total
    share = np.bincount(labels, np.asarray(graph.sum(axis=1)).ravel()) / total
    return inside - resolution * float((share**2).sum())


def _contract(graph: Any, labels: Labels) -> Any:
    """The graph between communities; weights within one end up on its diagonal."""
    from scipy.sparse import csr_matrix

    size = len(labels)
    member = csr_matrix((np.ones(size), (np.arange(size), labels)), shape=(size, int(labels.max()) + 1))
    return (member.T @ graph @ member).tocsr()


def _move(
    graph: Any, strength: npt.NDArray[np.float64], price: float, order: Labels, start: Labels | None = None
) -> Labels:
    """Move single nodes to the neighbouring community that they gain most by, until none gains.

    Plain lists, not arrays: the loop is over a handful of neighbours at a time. A node is visited
    again only when a neighbour has moved (as in Traag, Waltman and van Eck 2019).
    """
    starts, ends, heads = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
    own = strength.tolist()
    labels = list(range(len(own))) if start is None else start.tolist()
    sums = np.bincount(labels, strength, minlength=len(own)).tolist()
    queue, waiting = deque(order.tolist()), [True] * len(own)
    while queue:
        node = queue.popleft()
        waiting[node] = False
        here, cost = labels[node], price * own[node]
        links: dict[int, float] = {}
        for at in range(starts[node], starts[node + 1]):
            if ends[at] != node:
                community = labels[ends[at]]
                links[community] = links.get(community, 0.0) + heads[at]
        sums[here] -= own[node]
        best, most = here, links.get(here, 0.0) - cost * sums[here]
        for community, weight in links.items():
            gain = weight - cost * sums[community]
            if gain > most + 1e-10:
                best, most = community, gain
        sums[best] += own[node]
        if best != here:
            labels[node] = best
            for at in range(starts[node], starts[node + 1]):
                other = ends[at]
                if labels[other] != best and not waiting[other]:
                    waiting[other] = True
                    queue.append(other)
    return np.unique(np.asarray(labels, dtype=np.int64), return_inverse=True)[1].astype(np.int64)
