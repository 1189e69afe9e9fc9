"""TF-IDF of words and character n-grams, reduced by truncated SVD (latent semantic analysis).

Needs no model and no network. Character n-grams make it work where words are misspelt, inflected,
or not separated by blanks, as in Japanese and Chinese.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.embed.base import Vectors, spread, unit_rows
from labelspace.errors import ConfigError, DataError

_KINDS: Mapping[str, Mapping[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    # Up to four characters, within words: five add nothing on intents, and half as many features again.
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
}
_TERMS_A_KIND = 16_000
"""The commonest terms are kept: more cost memory and change no result that we measured."""
_SAFE_CHARACTERS = 20_000
"""Of one text; the rest adds time and hardly changes the direction."""
_FORMAT = 1


class TfidfEmbedder:
    """Embeds by the words and character n-grams of the texts that it was fitted to."""

    name = "tfidf"

    def __init__(
        self, *, dimensions: int = 256, seed: int = 0, directions: Literal["variance", "random"] = "variance"
    ) -> None:
        """Set the size of the vectors.

        Args:
            dimensions: At most so many; fewer where there are few texts (a fifth of their number,
                but at least 32), since the rest would be noise.
            seed: Of the randomised SVD, or of the random directions.
            directions: Those of most variance (SVD), or "random" ones (Achlioptas 2003): these keep what is rare,
                and by which rare topics are told, where those of most variance leave it out.
        """
        self.dimensions = dimensions
        self.seed = seed
        self.directions = directions
        self.terms: dict[str, list[str]] = {}
        self._idf: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._components: npt.NDArray[np.float32] = np.zeros((0, 0), np.float32)

    @property
    def is_fitted(self) -> bool:
        """Whether it knows terms, and so can embed."""
        return bool(self.terms)

    def fit(self, texts: Sequence[str]) -> TfidfEmbedder:
        """Learn terms, their weights and the directions of most variance from texts.

        Raises:
            DataError: No text has anything but white space.
        """
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.utils.extmath import randomized_svd

        known = [_normal(text) for text in texts if text.strip()]
        if not known:
            raise DataError("there is no text to learn TF-IDF from: all are empty", advice="check the text column")
        least = 2 if len(known) >= 100 else 1
        self.terms = {}
        for kind, options in _KINDS.items():
            vectorizer = CountVectorizer(**options, dtype=np.float32)
            try:
                counts = vectorizer.fit_transform(known)
            except ValueError:  # no words at all, only signs
                self.terms[kind] = []
                continue
            frequency = np.bincount(counts.indices, minlength=counts.shape[1])
            order = np.argsort(-frequency, kind="stable")[:_TERMS_A_KIND]
            found = vectorizer.get_feature_names_out()
            kept = [str(found[i]) for i in order if frequency[i] >= least] or [str(found[i]) for i in order]
            self.terms[kind] = sorted(kept)
        counts = self._count(known)
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        self._idf = (np.log((1 + len(known)) / (1 + frequency)) + 1).astype(np.float32)
        weighted = self._weigh(counts)
        if self.directions == "random":
            signs = np.random.default_rng(self.seed).integers(0, 2, (self.dimensions, weighted.shape[1]), dtype=np.int8)
            self._components = 2 * signs.astype(np.float32) - 1
            return self
        width = max(1, min(self.dimensions, max(32, len(known) // 5), *weighted.shape))
        components = randomized_svd(weighted, width, n_iter=5, random_state=self.seed)[2]
        # Saved as half precision; rounded at once, so that a loaded embedder gives the very same vectors.
        self._components = components.astype(np.float16).astype(np.float32)
        return self

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; one that shares no term with the texts of `fit` gives zeros, as a blank one does."""
        if not self.is_fitted:
            raise ConfigError("the TF-IDF embedder has not seen any text; call fit(texts) first")
        where = [position for position, text in enumerate(texts) if text.strip()]
        rows = np.zeros((0, self._components.shape[0]), np.float32)
        if where:
            rows = self._weigh(self._count([_normal(texts[position]) for position in where])) @ self._components.T
        return spread(unit_rows(rows), where, len(texts))

    def to_tensors(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Arrays for safetensors and plain data for JSON, which `from_tensors` takes back."""
        tensors: dict[str, npt.NDArray[Any]] = {
            "idf": self._idf,
            # safetensors writes the memory as it lies, so rows must lie in order.
            "components": np.ascontiguousarray(self._components, dtype=np.float16),
        }
        return tensors, {"format": _FORMAT, "dimensions": self.dimensions, "seed": self.seed, "terms": self.terms}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], data: Mapping[str, Any]) -> TfidfEmbedder:
        """Make a fitted embedder from what `to_tensors` gave.

        Raises:
            ConfigError: The data is of another format, or does not fit together.
        """
        if data.get("format") != _FORMAT:
            raise ConfigError(f"a TF-IDF embedder of format {data.get('format')!r} can't be read; train it again")
        made = cls(dimensions=int(data["dimensions"]), seed=int(data["seed"]))
        made.terms = {kind: [str(term) for term in data["terms"][kind]] for kind in _KINDS}
        made._idf = np.asarray(tensors["idf"], dtype=np.float32)
        made._components = np.asarray(tensors["components"], dtype=np.float32)
        count = sum(map(len, made.terms.values()))
        if made._idf.shape != (count,) or made._components.shape[1:] != (count,):
            raise ConfigError(
                f"a TF-IDF embedder has {count} terms but weights for {made._idf.shape[0]}; "
                "it is damaged, train it again"
            )
        return made

    def _count(self, texts: list[str]) -> Any:
        """Count known terms: sparse [n, terms]."""
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import CountVectorizer

        parts = [
            CountVectorizer(**options, vocabulary=self.terms[kind], dtype=np.float32).transform(texts)
            for kind, options in _KINDS.items()
            if self.terms[kind]
        ]
        return hstack(parts, format="csr")

    def _weigh(self, counts: Any) -> Any:
        """Sublinear term frequency times inverse document frequency; rows of length 1."""
        from sklearn.preprocessing import normalize

        weighted = counts.copy()
        weighted.data = (1 + np.log(weighted.data)) * self._idf[weighted.indices]
        return normalize(weighted, copy=False)


def _normal(text: str) -> str:
    """One form for characters that look the same: full-width letters, ligatures, composed accents."""
    return unicodedata.normalize("NFKC", text[:_SAFE_CHARACTERS])
