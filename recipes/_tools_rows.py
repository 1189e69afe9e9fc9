"""Rows of the table that `tools_table` prints, and a tuned encoder whose vectors are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelspace.agents.tools.measures import MEASURES
from labelspace.agents.tools.retriever import LastSeen, Retriever, top_columns
from labelspace.agents.tools.usage import Usage

TOGETHER = 1024
"""Texts that are scored at once: a matrix of all of them and all usages would not fit everywhere."""
Rows = dict[str, list[dict[str, float]]]
"""By retriever, the measures of each seed: `test recall@1` and the like."""


class Head:
    """A tuned encoder's head over vectors that are kept."""

    def __init__(self, tuned: Any, embedder: LastSeen) -> None:
        """Take the encoder, and what keeps its vectors."""
        self.tuned, self.embedder, self.classes_ = tuned, embedder, tuned.classes_

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """Log-odds [n, k]."""
        return np.asarray(self.tuned.scores_of(self.embedder.embed(queries)))


class Kept(Retriever):
    """A stage that scores each text once: fusions and parts of queries ask for the same ones again and again."""

    def __init__(self, stage: Retriever) -> None:
        """Wrap a stage."""
        super().__init__(stage.label_space)
        self.stage, self.name = stage, stage.name
        self._rows: dict[str, np.ndarray] = {}

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """The stage's scores [n, k]."""
        fresh = [query for query in dict.fromkeys(queries) if query not in self._rows]
        for start in range(0, len(fresh), TOGETHER):
            part = fresh[start : start + TOGETHER]
            self._rows.update(zip(part, self.stage.scores(part), strict=True))
        if not len(queries):
            return np.zeros((0, len(self.tools)), np.float32)
        return np.stack([self._rows[query] for query in queries])


def measures_of(
    found: Mapping[str, np.ndarray], sets: Mapping[str, Sequence[Usage]], names: Sequence[str], ks: Sequence[int]
) -> dict[str, float]:
    """All measures of scores [n, k] for each set of usages."""
    measured = {}
    for part, usages in sets.items():
        ranked = [[names[i] for i in row] for row in top_columns(found[part], max(ks))]
        for name, function in MEASURES.items():
            for k in ks:
                values = [function(row, usage.tools, k) for row, usage in zip(ranked, usages, strict=True)]
                measured[f"{part} {name}@{k}"] = float(np.mean(values))
    return measured


def table(rows: Rows, sets: Mapping[str, Sequence[Usage]], ks: Sequence[int]) -> str:
    """One line a retriever: recall at each k, NDCG and completeness at the last; with spread over seeds."""
    columns = [f"recall@{k}" for k in ks] + [f"ndcg@{ks[-1]}", f"complete@{ks[-1]}"]
    lines = []
    for part, usages in sets.items():
        lines.append(f"{part} ({len(usages):,} queries)")
        lines.append(f"{'':26}" + "".join(f"{column:>16}" for column in columns))
        for name, seeds in rows.items():
            line = f"{name:26}"
            for column in columns:
                values = [seed[f"{part} {column}"] for seed in seeds]
                spread = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                line += f"{np.mean(values):.3f}{spread}".rjust(16)
            lines.append(line)
        lines.append("")
    return "\n".join(lines).rstrip()
