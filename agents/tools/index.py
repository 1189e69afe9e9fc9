"""Search among many vectors: exactly, or approximately through a graph."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from labelspace.embed.base import Vectors
from labelspace.errors import ConfigError, MissingExtra

Places = npt.NDArray[np.intp]


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
        return ExactIndex(vectors)
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
