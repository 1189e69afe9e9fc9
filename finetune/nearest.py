"""The nearest labelled texts vote: no training, and a new text or label counts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder
from labelspace.finetune.embedded import EmbeddingHead, Learned
from labelspace.finetune.logistic import Doubles

LEAST = 1e-6
"""Share of the vote that stands for none, so that it has a logarithm."""
AT_ONCE = 1024
"""Texts compared at once."""


class NearestHead(EmbeddingHead):
    """k nearest neighbours over text embeddings, each vote weighted by exp(cosine / temperature).

    With all texts as neighbours this is a kernel density of the label; weights of texts and soft labels count in the
    vote. The model holds the vector of every text that it learned from.
    """

    kind = "knn"

    def __init__(
        self,
        embedder: str | Embedder = "tfidf",
        *,
        multi_label: bool = False,
        words: float = 0.5,
        neighbours: int = 15,
        sharpness: float = 20.0,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        calibrate: bool = True,
        seed: int = 0,
    ) -> None:
        """Set the parameters; nothing is loaded yet.

        Args:
            embedder: A specification (see `load_embedder`), or an embedder.
            multi_label: Whether a text can have several labels, or none.
            words: Weight of TF-IDF beside the embedder; 0 for none.
            neighbours: Texts that vote.
            sharpness: By how much more the nearer ones count: 1 / temperature of the cosine; 0 counts all the same.
            class_weight: Weight by label; "balanced" gives each label the same weight in all.
            calibrate: Whether to set temperature and thresholds on held-out folds.
            seed: Of the folds.
        """
        self.embedder = embedder
        self.multi_label = multi_label
        self.words = words
        self.neighbours, self.sharpness = neighbours, sharpness
        self.class_weight = class_weight
        self.calibrate = calibrate
        self.seed = seed

    def learn(self, vectors: Doubles, targets: Doubles, weights: Doubles, positive: Doubles | None) -> Learned:
        """Vectors of length 1 [m, d], shares of labels [m, k], and what each label's share counts [m, k]."""
        counts = np.repeat(weights[:, None], targets.shape[1], axis=1)
        if positive is not None:
            counts = counts * (1 + targets * (positive - 1))
        return {"vectors": _unit(vectors), "targets": targets.astype(np.float32), "counts": counts.astype(np.float32)}

    def apply(self, learned: Learned, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Logits [n, k] of vectors [n, d]."""
        parts = [self._votes(learned, vectors[at : at + AT_ONCE]) for at in range(0, len(vectors), AT_ONCE)]
        votes = np.concatenate(parts) if parts else np.zeros((0, learned["targets"].shape[1]), np.float32)
        if self.multi_label:
            held: npt.NDArray[Any] = np.clip(votes, LEAST, 1 - LEAST)
            return np.asarray(np.log(held / (1 - held)))
        return np.asarray(np.log(votes + LEAST))

    def shape(self, learned: Learned) -> tuple[int, int]:
        """Numbers that it reads of a text, and labels."""
        (rows, width), labels = learned["vectors"].shape, learned["targets"].shape[1]
        if learned["targets"].shape != (rows, labels) or learned["counts"].shape != (rows, labels):
            raise ValueError("vectors and labels do not fit")
        return width, labels

    def _votes(self, learned: Learned, vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Share of the vote of each label [n, k]."""
        cosines = _unit(vectors) @ learned["vectors"].T
        count = min(self.neighbours, cosines.shape[1])
        # Of equally near ones the first in training order, on any machine.
        near = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        top = np.take_along_axis(cosines, near, axis=1)
        voices = np.exp(self.sharpness * (top - top[:, :1]))[:, :, None] * learned["counts"][near]
        given = (voices * learned["targets"][near]).sum(1)
        # One label a text: shares of all that was given. Several: of all that could have been given to the label.
        whole = voices.sum(1) if self.multi_label else given.sum(1, keepdims=True)
        votes: npt.NDArray[np.float32] = given / np.maximum(whole, 1e-12)
        return votes


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
