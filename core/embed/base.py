"""What an embedder is: texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""One row for each text [n, d], float32."""


class Embedder(Protocol):
    """Turns texts into vectors whose dot product is their similarity."""

    @property
    def name(self) -> str:
        """The specification that `load_embedder` makes it from again."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts as rows of length 1 [n, d], in order; a text without words gives a row of zeros."""
        ...


class Pretrained(Embedder, Protocol):
    """An embedder that learns nothing from the texts, so that its vectors can be kept."""

    @property
    def version(self) -> str:
        """Identity of what computes the vectors: a new one where they would differ."""
        ...


def unit_rows(vectors: npt.ArrayLike) -> Vectors:
    """Scale each row to length 1; rows that are (nearly) zero become zero."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vectors = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-6)
    return scaled


def spread(rows: npt.ArrayLike, where: Sequence[int], count: int) -> Vectors:
    """Put rows at the positions `where` among `count` rows, the others being zero."""
    found = np.asarray(rows, dtype=np.float32)
    width = found.shape[1] if found.ndim == 2 else 0
    out = np.zeros((count, width), dtype=np.float32)
    if len(where):
        out[np.asarray(where)] = found
    return out
