"""A pretrained embedder with TF-IDF beside it: what texts mean, and the very words they use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelspace.embed.base import Embedder, Vectors
from labelspace.embed.tfidf import TfidfEmbedder


class WithWords:
    """Vectors of an embedder, followed by those of a fitted TF-IDF at a given weight; rows of length 1 at most."""

    def __init__(self, inner: Embedder, words: TfidfEmbedder, weight: float) -> None:
        """Join them.

        Args:
            inner: What embeds meaning.
            words: TF-IDF that has been fitted.
            weight: Length of the TF-IDF part, where that of `inner` is 1.
        """
        self.inner, self.words, self.weight = inner, words, weight

    @property
    def name(self) -> str:
        """The specification of `inner`."""
        return self.inner.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts [n, d of both together]."""
        length = np.float32(np.hypot(1.0, self.weight))
        parts = (self.inner.embed(texts) / length, self.words.embed(texts) * np.float32(self.weight) / length)
        joined: Vectors = np.hstack(parts)
        return joined
