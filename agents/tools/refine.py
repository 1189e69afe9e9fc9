"""A second stage: candidates of a first, scored anew by something that looks at them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from labelspace.agents.tools.retriever import Floats, Retriever
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

    def __init__(self, first: Retriever, refiner: Refiner) -> None:
        """Put the stages behind each other.

        Raises:
            ConfigError: They know different tools.
        """
        super().__init__(first.label_space)
        if tuple(refiner.classes_) != first.tools:
            raise ConfigError(f"the refiner was trained on other tools than {first.label_space.name!r}")
        self.first, self.refiner = first, refiner

    def scores(self, queries: Sequence[str]) -> Floats:
        """The refiner's scores; those of other tools lie below, in their order [n, k]."""
        before = self.first.scores(queries)
        found = self.refiner.refine(queries, before)
        others = ~np.isfinite(found)
        for row, rest, earlier in zip(found, others, before, strict=True):
            if rest.any():
                lowest = row[~rest].min(initial=0)
                span = max(float(np.ptp(earlier)), 1e-6)
                row[rest] = lowest - 1 - (earlier.max() - earlier[rest]) / span
        return found
