"""Rows of the table that `tools_table` prints, and stages whose scores are kept from call to call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.agents.tools.clauses import clauses_of
from labelspace.agents.tools.measures import MEASURES
from labelspace.agents.tools.retriever import LastSeen, Retriever, top_columns
from labelspace.agents.tools.usage import Usage
from labelspace.progress import note
from labelspace.records import derive_id
from labelspace.space import LabelSpace

TOGETHER = 1024
"""Texts that are scored at once: a matrix of all of them and all usages would not fit everywhere."""
Rows = dict[str, list[dict[str, float]]]
"""By retriever, the measures of each seed: `test recall@1` and the like."""


@dataclass(frozen=True)
class Texts:
    """What is going to be asked for, once each, and the folder that keeps what stages say of it."""

    texts: tuple[str, ...]
    folder: Path

    @classmethod
    def of(cls, sets: Iterable[Sequence[Usage]], out: Path, learnt: Sequence[Usage], settings: str) -> Texts:
        """Queries and their parts; the folder's name tells runs that learn or ask for something else apart."""
        queries = [usage.query for part in sets for usage in part]
        texts = tuple(dict.fromkeys([*queries, *(part for query in queries for part in clauses_of(query))]))
        made = cls(texts, out / f"scores-{derive_id(json.dumps([texts, [u.query for u in learnt], settings]))[:8]}")
        made.folder.mkdir(parents=True, exist_ok=True)
        return made


class Head:
    """A tuned encoder's head over vectors that are kept."""

    def __init__(self, tuned: Any, embedder: LastSeen) -> None:
        """Take the encoder, and what keeps its vectors."""
        self.tuned, self.embedder, self.classes_ = tuned, embedder, tuned.classes_

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """Log-odds [n, k]."""
        return np.asarray(self.tuned.scores_of(self.embedder.embed(queries)))


class Kept(Retriever):
    """A stage that scores each text once, and keeps scores in a file, so that a later call need not train it."""

    def __init__(self, space: LabelSpace, name: str, make: Callable[[], Retriever], texts: Texts) -> None:
        """Say how it is made; it is made when a text is scored that is not in its file.

        Args:
            space: Its tools.
            name: What it is called, and its file.
            make: Makes and trains it.
            texts: What will be asked for, scored together, and where that is kept.
        """
        super().__init__(space)
        self.name, self._make, self._texts = name, make, texts
        self._rows: dict[str, np.ndarray] = {}

    @cached_property
    def stage(self) -> Retriever:
        """The stage itself, trained."""
        note(f"training {self.name}")
        return self._make()

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """The stage's scores [n, k]."""
        if not self._rows:
            path = self._texts.folder / f"{'-'.join(re.findall(r'[a-z0-9]+', self.name))}.npy"
            if not path.exists():
                self._add(self._texts.texts)
                part = path.with_suffix(".part.npy")
                np.save(part, np.stack([self._rows[text] for text in self._texts.texts]))
                part.replace(path)
            self._rows = dict(zip(self._texts.texts, np.load(path), strict=True))
        self._add([query for query in dict.fromkeys(queries) if query not in self._rows])
        if not len(queries):
            return np.zeros((0, len(self.tools)), np.float32)
        return np.stack([self._rows[query] for query in queries])

    def _add(self, texts: Sequence[str]) -> None:
        for start in range(0, len(texts), TOGETHER):
            part = texts[start : start + TOGETHER]
            self._rows.update(zip(part, self.stage.scores(part), strict=True))


def measures_of(
    found: Mapping[str, np.ndarray], sets: Mapping[str, Sequence[Usage]], names: Sequence[str], ks: Sequence[int]
) -> dict[str, float]:
    """All measures of scores [n, k] for each set of usages; under `... error` the standard error over the queries."""
    measured = {}
    for part, usages in sets.items():
        ranked = [[names[i] for i in row] for row in top_columns(found[part], max(ks))]
        for name, function in MEASURES.items():
            for k in ks:
                values = [function(row, usage.tools, k) for row, usage in zip(ranked, usages, strict=True)]
                measured[f"{part} {name}@{k}"] = float(np.mean(values))
                measured[f"{part} {name}@{k} error"] = float(np.std(values) / np.sqrt(len(values)))
    return measured


def table(rows: Rows, sets: Mapping[str, Sequence[Usage]], ks: Sequence[int]) -> str:
    """One line a retriever: recall at each k, NDCG and completeness at the last; with spread over seeds.

    Under each part half the width of the last row's 95% interval, from how much the queries differ.
    """
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
        last = list(rows.values())[-1][0]
        errors = (f"±{1.96 * last[f'{part} {column} error']:.3f}".rjust(16) for column in columns)
        lines += [f"{'  95% by query, last row':26}" + "".join(errors), ""]
    return "\n".join(lines).rstrip()
