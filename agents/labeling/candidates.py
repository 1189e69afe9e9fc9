"""Candidates for spaces too large to be shown whole: the labels that are most likely a text's, for a model to choose.

Where there are labelled examples, three rankings are fused by reciprocal rank (Cormack et al., 2009): by
what labels say of themselves, by the mean of a label's examples, and by the nearest of them. Without, the
first alone decides. Nothing is tuned. What a candidate list lacks the model can't choose, so the share of
gold labels that are in it, its recall, is counted wherever gold labels are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.agents.labeling.zeroshot import speak
from labelspace.embed import Embedder, Vectors, fit_embedder
from labelspace.embed.base import unit_rows
from labelspace.errors import ConfigError
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

Numbers = npt.NDArray[np.intp]

RANK = 60
"""Of reciprocal rank fusion: how little the first ranks differ (60 in the paper)."""
DEEP = 4
"""Each ranking is looked into as deep as so many times the candidates."""
_ENOUGH = 20_000
"""Texts that an embedder learns its words from: more take minutes and teach it little."""
_CELLS = 1 << 24
"""Similarities held at once (64 MiB)."""


def label_text(label: Label) -> str:
    """All that a label says of itself, as one text: a space of 50,000 labels is embedded once, not thrice."""
    said = speak(label.name)
    if label.description:
        said += f": {label.description}"
    elif label.parent:
        said = f"{speak(label.parent)}: {said}"
    return ". ".join([said, *(text[:200] for text in label.examples[:3])])


class Candidates:
    """Finds the likeliest labels of texts."""

    def __init__(self, space: LabelSpace, size: int, *, embedder: Embedder, labelled: Sequence[Record] = ()) -> None:
        """Embed the labels, and the labelled examples where there are some.

        Args:
            space: Whose leaves are ranked.
            size: How many a text gets.
            embedder: For labels and texts; one that learns from texts and has not yet (TF-IDF) learns from
                these labels and examples.
            labelled: Records with labels; labels that are not leaves of the space are passed over.

        Raises:
            ConfigError: `size` is less than 1.
        """
        if size < 1:
            raise ConfigError(f"a text has 1 candidate label or more, not {size}")
        self.space, self.size = space, min(size, len(space.leaves))
        said = [label_text(space[name]) for name in space.leaves]
        texts = [record.text for record in labelled]
        known = [*said, *texts]
        self._embedder = fit_embedder(embedder, known[:: -(-len(known) // _ENOUGH)])
        self._rankings: list[Vectors] = [self._embedder.embed(said)]
        self._cases: tuple[Vectors, Numbers] | None = None
        place = {name: at for at, name in enumerate(space.leaves)}
        pairs = [(row, place[name]) for row, one in enumerate(labelled) for name in one.labels or () if name in place]
        if pairs:
            rows, owners = np.array(pairs, dtype=np.intp).T
            order = np.argsort(owners, kind="stable")
            vectors, owners = self._embedder.embed(texts)[rows[order]], owners[order]
            self._cases = vectors, owners
            self._rankings.append(self._means(vectors, owners))

    def _means(self, vectors: Vectors, owners: Numbers) -> Vectors:
        """Mean vector of each label's examples [k, d]; zeros where it has none."""
        total = np.zeros((len(self.space.leaves), vectors.shape[1]), np.float32)
        np.add.at(total, owners, vectors)
        return unit_rows(total)

    def find(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Names of the likeliest labels of each text, likeliest first."""
        leaves = self.space.leaves
        if self.size == len(leaves):
            return [leaves] * len(texts)
        step = max(1, _CELLS // len(leaves))
        return [
            tuple(leaves[at] for at in row)
            for start in range(0, len(texts), step)
            for row in self._find(texts[start : start + step])
        ]

    def _find(self, texts: Sequence[str]) -> list[list[int]]:
        asked = self._embedder.embed(texts)
        points: list[dict[int, float]] = [{} for _ in texts]
        for labels in self._rankings:
            self._count(points, asked @ labels.T)
        if self._cases is not None:
            vectors, owners = self._cases
            near = asked @ vectors.T
            owned, starts = np.unique(owners, return_index=True)
            best = np.full((len(texts), len(self.space.leaves)), -1, np.float32)
            best[:, owned] = np.maximum.reduceat(near, starts, axis=1)
            self._count(points, best)
        return [sorted(row, key=lambda at: (-row[at], at))[: self.size] for row in points]

    def _count(self, points: list[dict[int, float]], scores: npt.NDArray[Any]) -> None:
        """Give the best of each row [n, k] points by rank."""
        depth = min(DEEP * self.size, scores.shape[1])
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        for row, columns in enumerate(best):
            order = columns[np.lexsort((columns, -scores[row, columns]))]
            for rank, at in enumerate(order.tolist()):
                points[row][at] = points[row].get(at, 0.0) + 1 / (RANK + rank)
