"""Neighbours: a query needs what the queries most like it needed, by meaning or by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed.base import Embedder, Vectors

FLOOR = 1e-3
"""Share below which a tool counts as not found: scores are logarithms, and must not be minus infinity."""


class Neighbours(Retriever):
    """Log of the share that each tool has among the nearest usages, weighted by exp(sharpness * cosine)."""

    name = "neighbours"

    def __init__(
        self,
        tools: ToolSet,
        usages: Sequence[Usage],
        embedder: Embedder,
        *,
        k: int = 30,
        sharpness: float = 20.0,
        vectors: Vectors | None = None,
    ) -> None:
        """Keep the usages.

        Args:
            tools: The tools; others in `usages` are passed over.
            usages: Queries with their tools.
            embedder: For queries.
            k: Usages that count.
            sharpness: How much more the nearest count.
            vectors: Embeddings of the usages [n, d], if they are at hand.
        """
        super().__init__(tools.space)
        self.embedder, self.k, self.sharpness = embedder, k, sharpness
        self.needs = needs_of(tools, usages)
        self.vectors = embedder.embed([usage.query for usage in usages]) if vectors is None else vectors
        self._needs = as_matrix(self.needs, len(tools))

    def scores(self, queries: Sequence[str]) -> Floats:
        """Logarithms of the shares [n, k], at least log(FLOOR)."""
        near: Floats = self.embedder.embed(queries) @ self.vectors.T
        return log_shares_of(near, self._needs, k=self.k, sharpness=self.sharpness)


class Nearest(Retriever):
    """The highest cosine of the query and any usage of a tool: one case that is just like this one."""

    name = "nearest"

    def __init__(
        self, tools: ToolSet, usages: Sequence[Usage], embedder: Embedder, *, vectors: Vectors | None = None
    ) -> None:
        """Keep the usages; see `Neighbours`."""
        super().__init__(tools.space)
        self.embedder = embedder
        self.needs = needs_of(tools, usages)
        self.vectors = embedder.embed([usage.query for usage in usages]) if vectors is None else vectors
        pairs = sorted((tool, row) for row, needed in enumerate(self.needs) for tool in needed)
        self._rows = np.array([row for _, row in pairs], dtype=np.intp)
        found = np.array([tool for tool, _ in pairs], dtype=np.intp)
        self._tools, self._starts = np.unique(found, return_index=True)

    def scores(self, queries: Sequence[str]) -> Floats:
        """Cosines [n, k]; -1 for a tool that was never used."""
        asked = self.embedder.embed(queries)
        found = np.full((len(asked), len(self.tools)), -1, np.float32)
        if len(self._rows):
            near = (asked @ self.vectors.T)[:, self._rows]
            found[:, self._tools] = np.maximum.reduceat(near, self._starts, axis=1)
        return found


class Wording(Retriever):
    """`Neighbours` by the words and letters that queries share (TF-IDF) instead of by meaning."""

    name = "wording"

    def __init__(self, tools: ToolSet, usages: Sequence[Usage], *, k: int = 30, sharpness: float = 10.0) -> None:
        """Keep the usages; see `Neighbours`."""
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        super().__init__(tools.space)
        self.usages, self.k, self.sharpness = tuple(usages), k, sharpness
        texts = [usage.query for usage in usages]
        kinds: tuple[dict[str, Any], ...] = (
            {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
            {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2 if len(texts) >= 100 else 1},
        )
        self._counters = [TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **kind) for kind in kinds]
        # Each kind has rows of length 1, so that together they have the length of the root of two.
        counted = hstack([counter.fit_transform(texts) for counter in self._counters], format="csr")
        self.vectors: Any = counted / np.float32(np.sqrt(2))
        self._needs = as_matrix(needs_of(tools, usages), len(tools))

    def scores(self, queries: Sequence[str]) -> Floats:
        """Logarithms of the shares [n, k], at least log(FLOOR)."""
        return log_shares_of(self.similar(queries), self._needs, k=self.k, sharpness=self.sharpness)

    def similar(self, queries: Sequence[str]) -> Floats:
        """Cosines of queries and usages [n, usages]."""
        found: Floats = (self.counted(queries) @ self.vectors.T).toarray()
        return found

    def counted(self, queries: Sequence[str]) -> Any:
        """TF-IDF of queries [n, words], sparse, rows of length 1."""
        from scipy.sparse import csr_matrix, hstack

        if not len(queries):  # which scikit-learn refuses
            return csr_matrix((0, self.vectors.shape[1]), dtype=np.float32)
        asked = hstack([counter.transform(queries) for counter in self._counters], format="csr")
        return asked / np.float32(np.sqrt(2))


def needs_of(tools: ToolSet, usages: Sequence[Usage]) -> list[list[int]]:
    """Numbers of the tools that each usage needs; tools that are not in the set are passed over."""
    place = {name: i for i, name in enumerate(tools.names)}
    return [[place[name] for name in usage.tools if name in place] for usage in usages]


def as_matrix(needs: Sequence[Sequence[int]], width: int) -> Any:
    """1 where a usage needs a tool, sparse [usages, tools]."""
    from scipy.sparse import csr_matrix

    at = np.concatenate([[0], np.cumsum([len(row) for row in needs])])
    flat = np.array([i for row in needs for i in row], dtype=np.int64)
    return csr_matrix((np.ones(len(flat), np.float32), flat, at), shape=(len(needs), width))


def log_shares_of(near: Floats, needs: Any, *, k: int, sharpness: float) -> Floats:
    """Log of the share of each tool among the k nearest usages.

    Args:
        near: Similarity of queries and usages [n, usages].
        needs: See `as_matrix`.
        k: Usages that count.
        sharpness: A usage weighs e to the power of its similarity times this.
    """
    from scipy.sparse import csr_matrix

    k = min(k, near.shape[1])
    best = np.argpartition(-near, k - 1, axis=1)[:, :k]
    weight = np.take_along_axis(near, best, axis=1).astype(np.float64)
    weight = np.exp(sharpness * (weight - weight.max(axis=1, keepdims=True, initial=-1)))
    weight /= weight.sum(axis=1, keepdims=True)
    at = np.arange(len(near) + 1) * k
    shares = csr_matrix((weight.ravel(), best.ravel(), at), shape=near.shape) @ needs
    found: Floats = np.log(shares.toarray() + FLOOR).astype(np.float32)
    return found
