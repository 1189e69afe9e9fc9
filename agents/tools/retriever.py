"""What a retriever is: queries in, a score for every tool out, and a `Classifier` like all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from labelspace.embed.base import Embedder, Vectors
from labelspace.errors import SpaceError
from labelspace.records import Prediction, Record, as_records, set_aside_blank
from labelspace.space import LabelSpace

Floats = npt.NDArray[np.float32]
Ranking = list[tuple[str, float]]
"""Tools with their scores, best first."""
BATCH = 256


class Retriever(ABC):
    """Scores the tools of a label space for queries; concrete ones only say how."""

    name = "retriever"

    def __init__(self, space: LabelSpace) -> None:
        """Take the tools.

        Args:
            space: The label space of a tool set (`ToolSet.space`).
        """
        self._space = space

    @property
    def label_space(self) -> LabelSpace:
        """The tools as a label space; scores are in the order of its leaves."""
        return self._space

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools: the columns of `scores`."""
        return self._space.leaves

    @abstractmethod
    def scores(self, queries: Sequence[str]) -> Floats:
        """Score every tool for each query [n, k]; higher is better, the scale is the retriever's own."""

    def search(self, queries: Sequence[str], k: int = 5) -> list[Ranking]:
        """The best k tools of each query, best first; of equals the first in the space comes first."""
        found: list[Ranking] = []
        for start in range(0, len(queries), BATCH):
            scores = self.scores(queries[start : start + BATCH])
            for row, best in zip(scores, top_columns(scores, k), strict=True):
                found.append([(self.tools[i], float(row[i])) for i in best])
        return found

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield the five best tools of each text; how many are needed, a `ToolChooser` says."""
        source = {"retriever": self.name, "space": self._space.version}
        records = as_records(texts)
        while batch := list(islice(records, BATCH)):
            asked = [record for record in batch if not record.is_blank]
            ranked = iter(self.search([record.text for record in asked], 5) if asked else [])
            for record in batch:
                if record.is_blank:
                    yield set_aside_blank(record, source)
                else:
                    yield Prediction(record.id, tuple(name for name, _ in next(ranked)), source=source)


class Scorer(Protocol):
    """Anything that scores tools by name, such as a fine-tuned encoder."""

    @property
    def classes_(self) -> tuple[str, ...]:
        """Names of the tools that it knows: the columns of its scores."""
        ...

    def scores(self, queries: Sequence[str]) -> Floats:
        """Scores [n, k]."""
        ...


class Scored(Retriever):
    """A trained scorer as a retriever; a tool of the space that it does not know never comes first."""

    def __init__(self, space: LabelSpace, scorer: Scorer, *, name: str) -> None:
        """Line up the scorer's columns with the space.

        Raises:
            SpaceError: The scorer knows none of the tools.
        """
        super().__init__(space)
        self.name, self.scorer, self._alone = name, scorer, Lock()
        place = {tool: i for i, tool in enumerate(scorer.classes_)}
        self._columns = np.array([place.get(tool, -1) for tool in self.tools])
        if (self._columns < 0).all():
            raise SpaceError(f"the stage {name!r} was trained on other tools: it knows none of {space.name!r}")

    def scores(self, queries: Sequence[str]) -> Floats:
        """The scorer's scores; the lowest of each row where it does not know a tool."""
        with self._alone:  # agents and servers ask from several threads; models and tokenizers take one at a time
            given = self.scorer.scores(queries)
        found = given[:, self._columns].astype(np.float32)
        unknown = self._columns < 0
        if unknown.any() and len(given):
            found[:, unknown] = given.min(axis=1, keepdims=True) - 1
        return found


class LastSeen:
    """An embedder that remembers the vectors of its last call, so that stages of a fusion share them.

    Threads take turns: agents and servers ask from several.
    """

    def __init__(self, embedder: Embedder) -> None:
        """Wrap an embedder."""
        self.inner, self._alone = embedder, Lock()
        self._last: tuple[list[str], Vectors] | None = None

    @property
    def name(self) -> str:
        """The wrapped embedder's specification."""
        return self.inner.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, or give the vectors again if they are those of the last call."""
        asked = list(texts)
        with self._alone:
            if self._last is None or self._last[0] != asked:
                self._last = asked, self.inner.embed(asked)
            return self._last[1]


def top_columns(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """Columns of the k highest scores of each row [n, k], highest first, of equals the first."""
    width = scores.shape[1]
    if k < width // 4:
        # Partition first: sorting 100,000 scores to show five takes a hundred times as long.
        cut = np.partition(scores, width - k, axis=1)[:, width - k, None]
        rows = []
        for row, least in zip(scores, cut, strict=True):
            above = np.flatnonzero(row >= least)
            rows.append(above[np.argsort(-row[above], kind="stable")][:k])
        return np.array(rows, dtype=np.intp).reshape(len(scores), k)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def by_turns(rankings: Sequence[Sequence[str]], k: int) -> list[str]:
    """The first k names, taken from the rankings in turn."""
    found: dict[str, None] = {}
    for place in range(max(map(len, rankings), default=0)):
        for ranking in rankings:
            if place < len(ranking) and len(found) < k:
                found[ranking[place]] = None
    return list(found)
