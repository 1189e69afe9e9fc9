"""Any sentence-transformers model, by name or folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from labelspace.embed.base import Vectors, spread, unit_rows
from labelspace.errors import ConfigError, MissingExtra

_READ = 1 << 20
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def folder_version(folder: Path) -> str:
    """Hash of a model folder's content, the same wherever the folder lies.

    Reads every file that shapes the vectors; a copy, or a rename, changes nothing, and one
    changed weight does. Costs about a second for a gigabyte, less than loading it.
    """
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and path.suffix in _SHAPING and not any(part.startswith(".") for part in inner.parts):
            digest = hashlib.blake2b(digest_size=16)
            with path.open("rb") as file:
                while block := file.read(_READ):
                    digest.update(block)
            total.update(f"{inner.as_posix()}\0{digest.hexdigest()}\n".encode())
    return total.hexdigest()


_SHAPING = {".json", ".safetensors", ".bin", ".txt", ".model", ".py", ".pt"}


class SentenceEmbedder:
    """A sentence-transformers model; it is loaded when the first text has to be embedded."""

    def __init__(self, model: str, *, batch_size: int = 64, device: str | None = None) -> None:
        """Point at a model.

        Args:
            model: A folder, or a name on the Hugging Face Hub.
            batch_size: Texts encoded at once.
            device: As torch names it; chosen by sentence-transformers if None.
        """
        self.model = model
        self.batch_size = batch_size
        self.device = device

    @property
    def name(self) -> str:
        """The specification `st:MODEL`."""
        return f"st:{self.model}"

    @cached_property
    def version(self) -> str:
        """Content hash of a folder; the commit of a model from the Hub."""
        folder = Path(self.model).expanduser()
        if folder.is_dir():
            return f"st:{folder_version(folder)}"
        config = getattr(self._encoder[0], "auto_model", self._encoder[0]).config
        return f"st:{self.model}@{getattr(config, '_commit_hash', None)}"

    @cached_property
    def _encoder(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtra("sentence-transformers", "embed") from error
        folder = Path(self.model).expanduser()
        try:
            return SentenceTransformer(str(folder) if folder.is_dir() else self.model, device=self.device)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"the embedder {self.model!r} can't be loaded: {first}; "
                "give the folder of a sentence-transformers model, or a name on the Hub that this machine can reach"
            ) from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; what is longer than the model reads is cut by the model."""
        where = [position for position, text in enumerate(texts) if text.strip()]
        # The model sorts by length itself, so that a batch holds little padding.
        rows = self._encoder.encode(
            [texts[position] for position in where] or ["."],
            batch_size=self.batch_size,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return spread(unit_rows(rows)[: len(where)], where, len(texts))
