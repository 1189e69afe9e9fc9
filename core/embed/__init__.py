"""Embedders: TF-IDF with truncated SVD, sentence-transformers models, OpenAI-compatible servers.

embedder = fit_embedder(load_embedder("tfidf"), texts)
vectors = embedder.embed(texts)  # float32 [n, d], rows of length 1
"""

from __future__ import annotations

from labelspace.embed.base import Embedder, Vectors
from labelspace.embed.cache import cache_folder
from labelspace.embed.load import fit_embedder, load_embedder

__all__ = ["Embedder", "Vectors", "cache_folder", "fit_embedder", "load_embedder"]
