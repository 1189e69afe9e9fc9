"""MLC by words: one linear layer over the words and letters of a query, learnt as kernel ridge regression.

A layer over an embedding finds what a query is about; two requests in one are about something between them. Words
add up: what each of them says of the tools is still there in a longer query. Least squares has one optimum, and
conjugate gradients find it for all tools at once, so there is no randomness and no learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from labelspace.agents.tools.neighbours import Wording, as_matrix, needs_of
from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage

PENALTY = 0.5
"""Added to the similarity of each usage with itself, which is 1. No other was tried."""
STEPS = 24
"""Of conjugate gradients: on 15,556 usages the squares left over are a hundredth of what half as many leave."""
FLOOR = 0.02
"""Added to what the layer says, about 0 to 1, before the logarithm: below it there is nothing to tell apart."""


class WordingMLC(Retriever):
    """Log of what a linear layer over TF-IDF of words and letters says of each tool."""

    name = "wording-mlc"

    def __init__(self, wording: Wording, dual: Floats) -> None:
        """Take usages and what each weighs for each tool [usages, k]; `of` finds it."""
        super().__init__(wording.label_space)
        self.wording, self.dual = wording, dual

    @classmethod
    def of(cls, tools: ToolSet, usages: Sequence[Usage], *, penalty: float = PENALTY, steps: int = STEPS) -> WordingMLC:
        """Train on usages.

        Args:
            tools: The tools; others in `usages` are passed over.
            usages: Queries with their tools.
            penalty: Pull of the weights to 0.
            steps: At most so many of conjugate gradients.
        """
        wording = Wording(tools, usages)
        wanted = as_matrix(needs_of(tools, usages), len(tools)).toarray()
        return cls(wording, fit_ridge(wording.vectors, wanted, penalty=penalty, steps=steps))

    def scores(self, queries: Sequence[str]) -> Floats:
        """Logarithms of what the layer says [n, k], at least log(FLOOR)."""
        found: Floats = np.log(np.maximum(self.wording.counted(queries) @ self.weights, 0) + np.float32(FLOOR))
        return found

    @cached_property
    def weights(self) -> Floats:
        """What each word or piece of one says of each tool [words, k]: many more numbers than `dual`."""
        found: Floats = self.wording.vectors.T @ self.dual
        return found


def fit_ridge(vectors: Any, wanted: Floats, *, penalty: float, steps: int) -> Floats:
    """Solve (X X^T + penalty I) A = Y by conjugate gradients, a column at a time but all at once.

    Args:
        vectors: X, sparse [n, words].
        wanted: Y [n, k].
        penalty: Above 0.
        steps: At most.

    Returns:
        A [n, k], so that X^T A is the weight of each word for each tool.
    """
    transposed = vectors.T.tocsr()
    dual, left = np.zeros_like(wanted), wanted.copy()
    way, size = left.copy(), (left * left).sum(axis=0)
    for _ in range(steps):
        if float(size.max(initial=0)) < 1e-6:
            break
        turned = vectors @ (transposed @ way) + np.float32(penalty) * way
        length = size / np.maximum((way * turned).sum(axis=0), 1e-12)
        dual += length * way
        left -= length * turned
        before, size = size, (left * left).sum(axis=0)
        way = left + (size / np.maximum(before, 1e-12)) * way
    found: Floats = dual
    return found
