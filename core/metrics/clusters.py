"""How well discovered labels agree with gold labels that have other names.

A row without a discovered label (None) counts against what asks for a match (purity, F1,
accuracy). Where a partition is compared as a whole (mutual information, Rand), such rows form one
cluster.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from labelspace.metrics.cells import Cells, Draw, FloatArray, group
from labelspace.metrics.classification import macro_f1_of

MATRIX_LIMIT = 40_000_000
"""Most pairs of a gold and a discovered label that a one-to-one matching is sought among."""


class VMeasure(NamedTuple):
    """Homogeneity (clusters hold one label), completeness (labels sit in one cluster), and their mean."""

    homogeneity: float
    completeness: float
    v: float


def nmi(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Mutual information over the arithmetic mean of the entropies; the same as the V-measure."""
    return v_measure(gold, clusters).v


def v_measure(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> VMeasure:
    """Homogeneity, completeness and their harmonic mean (Rosenberg and Hirschberg, 2007)."""
    cells = partition(gold, clusters)
    return VMeasure(*(float(value) for value in v_measure_of(whole(cells))[0]))


def ari(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average by chance."""
    cells = partition(gold, clusters)
    return float(ari_of(whole(cells))[0])


def ami(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Mutual information adjusted for chance (Vinh et al., 2010), arithmetic mean: 0 on average by chance."""
    return ami_of(partition(gold, clusters))


def purity(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Share of rows that have the most frequent gold label of their cluster: accuracy, many clusters to one label."""
    cells = partition(gold, clusters)
    return float(purity_of(whole(cells))[0])


def inverse_purity(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Share of rows that are in the cluster that holds most of their gold label."""
    cells = partition(gold, clusters)
    return float(purity_of(whole(cells), inverse=True)[0])


def one_to_one_accuracy(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Accuracy under the best pairing, each label and cluster used once (clustering accuracy, Hungarian)."""
    cells = partition(gold, clusters)
    return float(renamed(cells, one_to_one(cells, by="rows")).exact @ cells.rows / len(cells)) if len(cells) else 0.0


def one_to_one_f1(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Mean F1 of gold labels, each paired with at most one cluster of its own, as well as possible (Hungarian)."""
    cells = partition(gold, clusters)
    return float(macro_f1_of(renamed(cells, one_to_one(cells, by="f1")).counts()))


def many_to_one_f1(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> float:
    """Mean F1 of gold labels if each cluster is given the gold label that most of its rows have."""
    cells = partition(gold, clusters)
    return float(macro_f1_of(renamed(cells, many_to_one(cells)).counts()))


def partition(gold: Sequence[Hashable], clusters: Sequence[Hashable | None]) -> Cells:
    """Group rows by gold label and cluster, both by name."""
    return group([str(name) for name in gold], [None if name is None else str(name) for name in clusters])


# -- matching ------------------------------------------------------------------------------------


def many_to_one(cells: Cells) -> dict[str, str]:
    """The gold label that most rows of each cluster have; the first by name where several do."""
    best: dict[str, tuple[int, str]] = {}
    for (gold, given), rows in zip(cells.patterns, cells.rows.tolist(), strict=True):
        for cluster in given:
            best[cluster] = min(best.get(cluster, (0, "")), (-rows, gold[0]))
    return {cluster: name for cluster, (_, name) in best.items()}


def one_to_one(cells: Cells, *, by: str = "f1") -> dict[str, str]:
    """Pair clusters with gold labels, each used at most once, so that the sum over pairs is highest.

    Args:
        cells: Rows by gold label and cluster.
        by: What is summed: "f1" of a pair, or "rows" that it shares.

    Returns:
        Cluster to gold label; pairs that share no row are left out.
    """
    from scipy.optimize import linear_sum_assignment

    names = sorted({gold[0] for gold, _ in cells.patterns})
    clusters = sorted({given[0] for _, given in cells.patterns if given})
    if len(names) * len(clusters) > MATRIX_LIMIT:
        raise ValueError(f"{len(names)} labels and {len(clusters)} clusters are too many to pair one to one")
    shared = np.zeros((len(clusters), len(names)))
    row, column = ({name: at for at, name in enumerate(side)} for side in (clusters, names))
    in_label, in_cluster = np.zeros(len(names)), np.zeros(len(clusters))
    for (gold, given), rows in zip(cells.patterns, cells.rows.tolist(), strict=True):
        in_label[column[gold[0]]] += rows
        if given:
            in_cluster[row[given[0]]] += rows
            shared[row[given[0]], column[gold[0]]] = rows
    worth = shared if by == "rows" else 2 * shared / (in_cluster[:, None] + in_label[None, :])
    chosen = zip(*linear_sum_assignment(worth, maximize=True), strict=True)
    return {clusters[i]: names[j] for i, j in chosen if shared[i, j] > 0}


def renamed(cells: Cells, names: dict[str, str]) -> Cells:
    """The same cells with clusters called as in `names`; rows of the others count as not answered."""
    patterns = tuple(
        (gold, tuple(names[cluster] for cluster in given if cluster in names)) for gold, given in cells.patterns
    )
    gold_names = tuple(sorted({name for gold, _ in patterns for name in gold}))
    return Cells(gold_names, patterns, cells.rows)


def whole(cells: Cells) -> Draw:
    """The data itself as one resample."""
    return Draw(cells, cells.rows[None].astype(np.float64))


# -- over resampled cells, shape [resamples, cells] ------------------------------------------------


def v_measure_of(draw: Draw) -> FloatArray:
    """Homogeneity, completeness and V; shape [resamples, 3]."""
    gold, given, total = _margins(draw)
    of_gold, of_clusters, of_both = (_entropy(counts, total) for counts in (gold, given, draw.weights))
    shared = np.maximum(of_gold + of_clusters - of_both, 0.0)
    shared[shared < 1e-12] = 0.0  # what is left of rounding where the two are independent
    homogeneity, completeness = (
        np.divide(shared, entropy, out=np.ones_like(shared), where=entropy > 0) for entropy in (of_gold, of_clusters)
    )
    both = homogeneity + completeness
    v = np.divide(2 * homogeneity * completeness, both, out=np.zeros_like(both), where=both > 0)
    return np.stack([homogeneity, completeness, v], axis=-1)


def ari_of(draw: Draw) -> FloatArray:
    """Adjusted Rand index; shape [resamples]."""
    gold, given, total = _margins(draw)

    def pairs(counts: FloatArray) -> FloatArray:
        return np.asarray((counts * (counts - 1)).sum(-1) / 2)

    together, in_gold, in_clusters = pairs(draw.weights), pairs(gold), pairs(given)
    every = np.maximum(total * (total - 1) / 2, 1)
    expected = in_gold * in_clusters / every
    room = (in_gold + in_clusters) / 2 - expected
    # Without room both are one cluster, or both are all singletons: the partitions are the same.
    found: FloatArray = np.divide(together - expected, room, out=np.ones_like(room), where=np.abs(room) > 1e-12)
    return found


def purity_of(draw: Draw, *, inverse: bool = False) -> FloatArray:
    """Purity, or inverse purity; shape [resamples]. Rows without a cluster are never in a majority."""
    cells, total = draw.cells, draw.weights.sum(-1)
    kept = [at for at, (_, given) in enumerate(cells.patterns) if given]
    if not kept:
        return np.zeros_like(total)
    side = [cells.patterns[at][0 if inverse else 1][0] for at in kept]
    order = np.argsort(np.array(side, dtype=object), kind="stable")
    sorted_side = [side[at] for at in order]
    starts = [at for at, name in enumerate(sorted_side) if at == 0 or name != sorted_side[at - 1]]
    largest = np.maximum.reduceat(draw.weights[:, np.array(kept)[order]], starts, axis=-1)
    return np.asarray(largest.sum(-1) / np.maximum(total, 1))


def ami_of(cells: Cells) -> float:
    """Adjusted mutual information of the data itself (too dear for each resample)."""
    draw = whole(cells)
    gold, given, total = _margins(draw)
    sizes, others = gold[0][gold[0] > 0], given[0][given[0] > 0]
    if len(sizes) == len(others) <= 1:
        return 1.0
    of_gold, of_clusters, of_both = (float(_entropy(c, total)[0]) for c in (gold, given, draw.weights))
    shared = of_gold + of_clusters - of_both
    expected = _expected_information(sizes, others)
    room = (of_gold + of_clusters) / 2 - expected
    if abs(room) < 1e-12:
        return 1.0 if abs(shared - expected) < 1e-12 and len(sizes) == len(others) == total[0] else 0.0
    return (shared - expected) / room


def _expected_information(sizes: FloatArray, others: FloatArray) -> float:
    """Expected mutual information of random partitions with these cluster sizes (Vinh et al., eq. 24a)."""
    from scipy.special import gammaln

    n = float(sizes.sum())
    one, one_times = np.unique(sizes, return_counts=True)
    two, two_times = np.unique(others, return_counts=True)
    expected = 0.0
    for a, times in zip(one, one_times, strict=True):  # sizes repeat, so equal ones are done once
        low = np.maximum(1, a + two - n).astype(int)
        high = np.minimum(a, two).astype(int)
        lengths = high - low + 1
        b = np.repeat(two, lengths)
        m = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(low, lengths)
        log_probability = (
            gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1) - gammaln(n + 1)
            - gammaln(m + 1) - gammaln(a - m + 1) - gammaln(b - m + 1) - gammaln(n - a - b + m + 1)
        )  # fmt: skip
        terms = m / n * (np.log(n) + np.log(m) - np.log(a) - np.log(b)) * np.exp(log_probability)
        expected += float(times) * float(terms @ np.repeat(two_times, lengths))
    return expected


def _margins(draw: Draw) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows of each gold label and of each cluster, [resamples, *]; and of all, [resamples]."""
    total = draw.weights.sum(-1)
    unassigned = total - draw.counts.predicted.sum(-1)
    return draw.counts.gold, np.concatenate([draw.counts.predicted, unassigned[:, None]], axis=-1), total


def _entropy(counts: FloatArray, total: FloatArray) -> FloatArray:
    """Entropy in nats of counts [resamples, groups] that sum to `total` [resamples]."""
    share = counts / np.maximum(total, 1)[:, None]
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(share * logs).sum(-1))
