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
_ROUNDING = 4e-6
"""More, as a share of a squared length, than single precision takes away from what is left of it."""
FEW = 100
"""Vectors left from which on they are compared whole at once."""


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
        self.longest = _longest(self.vectors)

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k, of equals the first."""
        query = np.asarray(query, np.float32)
        scores: Vectors = self.vectors @ query
        if k >= len(scores) // 4:
            return _settled(self.vectors, np.arange(len(scores)), query, k)
        least = np.partition(scores, len(scores) - k)[len(scores) - k] - _slack(query, self.longest)
        return _settled(self.vectors, np.flatnonzero(scores >= least), query, k)


class ScreenedIndex:
    """Every dot product that can matter: exact, and many times faster than all of them where vectors are no noise.

    Vectors are turned so that their first coordinates hold most of their length (principal axes). The part of a
    dot product that lies in the first coordinates is computed for all; the rest is at most the product of the lengths
    of what is left (Cauchy-Schwarz). Whatever can't reach the k-th best score even so is out. What is left goes
    through more coordinates, and what is left then is compared whole. The first coordinates of 100,000 vectors
    fit into a processor's cache, all of them do not.
    """

    def __init__(self, vectors: Vectors, *, widths: tuple[int, ...] = (39, 78, 157, 252)) -> None:
        """Turn the vectors; takes a second for 100,000.

        Args:
            vectors: [n, d].
            widths: Coordinates after which vectors are screened.
        """
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.longest = _longest(self.vectors)
        _, axes = np.linalg.eigh((self.vectors.T @ self.vectors).astype(np.float64))
        turn = np.ascontiguousarray(axes[:, ::-1], dtype=np.float32)
        edges = [0, *(width for width in widths if width < self.vectors.shape[1])]
        self._parts = []
        lengths = (self.vectors.astype(np.float64) ** 2).sum(axis=1)
        for start, end in pairwise(edges):
            part = self.vectors @ turn[:, start:end]
            lengths = np.maximum(lengths - (part.astype(np.float64) ** 2).sum(axis=1), 0)
            left = np.sqrt(lengths + _ROUNDING * float(self.longest) ** 2).astype(np.float32)
            # The length of what is left is one more coordinate: its product with that of the query is the bound.
            # (With it, rows are multiples of eight numbers long, which BLAS is half as fast again with.)
            axes = np.ascontiguousarray(turn[:, start:end].T)
            self._parts.append((axes, np.ascontiguousarray(np.hstack([part, left[:, None]])), left))

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k, of equals the first."""
        query = np.asarray(query, np.float32)
        if not self._parts or k > _BLOCKS // 8 or len(self.vectors) < 2 * _BLOCKS:
            return ExactIndex.search(self, query, k)  # type: ignore[arg-type]
        whole = rest = float(query @ query)
        slack = _slack(query, self.longest)
        least = np.float32(-np.inf)
        alive: Places | None = None  # all
        known: Vectors | None = None  # nothing
        for axes, part, left in self._parts:
            turned = axes @ query
            rest = max(rest - float(turned @ turned), 0.0)
            length = np.float32(np.sqrt(rest + _ROUNDING * whole))
            rows, lengths = (part, left) if alive is None else (part.take(alive, axis=0), left.take(alive))
            bound: Vectors = rows @ np.append(turned, length)
            if known is not None:
                bound += known
            likely = _best_of_blocks(bound, 2 * k + 40) if alive is None else alive[_highest(bound, 3 * k)]
            least = max(least, self._reached(likely, query, k) - slack)
            kept = np.flatnonzero(bound >= least)
            # To pick rows out one by one pays only where they are few.
            if alive is not None or len(kept) < len(self.vectors) // 12:
                bound, lengths = bound.take(kept), lengths.take(kept)
                alive = kept if alive is None else alive.take(kept)
            if alive is not None and len(alive) <= FEW:
                break
            known = bound - lengths * length
        return _settled(self.vectors, kept if alive is None else alive, query, k)

    def _reached(self, places: Places, query: Vectors, k: int) -> np.float32:
        """A score that k vectors surely reach: the k-th best at these places."""
        scores: Vectors = self.vectors.take(places, axis=0) @ query
        best: np.float32 = np.partition(scores, -k)[-k]
        return best


def _longest(vectors: Vectors) -> np.float32:
    """Length of the longest vector."""
    found: np.float32 = np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0))
    return found


def _slack(query: Vectors, longest: np.float32) -> np.float32:
    """More than single precision can be wrong by in a product with one of the vectors."""
    found: np.float32 = np.float32(1e-5) * longest * np.float32(np.linalg.norm(query))
    return found


def _settled(vectors: Vectors, places: Places, query: Vectors, k: int) -> tuple[Places, Vectors]:
    """The best k of these places: in double precision, so that equal vectors have equal scores in whatever company."""
    scores = (vectors.take(places, axis=0).astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = np.argsort(-scores, kind="stable")[:k]
    return places[order], scores[order]


def _highest(scores: Vectors, count: int) -> Places:
    """Places of the highest scores, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(scores, -count)[-count:]


def _best_of_blocks(scores: Vectors, count: int) -> Places:
    """Places of high scores: the best of each block, of the best blocks. Much faster than the best of all."""
    size = len(scores) // _BLOCKS
    blocks = scores[: size * _BLOCKS].reshape(size, _BLOCKS)  # a block is a column
    chosen = _highest(blocks.max(axis=0), count)
    found: Places = blocks[:, chosen].argmax(axis=0) * _BLOCKS + chosen
    return found


_ALONE = 2_000
"""Nodes of a graph that are added one after another, before threads add the rest."""


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
        keys = np.arange(len(self.vectors))
        # Nodes that several threads add at once do not see each other: where there are few, that tears holes.
        self._graph.add(keys[:_ALONE], self.vectors[:_ALONE], threads=1)
        if len(keys) > _ALONE:
            self._graph.add(keys[_ALONE:], self.vectors[_ALONE:])

    def search(self, query: Vectors, k: int) -> tuple[Places, Vectors]:
        """The best k that the graph finds; their scores and order are exact."""
        query = np.asarray(query, np.float32)
        found = np.sort(self._graph.search(query, min(2 * k, len(self.vectors))).keys.astype(np.intp))
        return _settled(self.vectors, found, query, k)
