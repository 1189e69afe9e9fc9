"""Embeddings kept on disk, by content and model, so that no text is embedded twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from labelspace.embed.base import Pretrained, Vectors, spread
from labelspace.errors import ConfigError
from labelspace.progress import Progress

_CHUNK = 1024
"""Texts that are embedded and written at once: what a killed process can lose."""
_ASKED_AT_ONCE = 500
"""Keys in one query; SQLite's limit of variables was 999 once."""


def cache_folder() -> Path:
    """Where embeddings are kept: LABELSPACE_CACHE, else `labelspace` in the user's cache folder."""
    if own := os.environ.get("LABELSPACE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labelspace"


class CachedEmbedder:
    """Asks another embedder only for texts that are not on disk yet.

    One SQLite file holds the vectors of all models under SHA-256(version of the embedder, text).
    Processes can share it: it is in write-ahead mode, and each writes whole chunks.
    """

    def __init__(self, inner: Pretrained, folder: Path) -> None:
        """Keep what `inner` computes in `folder`, which is made at the first use."""
        self.inner = inner
        self.path = folder / "embeddings.sqlite"

    @property
    def name(self) -> str:
        """The name of the embedder behind it."""
        return self.inner.name

    @property
    def version(self) -> str:
        """The version of the embedder behind it."""
        return self.inner.version

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, taking from disk what is there."""
        version = self.inner.version.encode()
        keys = [
            hashlib.sha256(version + b"\0" + text.encode("utf-8", "surrogatepass")).digest() if text.strip() else b""
            for text in texts
        ]
        text_of = {key: text for key, text in zip(keys, texts, strict=True) if key}
        with self._open() as connection:
            vectors = self._read(connection, list(text_of))
            # Longest first, so that chunks hold texts of like length and little is padding.
            missing = sorted((key for key in text_of if key not in vectors), key=lambda key: -len(text_of[key]))
            with Progress("embedding", total=len(missing), unit="texts", shown=bool(missing)) as bar:
                for start in range(0, len(missing), _CHUNK):
                    chunk = missing[start : start + _CHUNK]
                    rows = self.inner.embed([text_of[key] for key in chunk])
                    self._write(connection, chunk, rows)
                    vectors.update(zip(chunk, rows, strict=True))
                    bar.advance(len(chunk))
        where = [position for position, key in enumerate(keys) if key]
        if not where:
            return self.inner.embed(texts)  # all blank; only the model knows how wide its rows are
        return spread([vectors[keys[position]] for position in where], where, len(texts))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one call; a process that forks, or a thread, thus never shares a connection."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
                )
                yield connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"{self.path}: the cache of embeddings can't be used ({error}); "
            "delete it, set LABELSPACE_CACHE to another folder, or go without (--no-cache)"
        )

    @staticmethod
    def _read(connection: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            asked = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(asked))
            for key, vector in connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", asked):
                found[key] = np.frombuffer(vector, dtype="<f4")
        return found

    @staticmethod
    def _write(connection: sqlite3.Connection, keys: list[bytes], rows: Vectors) -> None:
        with connection:
            connection.executemany(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
                [(key, row.astype("<f4").tobytes()) for key, row in zip(keys, rows, strict=True)],
            )
