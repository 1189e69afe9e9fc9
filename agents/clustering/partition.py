"""Clusters of vectors, their number chosen by the data.

1. Each text is linked to the texts that share its nearest neighbours, and communities of that
   graph are found at resolutions from fine to coarse (`labelspace.agents.clustering.graph`).
2. The same is done on random halves of the texts. Structure that is there comes out of every
   half; where a resolution splits or lumps at will, two halves disagree. How many communities
   there are where the halves agree best is the number of clusters: the geometric mean over the
   resolutions, each weighing less the less the halves agree on it. (Stability, as in Ben-Hur,
   Elisseeff and Guyon 2002 and Lange et al. 2004. Agreement is adjusted mutual information on
   texts that both halves have, so that many clusters gain nothing by chance.)
3. Communities tell well what is close and badly where to stop: in dense data some hold five
   topics and others half of one. So the finest are merged by Ward's criterion until that number
   is left, on vectors that have been moved towards those of their neighbours in the graph (a graph
   convolution, as in Zhang et al. 2019). Then each text moves to the cluster nearest to itself.
4. For a second level each text names the clusters nearest to it besides its own; the communities
   of that graph of clusters, at the resolution 1 of plain modularity, are the groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.agents.clustering.graph import Labels, communities, modularity, nearest, shared_neighbours
from labelspace.progress import Progress

_NEIGHBOURS = 15
_RESOLUTIONS = tuple(64 * 2 ** (-step / 2) for step in range(15))
"""64 down to 0.5, each 1.41 times the next."""
_FEWEST_HALVES, _MOST_HALVES, _TEXTS_IN_ALL = 8, 24, 30_000
"""How many halves are drawn: few texts need more of them for a sure figure, and cost less."""
_AGREEMENT_SCALE = 0.1
"""A resolution counts for 1/e of the best where halves disagree so much more, as a share of how they disagree there."""
_AT_MOST = 20_000
"""Texts that the clusters are found on; the others join the nearest, so that time stays bounded."""
_SMOOTHINGS = 2
"""Times that each vector moves halfway to the mean of its neighbours."""
_MOVES = 2
"""Times that each text moves to the nearest cluster."""
_GROUPINGS = 30
"""Attempts at groups, of which the one of the highest modularity is kept."""
_VOTES = 3
"""Clusters that each text names as its next nearest, where there are enough to choose from."""


@dataclass(frozen=True)
class Clusters:
    """What belongs together."""

    leaf: Labels
    """Cluster of each row, counted from 0, the largest first; -1 for a row of zeros."""
    group: Labels
    """Group of each cluster, counted from 0; -1 for a cluster that stands alone."""

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return len(self.group)

    @property
    def top(self) -> Labels:
        """Group of each row, a cluster that stands alone being one of its own; -1 for a row of zeros."""
        alone = np.where(self.group < 0, self.group.max(initial=-1) + 1 + np.arange(self.count), self.group)
        return np.where(self.leaf < 0, -1, alone[self.leaf]) if self.count else self.leaf


def cluster(
    vectors: npt.NDArray[np.float32], *, levels: int = 1, max_labels: int | None = None, seed: int = 0
) -> Clusters:
    """Cluster rows of length 1; the number of clusters follows from the data.

    Args:
        vectors: Embeddings [n, d]; rows of zeros are left out.
        levels: 1, or 2 to put the clusters into groups as well.
        max_labels: At most so many clusters.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    used = np.flatnonzero(vectors.any(axis=1))
    leaf = np.full(len(vectors), -1, dtype=np.int64)
    if not len(used):
        return Clusters(leaf, np.zeros(0, dtype=np.int64))
    rows, copies = _distinct(vectors[used])
    sample = np.arange(len(rows))
    if len(rows) > _AT_MOST:
        sample = np.sort(rng.choice(len(rows), _AT_MOST, replace=False))
    found = _find(rows[sample], max_labels, rng)
    if len(sample) < len(rows):
        found = _nearest_cluster(rows, centroids(rows[sample], found))
    # Copies count in full here: a text that came a hundred times is a cluster in its own right.
    found = _dissolve_small(vectors[used], found[copies])
    rank = np.empty(int(found.max()) + 1, dtype=np.int64)
    rank[np.argsort(-np.bincount(found), kind="stable")] = np.arange(len(rank))
    leaf[used] = rank[found]
    groups = np.full(len(rank), -1, dtype=np.int64)
    if levels == 2:
        groups = _group(vectors[used], leaf[used], rng)
    return Clusters(leaf, groups)


