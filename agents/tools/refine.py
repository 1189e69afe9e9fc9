"""A second stage: candidates of a first, scored anew by something that looks at them together."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Protocol

import numpy as np

from labelspace.agents.tools.fusion import fit_weights, wanted_tools
from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.usage import Usage
from labelspace.errors import ConfigError


class Refiner(Protocol):
    """Scores candidates of a first stage; `ToolRefiner` in `finetune` is one."""

    @property
    def classes_(self) -> tuple[str, ...]:
        """Names of the tools: the columns."""
        ...

    def refine(self, queries: Sequence[str], first: Floats) -> Floats:
        """Scores [n, k] from those of the first stage; minus infinity for what is no candidate."""
        ...


class Refined(Retriever):
    """Candidates in the order of the second stage, then the rest in that of the first."""

    name = "refined"

    def __init__(self, first: Retriever, refiner: Refiner, weights: tuple[float, float] = (0.0, 1.0)) -> None:
        """Put the stages behind each other.

        Args:
            first: Finds the candidates.
            refiner: Scores them.
            weights: Of the first stage's scores and of the refiner's, for the candidates; by default the refiner alone
                decides.

        Raises:
            ConfigError: They know different tools.
        """
        super().__init__(first.label_space)
        if tuple(refiner.classes_) != first.tools:
            raise ConfigError(f"the refiner was trained on other tools than {first.label_space.name!r}")
        self.first, self.refiner, self.weights, self._alone = first, refiner, weights, Lock()

    @classmethod
    def of(cls, first: Retriever, refiner: Refiner, dev: Sequence[Usage]) -> Refined:
        """Choose the weights on held-out usages: a refiner that saw little should not decide alone.

        Raises:
            DataError: No usage in `dev` needs any of the tools.
        """
        queries = [usage.query for usage in dev]
        before = first.scores(queries)
        refined = refiner.refine(queries, before)
        known = np.isfinite(refined)
        # What is no candidate can't be ranked by these weights: it stands with the lowest candidate in both.
        lowest = [np.where(known, score, np.inf).min(axis=1, keepdims=True) for score in (before, refined)]
        stages = [
            np.where(known, score, low).astype(np.float32) for score, low in zip((before, refined), lowest, strict=True)
        ]
        one, two = fit_weights(stages, wanted_tools(first.tools, dev))
        return cls(first, refiner, (one, two))

    def scores(self, queries: Sequence[str]) -> Floats:
        """The weighted scores of the candidates; those of other tools lie below, in their order [n, k]."""
        before = self.first.scores(queries)
        with self._alone:  # of several threads, one at a time
            refined = self.refiner.refine(queries, before)
        others = ~np.isfinite(refined)
        found: Floats = (
            np.float32(self.weights[1]) * np.where(others, 0, refined) + np.float32(self.weights[0]) * before
        )
        for row, rest, earlier in zip(found, others, before, strict=True):
            if rest.any():
                lowest = row[~rest].min(initial=0)
                span = max(float(np.ptp(earlier)), 1e-6)
                row[rest] = lowest - 1 - (earlier.max() - earlier[rest]) / span
        return found
