"""What the nearest texts say: disagreement with the k nearest, and near-duplicates with different labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelspace.errors import DataError

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
BLOCK = 1024
"""Rows that are compared with all others at once."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Nearest:
    """The k nearest others of each record, nearest first."""

    indices: NDArray[np.int64]
    """Positions, [n, k]; -1 where there are fewer."""
    similarities: NDArray[np.float32]
    """Cosines, [n, k]; 0 where there are fewer."""


def nearest(vectors: Vectors, *, k: int = 10) -> Nearest:
    """Find the k nearest others of each record, exactly, a block of rows at a time.

    Args:
        vectors: Embeddings, [n, d], rows of length 1 or zero (blank texts, which have no neighbours).
        k: How many to find.
    """
    n = len(vectors)
    k = min(k, max(n - 1, 0))
    indices, similarities = np.full((n, k), -1, np.int64), np.zeros((n, k), np.float32)
    blank = np.asarray(~vectors.any(axis=1))
    for start in range(0, n if k else 0, BLOCK):
        block = np.asarray(vectors[start : start + BLOCK] @ vectors.T, np.float32)
        at = np.arange(len(block))
        block[at, start + at] = -2
        block[:, blank] = -2
        top = np.argpartition(-block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, top, axis=1)
        order = np.lexsort((top, -values), axis=1)
        top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
        absent = (values < -1.5) | blank[start : start + len(block), None]
        indices[start : start + len(block)] = np.where(absent, -1, top)
        similarities[start : start + len(block)] = np.where(absent, 0, values)
    return Nearest(indices, similarities)


def neighbour_votes(found: Nearest, has: NDArray[np.bool_], *, temperature: float = 0.1) -> Floats:
    """Share of each label among the neighbours, weighted by similarity, [n, k].

    Args:
        found: The nearest of each record.
        has: Which labels each record has, [n, k].
        temperature: How fast the weight falls with similarity: a neighbour that is less similar by
            this much weighs 1/e of the other.

    Returns:
        Shares in [0, 1]; all zero for a record without neighbours.
    """
    votes = np.zeros(has.shape)
    if not found.indices.shape[1]:
        return votes
    present = found.indices >= 0
    scaled = np.where(present, found.similarities / temperature, -np.inf)
    highest = scaled.max(axis=1, keepdims=True)
    weights = np.where(present, np.exp(scaled - np.where(np.isfinite(highest), highest, 0)), 0)
    total = weights.sum(axis=1)
    for column in range(weights.shape[1]):
        votes += weights[:, column, None] * has[found.indices[:, column]]
    return np.asarray(np.divide(votes, total[:, None], out=np.zeros_like(votes), where=total[:, None] > 0))


def normalised(text: str) -> str:
    """A text without case, accents of form, punctuation and spacing: equal for copies that differ in these alone."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def duplicate_groups(
    texts: Sequence[str], *, found: Nearest | None = None, threshold: float = 0.95
) -> NDArray[np.int64]:
    """Number the groups of near-duplicates, [n]: records of one group are copies of each other.

    Copies are texts that are equal once normalised, and neighbours at least as similar as `threshold`.
    Groups are closed: a copy of a copy is in the group. Blank texts are alone.
    """
    parent = list(range(len(texts)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[str, int] = {}
    for at, text in enumerate(texts):
        if key := normalised(text):
            parent[root(at)] = root(first.setdefault(key, at))
    if found is not None:
        if len(found.indices) != len(texts):
            raise DataError(f"neighbours of {len(found.indices)} records were given for {len(texts)} texts")
        for at, column in zip(*np.nonzero((found.similarities >= threshold) & (found.indices >= 0)), strict=True):
            parent[root(int(at))] = root(int(found.indices[at, column]))
    roots = np.array([root(at) for at in range(len(texts))], np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)


def conflicts(groups: NDArray[np.int64], labels: Sequence[tuple[str, ...]]) -> dict[int, list[int]]:
    """The groups of near-duplicates whose records have different labels: group number to positions."""
    members: dict[int, list[int]] = {}
    for at, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(at)
    return {
        group: positions
        for group, positions in members.items()
        if len(positions) > 1 and len({frozenset(labels[at]) for at in positions}) > 1
    }