def centroids(vectors: npt.NDArray[np.float32], labels: Labels) -> npt.NDArray[np.float32]:
    """Mean direction of each cluster, of length 1: [clusters, d]."""
    from scipy.sparse import csr_matrix

    size = len(labels)
    member = csr_matrix((np.ones(size, np.float32), (labels, np.arange(size))), shape=(int(labels.max()) + 1, size))
    sums = np.asarray(member @ vectors, dtype=np.float32)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    directions: npt.NDArray[np.float32] = sums / np.maximum(lengths, 1e-9)
    return directions


def _distinct(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Labels]:
    """Rows without copies, and for each given row its place among them.

    Copies would fill each other's neighbours and cut themselves off from the rest.
    """
    seen: dict[bytes, int] = {}
    places = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in vectors], dtype=np.int64)
    return vectors[np.unique(places, return_index=True)[1]], places


def _find(vectors: npt.NDArray[np.float32], max_labels: int | None, rng: np.random.Generator) -> Labels:
    """Clusters of distinct rows, at the resolution that is most stable."""
    size = len(vectors)
    if size < 4:
        return np.zeros(size, dtype=np.int64)
    count = min(_NEIGHBOURS, max(3, size // 8))
    near = nearest(vectors, 2 * count)
    wanted = min(max(_TEXTS_IN_ALL // size, _FEWEST_HALVES), _MOST_HALVES)
    with Progress("clustering", total=wanted + 1, unit="runs") as bar:
        halves = []
        for _ in range(wanted):
            half = np.sort(rng.permutation(size)[: (size + 1) // 2])
            parts = communities(shared_neighbours(_within(near, half, size, count)), _RESOLUTIONS, rng)
            labels = np.full((len(_RESOLUTIONS), size), -1, dtype=np.int64)
            labels[:, half] = parts
            halves.append(labels)
            bar.advance()
        graph = shared_neighbours(near[:, :count])
        levels = communities(graph, _RESOLUTIONS, rng)
        bar.advance()
    number = _how_many(levels, _agreement(halves))
    smooth = _smooth(vectors, graph)
    found = _merge(smooth, levels[0], min(number, max_labels or number))
    for _ in range(_MOVES):
        found = _nearest_cluster(vectors, centroids(vectors, found))
    return found


def _within(near: Labels, half: Labels, size: int, count: int) -> Labels:
    """Neighbours that each row of `half` has within it, as places in it; -1 where there are fewer than `count`."""
    place = np.full(size, -1, dtype=np.int64)
    place[half] = np.arange(len(half))
    found = place[near[half]]
    order = np.argsort(found < 0, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(found, order, axis=1)


def _agreement(halves: list[Labels]) -> npt.NDArray[np.float64]:
    """Adjusted mutual information between halves at each resolution; NaN where one community is most of a half.

    There the halves agree, if at all, on what is left over: on the texts in another language, say.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    agreement = np.full(len(_RESOLUTIONS), np.nan)
    for level in range(len(_RESOLUTIONS)):
        labelled = [labels[level] for labels in halves]
        if any(np.bincount(labels + 1)[1:].max() > 0.5 * (labels >= 0).sum() for labels in labelled):
            continue
        scores = []
        for one, two in pairwise([*labelled, labelled[0]]):
            both = (one >= 0) & (two >= 0)
            scores.append(adjusted_mutual_info_score(one[both], two[both]))
        agreement[level] = np.mean(scores)
    return agreement


def _how_many(levels: list[Labels], agreement: npt.NDArray[np.float64]) -> int:
    """How many clusters there are where agreement is high; communities too small to be a label don't count."""
    size = len(levels[0])
    sizes = [np.bincount(labels) for labels in levels]
    counts = np.array([max(1, int((members >= _least(size)).sum())) for members in sizes])
    # Halves agree on single texts, too, each being its own community.
    broken = np.array([members[members < _least(size)].sum() > 0.5 * size for members in sizes])
    most = max(size / 10, size**0.5)
    usable = ~np.isnan(agreement) & ~broken & (counts <= most)
    if not usable.any():
        return max(1, min(int(counts[-1]), int(most)))
    counts, agreement = counts[usable], agreement[usable]
    best = agreement.max()
    weights = np.exp((agreement - best) / max(_AGREEMENT_SCALE * (1 - best), 1e-6))
    return max(1, round(float(np.exp((weights * np.log(counts)).sum() / weights.sum()))))


def _smooth(vectors: npt.NDArray[np.float32], graph: Any) -> npt.NDArray[np.float32]:
    """Vectors moved towards their neighbours, of length 1."""
    strength = np.asarray(graph.sum(axis=1), dtype=np.float32)
    for _ in range(_SMOOTHINGS):
        moved = vectors + np.asarray(graph @ vectors, dtype=np.float32) / np.maximum(strength, 1e-9)
        vectors = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    return vectors


def _nearest_cluster(vectors: npt.NDArray[np.float32], means: npt.NDArray[np.float32]) -> Labels:
    """Cluster whose mean is nearest to each row; numbers without gaps."""
    return np.unique((vectors @ means.T).argmax(axis=1), return_inverse=True)[1].astype(np.int64)


def _least(size: int) -> int:
    """The fewest of `size` texts that make a label."""
    return max(2, round(math.sqrt(size) / 8))


def _dissolve_small(vectors: npt.NDArray[np.float32], labels: Labels) -> Labels:
    """Give the members of clusters too small to be a label to the nearest other cluster."""
    sizes = np.bincount(labels)
    kept = np.flatnonzero(sizes >= _least(len(labels)))
    if not len(kept):
        return np.zeros(len(labels), dtype=np.int64)
    moved = ~np.isin(labels, kept)
    labels = labels.copy()
    if moved.any():
        means = centroids(vectors, labels)[kept]
        labels[moved] = kept[(vectors[moved] @ means.T).argmax(axis=1)]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _merge(vectors: npt.NDArray[np.float32], labels: Labels, count: int) -> Labels:
    """Merge clusters by Ward's criterion until `count` are left, following chains of nearest neighbours."""
    sizes = np.bincount(labels).astype(np.float64)
    sums = np.zeros((len(sizes), vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    means, merges, chain = sums / sizes[:, None], [], list[int]()
    active = np.ones(len(sizes), dtype=bool)
    while active.sum() > 1:
        if not chain:
            chain.append(int(active.argmax()))
        last = chain[-1]
        costs = ((means - means[last]) ** 2).sum(axis=1) * sizes * sizes[last] / (sizes + sizes[last])
        costs[~active] = costs[last] = np.inf
        near = int(costs.argmin())
        if len(chain) > 1 and costs[chain[-2]] <= costs[near]:
            other = chain[-2]
            merges.append((float(costs[other]), last, other))
            whole = sizes[last] + sizes[other]
            means[last] = (means[last] * sizes[last] + means[other] * sizes[other]) / whole
            sizes[last], active[other] = whole, False
            del chain[-2:]
        else:
            chain.append(near)
    owner = np.arange(len(sizes))
    for _, one, two in sorted(merges)[: max(0, len(sizes) - count)]:
        owner[owner == owner[two]] = owner[one]
    merged: Labels = np.unique(owner[labels], return_inverse=True)[1].astype(np.int64)
    return merged


def _group(vectors: npt.NDArray[np.float32], labels: Labels, rng: np.random.Generator) -> Labels:
    """Group of each cluster; -1 where it stands alone, or all would be in one."""
    from scipy.sparse import csr_matrix

    size = int(labels.max()) + 1
    alone = np.full(size, -1, dtype=np.int64)
    if size < 4:
        return alone
    # What all texts share would blur which clusters are nearest.
    own = vectors - vectors.mean(axis=0)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-9)
    likeness = own @ centroids(own, labels).T
    likeness[np.arange(len(labels)), labels] = -np.inf
    votes = min(_VOTES, max(1, size // 8))
    named = np.argpartition(-likeness, votes - 1, axis=1)[:, :votes]
    weights = np.maximum(np.take_along_axis(likeness, named, axis=1), 0)
    graph = csr_matrix((weights.ravel(), (np.repeat(labels, votes), named.ravel())), shape=(size, size))
    graph = (graph + graph.T).tocsr()
    attempts = [communities(graph, [1.0], rng)[0] for _ in range(_GROUPINGS)]
    groups = max(attempts, key=lambda attempt: modularity(graph, attempt))
    members = np.bincount(groups)
    if (members > 1).sum() < 2:
        return alone
    order = np.cumsum(members > 1) - 1
    return np.where(members[groups] > 1, order[groups], -1)
