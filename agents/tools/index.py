"""Search among many vectors: exactly, or approximately through a graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from labelspace.embed.base import Vectors
from labelspace.errors import ConfigError, MissingExtra

Places = npt.NDArray[np.intp]


MANY = 10_000
"""Vectors from which on screening pays."""
_BLOCKS = 1_000


class Index(Protocol):
    """Finds the vectors with the highest dot product with a query."""

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """Places and scores of the best k for one query [d], best first."""
        ...


def make_index(vectors: Vectors, kind: str = "exact") -> Index:
    """Make an index.

    Raises:
        ConfigError: There is no such kind.
        MissingExtra: The approximate index is not installed.
    """
    if kind == "exact":
        return ScreenedIndex(vectors) if len(vectors) >= MANY else ExactIndex(vectors)
    if kind == "approximate":
        return GraphIndex(vectors)
    raise ConfigError(f"there is no index {kind!r}; there are: exact, approximate")


class ExactIndex:
    """Every dot product."""

    def __init__(self, vectors: Vectors) -> None:
        """Keep the vectors [n, d]."""
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k, of equals the first."""
        return best_of(self.vectors @ np.asarray(query, np.float32), k)


class ScreenedIndex:
    """Every dot product that can matter: exact, and many times faster than all of them where vectors are no noise.

    Vectors are turned so that their first coordinates hold most of their length (principal axes). The part of a
    dot product that lies in the first coordinates is computed for all; the rest is at most the product of the lengths
    of what is left (Cauchy-Schwarz). Whatever can't reach the k-th best score even so is out. What is left goes
    through more coordinates, and then through all. Where little falls out, all products are computed.
    """

    def __init__(self, vectors: Vectors, *, widths: tuple[int, ...] = (32, 64, 160)) -> None:
        """Turn the vectors; takes a second for 100,000.

        Args:
            vectors: [n, d].
            widths: Coordinates after which vectors are screened.
        """
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        _, axes = np.linalg.eigh((self.vectors.T @ self.vectors).astype(np.float64))
        self._axes = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        edges = [0, *(width for width in widths if width < self.vectors.shape[1])]
        self._parts = []
        lengths = (self.vectors.astype(np.float64) ** 2).sum(axis=1)
        for start, end in pairwise(edges):
            part = np.ascontiguousarray(self.vectors @ self._axes[:, start:end])
            lengths = np.maximum(lengths - (part.astype(np.float64) ** 2).sum(axis=1), 0)
            # Rounded up, so that the bound holds in spite of single precision.
            left = (np.sqrt(lengths) * 1.00001 + 1e-6).astype(np.float32)
            self._parts.append((start, end, part, left))

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k, of equals the first."""
        query = np.asarray(query, np.float32)
        if not self._parts or k > _BLOCKS // 8:
            return best_of(self.vectors @ query, k)
        turned = query @ self._axes
        slack = np.float32(1e-5 * np.linalg.norm(query))
        _, end, part, left = self._parts[0]
        known = part @ turned[:end]
        least = self._reached(_best_of_blocks(known, 4 * k + 100), query, k) - slack
        bound = left * np.linalg.norm(turned[end:])
        bound += known
        alive = np.flatnonzero(bound >= least)
        known = known[alive]
        for start, end, part, left in self._parts[1:]:
            if len(alive) > len(self.vectors) // 3:
                return best_of(self.vectors @ query, k)
            known += part.take(alive, axis=0) @ turned[start:end]
            # More is known of fewer now, so that more can be asked of them.
            likely = alive[np.argpartition(known, -2 * k)[-2 * k :]] if len(alive) > 4 * k else alive
            least = max(least, self._reached(likely, query, k) - slack)
            kept = np.flatnonzero(known + left[alive] * np.linalg.norm(turned[end:]) >= least)
            alive, known = alive[kept], known[kept]
        places, scores = best_of(self.vectors.take(alive, axis=0) @ query, k)
        return alive[places], scores

    def _reached(self, places: Places, query: Vectors, k: int) -> np.float32:
        """A score that k vectors surely reach: the k-th best at these places."""
        scores: Vectors = self.vectors.take(places, axis=0) @ query
        best: np.float32 = np.partition(scores, -k)[-k]
        return best


def _best_of_blocks(scores: Vectors, count: int) -> Places:
    """Places of high scores: the best of each block, of the best blocks. Much faster than the best of all."""
    count = min(count, _BLOCKS)
    size = len(scores) // _BLOCKS
    blocks = scores[: size * _BLOCKS].reshape(_BLOCKS, size)
    chosen = np.argpartition(blocks.max(axis=1), -count)[-count:]
    found: Places = chosen * size + blocks[chosen].argmax(axis=1)
    return found


class GraphIndex:
    """A navigable small-world graph (HNSW, through usearch), with the scores computed anew: nearly exact, and fast."""

    def __init__(self, vectors: Vectors, *, connectivity: int = 24, effort: int = 128) -> None:
        """Build the graph; takes about a second for ten thousand vectors.

        Args:
            vectors: [n, d].
            connectivity: Edges of a node.
            effort: Nodes kept in view while searching: more are slower and miss less.
        """
        try:
            from usearch.index import Index as Graph
        except ImportError as error:
            raise MissingExtra("usearch", "tools") from error
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._graph: Any = Graph(
            ndim=self.vectors.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=connectivity,
            expansion_add=128,
            expansion_search=effort,
        )
        self._graph.add(np.arange(len(self.vectors)), self.vectors)

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k that the graph finds; their scores and order are exact."""
        query = np.asarray(query, np.float32)
        found = np.sort(self._graph.search(query, min(2 * k, len(self.vectors))).keys.astype(np.intp))
        places, scores = best_of(self.vectors[found] @ query, k)
        return found[places], scores


def best_of(scores: Vectors, k: int) -> tuple[Places, Vectors]:
    """Places and values of the k highest scores [n], highest first, of equals the first."""
    if k < len(scores) // 4:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores >= least)
        places = above[np.argsort(-scores[above], kind="stable")][:k]
    else:
        places = np.argsort(-scores, kind="stable")[:k]
    return places, scores[places]
