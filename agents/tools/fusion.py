"""Several stages as one: a weighted sum of their scores, with weights that make held-out queries likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.agents.tools.linear import loss_and_slope
from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.usage import Usage
from labelspace.errors import ConfigError, DataError


class Fusion(Retriever):
    """A weighted sum of scores of stages over the same tools: the logits of a conditional logit model."""

    name = "fusion"

    def __init__(self, stages: Sequence[Retriever], weights: Sequence[float]) -> None:
        """Take stages and weights; `of` finds the weights.

        Raises:
            ConfigError: There are no stages, they rank different tools, or a weight is missing.
        """
        if not stages or len(stages) != len(weights):
            raise ConfigError(f"a fusion needs a weight for each stage: {len(stages)} stages, {len(weights)} weights")
        for stage in stages[1:]:
            if stage.tools != stages[0].tools:
                raise ConfigError(f"the stages {stages[0].name!r} and {stage.name!r} rank different tools")
        super().__init__(stages[0].label_space)
        self.stages, self.weights = tuple(stages), tuple(map(float, weights))

    @classmethod
    def of(cls, stages: Sequence[Retriever], dev: Sequence[Usage]) -> Fusion:
        """Choose the weights on held-out usages.

        Raises:
            DataError: No usage in `dev` needs any of the tools.
        """
        queries = [usage.query for usage in dev]
        wanted = wanted_tools(stages[0].tools, dev) if stages else np.zeros((0, 0), np.float32)
        return cls(stages, fit_weights([stage.scores(queries) for stage in stages], wanted))

    def scores(self, queries: Sequence[str]) -> Floats:
        """The weighted sum of what the stages say [n, k]."""
        total: Floats = np.zeros((len(queries), len(self.tools)), np.float32)
        for stage, weight in zip(self.stages, self.weights, strict=True):
            if weight:
                total += np.float32(weight) * stage.scores(queries)
        return total


def wanted_tools(tools: Sequence[str], usages: Sequence[Usage]) -> Floats:
    """1 where a usage needs a tool [n, k]; tools that are not in the set are passed over."""
    place = {name: i for i, name in enumerate(tools)}
    wanted = np.zeros((len(usages), len(tools)), np.float32)
    for i, usage in enumerate(usages):
        wanted[i, [place[name] for name in usage.tools if name in place]] = 1
    return wanted


def fit_weights(scores: Sequence[Floats], wanted: Floats) -> list[float]:
    """Weights, none negative, under which the needed tools are likeliest.

    Maximises the mean over queries of the mean log-softmax of their needed tools. Few numbers are
    fitted, so that a few hundred queries suffice.

    Args:
        scores: For each stage [n, k].
        wanted: [n, k], 1 where a query needs a tool.

    Raises:
        DataError: No query needs any of the tools.
    """
    from scipy.optimize import minimize

    rows = np.flatnonzero(wanted.sum(axis=1))
    if not len(rows):
        raise DataError("no usage needs any of these tools, so there is nothing to choose weights by")
    share = wanted[rows] / wanted[rows].sum(axis=1, keepdims=True)
    stack = [stage[rows] for stage in scores]
    # Stages differ in scale by orders of magnitude; in units of their spread the search is well behaved.
    units = [float(stage.std()) or 1.0 for stage in stack]

    def value_and_slope(weights: npt.NDArray[np.float64]) -> tuple[float, Any]:
        logits = sum((np.float32(w / u) * s for w, u, s in zip(weights, units, stack, strict=True)), np.float32(0))
        value, slope = loss_and_slope(np.asarray(logits, np.float32), share.astype(np.float32), "softmax")
        slopes = [float((slope * s).sum(dtype=np.float64)) / u for s, u in zip(stack, units, strict=True)]
        return value / len(rows), np.array(slopes) / len(rows)

    start = np.full(len(stack), 1.0)
    done = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(stack))
    return [float(weight / unit) for weight, unit in zip(done.x, units, strict=True)]
