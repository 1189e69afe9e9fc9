"""From one string to an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelspace.embed.base import Embedder, Pretrained
from labelspace.embed.cache import CachedEmbedder
from labelspace.embed.sentences import HUB_NAME
from labelspace.errors import ConfigError


def load_embedder(spec: str, *, cache: Path | None = None, batch_size: int = 64) -> Embedder:
    """Make an embedder from its specification.

    Args:
        spec: `tfidf`; `st:NAME_OR_FOLDER` for a sentence-transformers model (a folder that exists,
            or an `owner/model` name, needs no `st:`), `onnx:NAME_OR_FOLDER` for the same in ONNX Runtime;
            `http(s)://host/v1#model` for a server.
        cache: Folder that keeps the vectors (see `cache_folder`), or None to keep none. TF-IDF
            depends on the texts that it was fitted to and is never kept.
        batch_size: Texts embedded at once.

    Raises:
        ConfigError: The specification says nothing that is known.
    """
    if spec == "tfidf":
        from labelspace.embed.tfidf import TfidfEmbedder

        return TfidfEmbedder()
    inner: Pretrained
    if spec.startswith(("http://", "https://")):
        from labelspace.embed.server import ServerEmbedder

        inner = ServerEmbedder(spec, batch_size=batch_size)
    elif spec.startswith("onnx:"):
        from labelspace.embed.onnx import OnnxEmbedder

        inner = OnnxEmbedder(spec.removeprefix("onnx:"), batch_size=batch_size)
    elif spec.startswith("st:") or Path(spec).expanduser().is_dir() or HUB_NAME.fullmatch(spec):
        from labelspace.embed.sentences import SentenceEmbedder

        inner = SentenceEmbedder(spec.removeprefix("st:"), batch_size=batch_size)
    else:
        raise ConfigError(
            f"no embedder {spec!r}: give tfidf, the folder or Hub name of a sentence-transformers model, "
            "or http://host/v1#model"
        )
    return inner if cache is None else CachedEmbedder(inner, cache)


def fit_embedder(embedder: Embedder, texts: Sequence[str]) -> Embedder:
    """Fit an embedder that learns from texts (TF-IDF) and has not yet; return it.

    Others come back as they are, so that callers need not know which they hold.
    """
    from labelspace.embed.tfidf import TfidfEmbedder

    if isinstance(embedder, TfidfEmbedder) and not embedder.is_fitted:
        embedder.fit(texts)
    return embedder
