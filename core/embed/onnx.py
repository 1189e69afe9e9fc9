"""An encoder in ONNX Runtime: no torch where it runs, and two to three times as fast for a single text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.embed.base import Vectors, spread, unit_rows
from labelspace.embed.cache import cache_folder
from labelspace.embed.sentences import HUB_NAME, SentenceEmbedder, folder_version
from labelspace.embed.trace import GRAPH, POOL, SETTINGS, TOKENIZER, traced
from labelspace.errors import ConfigError, MissingExtra

_ALIKE = 1.1
"""Length of the longest text of a batch, as a multiple of the shortest."""
_PACKED = 128
"""Tokens of a packed run, unless one text has more: what one token sees grows with them."""


class OnnxEmbedder:
    """An encoder as a graph; it is loaded when the first text has to be embedded.

    Either `labelspace export --to onnx` wrote it, or it is traced here once and kept in the cache folder.
    """

    def __init__(
        self, folder: str | Path, *, name: str | None = None, batch_size: int = 64, threads: int | None = None
    ) -> None:
        """Point at it.

        Args:
            folder: Holds the graph, its tokenizer and its settings; or is a sentence-transformers model, a folder or
                `owner/model` on the Hub, whose graph is made at the first use.
            name: The specification that a model folder keeps, if it is not `onnx:FOLDER`.
            batch_size: Texts encoded at once.
            threads: Cores of one run; all of them if None.
        """
        self.folder, self.batch_size, self.threads = Path(folder), batch_size, threads
        self.name = name or f"onnx:{folder}"

    @cached_property
    def version(self) -> str:
        """Content hash of the graph and what belongs to it."""
        digest = hashlib.blake2b(folder_version(self._place).encode(), digest_size=16)
        if (self._place / GRAPH).exists():
            digest.update((self._place / GRAPH).read_bytes())
        return f"onnx:{digest.hexdigest()}"

    @cached_property
    def _place(self) -> Path:
        """Where the graph is."""
        is_named = not self.folder.exists() and HUB_NAME.fullmatch(str(self.folder))
        if (self.folder / GRAPH).exists() or not ((self.folder / "modules.json").exists() or is_named):
            return self.folder
        return traced(SentenceEmbedder(str(self.folder)), cache_folder())

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra(str(error.name), "onnx") from error
        folder = self._place
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            session = open_graph(folder / GRAPH, threads=self.threads)
            tokenizer.enable_truncation(int(settings["max_length"]))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ConfigError(f"{self.folder}: is no exported encoder: {str(error).splitlines()[0]}") from error
        except Exception as error:  # tokenizers and ONNX Runtime raise this very class for a missing or damaged file
            raise ConfigError(f"{self.folder}: the encoder can't be read: {str(error).splitlines()[0]}") from error
        return session, tokenizer

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; what is longer than the model reads is cut."""
        session, tokenizer = self._loaded
        where = [position for position, text in enumerate(texts) if text.strip()]
        rows = [encoded.ids for encoded in tokenizer.encode_batch([texts[position] for position in where] or ["."])]
        if any(one.name == POOL for one in session.get_inputs()):
            found = run_packed(session, rows)
        else:
            found = run_graph(session, rows, batch_size=self.batch_size)
        return spread(unit_rows(found)[: len(where)], where, len(texts))


def open_graph(path: Path, *, threads: int | None = None) -> Any:
    """A graph, ready to run.

    Args:
        path: Of the graph.
        threads: Cores of one run; all of them if None. With one, several threads may run it at once, which gives more
            texts a second than one run on all cores.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())


def run_graph(session: Any, rows: Sequence[Sequence[int]], *, batch_size: int) -> Vectors:
    """What a graph of `input_ids` and `attention_mask` gives for token ids [n, d], in order.

    Args:
        session: See `open_graph`.
        rows: Token ids of each text; at least one row.
        batch_size: Texts run at once.
    """
    found: Any = None
    for part in _alike([len(row) for row in rows], batch_size):
        width = max(len(rows[at]) for at in part)
        ids, mask = np.zeros((len(part), width), np.int64), np.zeros((len(part), width), np.int64)
        for line, at in enumerate(part):
            ids[line, : len(rows[at])] = rows[at]
            mask[line, : len(rows[at])] = 1
        vectors = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        if found is None:
            found = np.zeros((len(rows), vectors.shape[1]), np.float32)
        found[part] = vectors
    made: Vectors = found
    return made


def run_packed(session: Any, rows: Sequence[Sequence[int]]) -> Vectors:
    """What a packed graph gives for token ids [n, d], in order.

    A run reads all weights from memory, which for a few short texts takes as long as computing with them: a query and
    its parts in one run take half the time that they take in three.

    Args:
        session: Of a graph with `input_ids`, `position_ids` [1, length] and `pool` [n, length], the share of each token
            in the mean of its text: tokens see those of the same text.
        rows: Token ids of each text; at least one row.
    """
    parts: list[list[Sequence[int]]] = []
    for row in rows:
        if parts and sum(map(len, parts[-1])) + len(row) <= _PACKED:
            parts[-1].append(row)
        else:
            parts.append([row])
    found = []
    for part in parts:
        pool = np.zeros((len(part), sum(map(len, part))), np.float32)
        start = 0
        for line, row in enumerate(part):
            pool[line, start : start + len(row)] = 1 / len(row)
            start += len(row)
        ids = np.concatenate([np.asarray(row, np.int64) for row in part])[None]
        positions = np.concatenate([np.arange(len(row)) for row in part])[None]
        found.append(session.run(None, {"input_ids": ids, "position_ids": positions, POOL: pool})[0])
    made: Vectors = np.concatenate(found)
    return made


def _alike(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of texts of about one length, so that little is padded: ONNX Runtime gains little from larger batches."""
    part: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if part and (len(part) == most or lengths[at] > _ALIKE * lengths[part[0]] + 1):
            yield part
            part = []
        part.append(at)
    if part:
        yield part
