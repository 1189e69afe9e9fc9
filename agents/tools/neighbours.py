"""k nearest neighbours: a query needs what the queries most like it needed."""

from __future__ import annotations

from collections.abc import Sequence

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
        from scipy.sparse import csr_matrix

        super().__init__(tools.space)
        self.embedder, self.k, self.sharpness = embedder, k, sharpness
        place = {name: i for i, name in enumerate(tools.names)}
        self.needs = [[place[name] for name in usage.tools if name in place] for usage in usages]
        self.vectors = embedder.embed([usage.query for usage in usages]) if vectors is None else vectors
        at = np.concatenate([[0], np.cumsum([len(row) for row in self.needs])])
        flat = np.array([i for row in self.needs for i in row], dtype=np.int64)
        self._needs = csr_matrix((np.ones(len(flat), np.float32), flat, at), shape=(len(usages), len(tools)))

    def scores(self, queries: Sequence[str]) -> Floats:
        """Logarithms of the shares [n, k], at least log(FLOOR)."""
        from scipy.sparse import csr_matrix

        near: Floats = self.embedder.embed(queries) @ self.vectors.T
        k = min(self.k, near.shape[1])
        best = np.argpartition(-near, k - 1, axis=1)[:, :k]
        weight = np.take_along_axis(near, best, axis=1).astype(np.float64)
        weight = np.exp(self.sharpness * (weight - weight.max(axis=1, keepdims=True, initial=-1)))
        weight /= weight.sum(axis=1, keepdims=True)
        at = np.arange(len(near) + 1) * k
        shares = csr_matrix((weight.ravel(), best.ravel(), at), shape=near.shape) @ self._needs
        found: Floats = np.log(shares.toarray() + FLOOR).astype(np.float32)
        return found
