"""MLC over frozen embeddings: one linear layer that says of every tool whether a query needs it.

Trained to its optimum by L-BFGS, so there is no randomness and no learning rate. Two losses: binary
cross-entropy of each tool, and the softmax form that the reference code of arXiv 2409.02141 computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed.base import Embedder, Vectors

Loss = Literal["bce", "softmax"]
BIAS = 1.0
"""Strength of the pull on the bias, as a share of that on the weights: 0 would let it run off for rare tools."""


class LinearMLC(Retriever):
    """Linear multi-label classification of frozen embeddings."""

    name = "mlc"

    def __init__(self, tools: ToolSet, embedder: Embedder, weights: Vectors, bias: Floats) -> None:
        """Take a trained layer: weights [k, d] and bias [k]; `of` trains one."""
        super().__init__(tools.space)
        self.embedder, self.weights, self.bias = embedder, weights, bias

    @classmethod
    def of(
        cls,
        tools: ToolSet,
        usages: Sequence[Usage],
        embedder: Embedder,
        *,
        loss: Loss = "softmax",
        strength: float = 10.0,
        rounds: int = 200,
    ) -> LinearMLC:
        """Train on usages.

        Args:
            tools: The tools; others in `usages` are passed over.
            usages: Queries with their tools.
            embedder: Frozen.
            loss: `softmax` (minus log-softmax summed over the needed tools) ranks better; `bce` gives
                a probability for each tool by itself.
            strength: Inverse of the L2 penalty, as C of scikit-learn.
            rounds: At most so many iterations.
        """
        place = {name: i for i, name in enumerate(tools.names)}
        wanted = np.zeros((len(usages), len(tools)), np.float32)
        for i, usage in enumerate(usages):
            wanted[i, [place[name] for name in usage.tools if name in place]] = 1
        vectors = embedder.embed([usage.query for usage in usages])
        weights, bias = fit_linear(vectors, wanted, loss=loss, strength=strength, rounds=rounds)
        return cls(tools, embedder, weights, bias)

    def scores(self, queries: Sequence[str]) -> Floats:
        """Logits [n, k]."""
        found: Floats = self.embedder.embed(queries) @ self.weights.T + self.bias
        return found


def loss_and_slope(logits: Floats, wanted: Floats, loss: Loss) -> tuple[float, Floats]:
    """The loss summed over the queries, and its derivative by each logit [n, k].

    Args:
        logits: [n, k].
        wanted: [n, k], 1 where a query needs a tool.
        loss: `bce`: log(1 + e^z) - y z, summed over the tools. `softmax`: -log softmax(z), summed over the
            needed tools.
    """
    if loss == "bce":
        odds = np.exp(-np.abs(logits))
        value = np.maximum(logits, 0) + np.log1p(odds) - wanted * logits
        chance = np.where(logits >= 0, 1, odds) / (1 + odds)
        return float(value.sum(dtype=np.float64)), (chance - wanted).astype(np.float32)
    shifted = logits - logits.max(axis=1, keepdims=True)
    raised = np.exp(shifted)
    total = raised.sum(axis=1, keepdims=True)
    value = (np.log(total) - shifted) * wanted
    needed = wanted.sum(axis=1, keepdims=True)
    return float(value.sum(dtype=np.float64)), (raised / total * needed - wanted).astype(np.float32)


def fit_linear(
    vectors: Vectors, wanted: Floats, *, loss: Loss, strength: float, rounds: int = 200
) -> tuple[Vectors, Floats]:
    """Minimise the loss plus |weights|^2 / (2 strength).

    Returns:
        Weights [k, d] and bias [k].
    """
    from scipy.optimize import minimize

    rows, width = vectors.shape
    count = wanted.shape[1]
    with_one = np.hstack([vectors, np.full((rows, 1), BIAS, np.float32)])
    start = np.zeros((count, width + 1), np.float32)
    if loss == "bce":  # the odds of each tool in general: a good deal of the way
        share = (wanted.sum(axis=0) + 0.5) / (rows + 1)
        start[:, -1] = np.log(share / (1 - share)) / BIAS

    def value_and_slope(flat: npt.NDArray[np.float64]) -> tuple[float, Any]:
        layer = flat.reshape(count, width + 1).astype(np.float32)
        value, slope = loss_and_slope(with_one @ layer.T, wanted, loss)
        pulled = slope.T @ with_one + layer / strength
        return value + float((layer.astype(np.float64) ** 2).sum()) / (2 * strength), pulled.ravel().astype(np.float64)

    done = minimize(
        value_and_slope,
        start.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": rounds, "ftol": 1e-7, "maxcor": 10},
    )
    layer = done.x.reshape(count, width + 1).astype(np.float32)
    return layer[:, :-1].copy(), layer[:, -1] * BIAS
