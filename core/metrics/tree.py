"""Measures that know the tree: a wrong answer near the right one is less wrong.

Hierarchical precision and recall are those of Kiritchenko et al. (2005), "Functional annotation of
genes using hierarchical text categorization": both sets are extended by their ancestors, without
the common root, and counted over all rows together. Labels that the space lacks hang right under
the root.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labelspace.metrics.cells import Answer, Cells, FloatArray, group
from labelspace.space import LabelSpace


class HierarchicalScore(NamedTuple):
    """Ancestor-augmented precision, recall and F1; NaN where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


def hierarchical_f1(gold: Sequence[Answer], predicted: Sequence[Answer], *, space: LabelSpace) -> HierarchicalScore:
    """Precision, recall and F1 over labels and all their ancestors."""
    cells = group(gold, predicted)
    scores = hierarchical_of(extended_sizes(cells, space) @ cells.rows)
    return HierarchicalScore(*(float(score) for score in scores))


def mean_tree_distance(gold: Sequence[Answer], predicted: Sequence[Answer], *, space: LabelSpace) -> float:
    """Mean number of edges between gold label and answer; a row without an answer stands at the root."""
    cells = group(gold, predicted)
    return float(distances(cells, space) @ cells.rows / len(cells)) if len(cells) else float("nan")


def matched_tree_distance(gold: Sequence[str], clusters: Sequence[str | None], *, space: LabelSpace) -> float:
    """Mean number of edges in the gold tree between a row's gold label and the node that its cluster stands for.

    A cluster stands for the node, on any level, that is nearest to its rows in sum: one that holds a whole branch
    stands for its root, and is as far from the leaves as that. A row without a cluster stands at the common root.

    Args:
        gold: Labels of the gold space.
        clusters: Discovered labels, of any vocabulary.
        space: The gold tree.
    """
    cells = group(gold, [None if name is None else [name] for name in clusters])
    return float(matched_distances(cells, space) @ cells.rows / len(cells)) if len(cells) else float("nan")


def level_accuracy(gold: Sequence[Answer], predicted: Sequence[Answer], *, space: LabelSpace) -> list[float]:
    """Accuracy at each level, the top first, over the rows whose gold label reaches that deep."""
    cells = group(gold, predicted)
    there, right = level_hits(cells, space)
    return [float(hit @ cells.rows / (has @ cells.rows)) for has, hit in zip(there, right, strict=True)]


def path_of(space: LabelSpace, name: str) -> tuple[str, ...]:
    """Names from the top down to `name`; the name alone where the space does not have it."""
    return space.path(name) if name in space else (name,)


# -- over cells, for the bootstrap ---------------------------------------------------------------


def extended_sizes(cells: Cells, space: LabelSpace) -> FloatArray:
    """Right, true and given labels of a row, ancestors counted; shape [3, cells]."""
    paths = {name: path_of(space, name) for name in cells.names}
    sizes = np.zeros((3, len(cells.patterns)))
    for column, sides in enumerate(cells.patterns):
        gold, given = ({above for name in side for above in paths[name]} for side in sides)
        sizes[:, column] = len(gold & given), len(gold), len(given)
    return sizes


def hierarchical_of(sums: FloatArray) -> FloatArray:
    """Precision, recall and F1, shape [3, ...], from summed right, true and given, shape [3, ...]."""
    hit, gold, given = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([hit / given, hit / gold, 2 * hit / (gold + given)])


def distances(cells: Cells, space: LabelSpace) -> FloatArray:
    """Edges between gold label and answer of single-label cells; shape [cells]."""
    found = np.zeros(len(cells.patterns))
    for column, (gold, given) in enumerate(cells.patterns):
        one, two = ([path_of(space, name) for name in side] or [()] for side in (gold, given))
        found[column] = _apart(one[0], two[0])
    return found


def matched_distances(cells: Cells, space: LabelSpace) -> FloatArray:
    """Edges between gold label and the node that the cluster stands for; shape [cells]."""
    inside: dict[tuple[str, ...], list[tuple[tuple[str, ...], int]]] = {}
    for (gold, given), rows in zip(cells.patterns, cells.rows.tolist(), strict=True):
        inside.setdefault(given, []).append((path_of(space, gold[0]), rows))
    nodes = {given: _nearest_node(paths) if given else () for given, paths in inside.items()}
    return np.array([float(_apart(path_of(space, gold[0]), nodes[given])) for gold, given in cells.patterns])


def level_hits(cells: Cells, space: LabelSpace) -> tuple[FloatArray, FloatArray]:
    """Whether gold reaches each level, and whether the answer agrees down to there; both [levels, cells]."""
    paths = [[path_of(space, names[0]) if names else () for names in pattern] for pattern in cells.patterns]
    depth = max((len(gold) for gold, _ in paths), default=0)
    there, right = np.zeros((2, depth, len(paths)))
    for column, (gold, given) in enumerate(paths):
        there[: len(gold), column] = 1
        right[: _shared(gold, given), column] = 1
    return there, right


def _nearest_node(paths: list[tuple[tuple[str, ...], int]]) -> tuple[str, ...]:
    """The path of the node that is the fewest edges away from rows at the ends of these paths, in sum."""
    above = {path[:depth] for path, _ in paths for depth in range(len(path) + 1)}
    sums = {node: sum(rows * _apart(path, node) for path, rows in paths) for node in above}
    return min(sorted(above), key=sums.__getitem__)


def _apart(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    """Edges between the ends of two paths."""
    return len(one) + len(two) - 2 * _shared(one, two)


def _shared(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    """How many names two paths have in common from the top."""
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
