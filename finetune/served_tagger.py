"""A tagger behind vLLM: words in, tags out, the logits of tokens over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.align import encode_words
from labelspace.finetune.ls_token import read_tags, spread_words
from labelspace.llm.client import HTTPModel
from labelspace.llm.sync import run
from labelspace.serve.outer_head import OuterHead, read_vector
from labelspace.serve.served import Served

_AT_ONCE = 64
"""Sentences in one request."""


class ServedTagger:
    """Gives each word a tag, by an exported `ls-token` head that `vllm serve` has behind an address."""

    def __init__(self, url: str, export: str | Path, *, api_key: str | None = None) -> None:
        """Say where it is.

        Args:
            url: `http(s)://host:port`, with `#name` where the server has several models.
            export: Folder of the export: its tokenizer finds the tokens of words.
            api_key: As for `VLLMClassifier`.

        Raises:
            DataError: The folder is no export.
            ConfigError: It is that of a classifier of texts.
        """
        from transformers import AutoTokenizer

        root, _, name = url.partition("#")
        self.served = Served.load(export)
        if self.served.task != "token_classify":
            raise ConfigError(f"{export}: gives labels to texts; use VLLMClassifier")
        self._root, self._name, self._key = root.rstrip("/").removesuffix("/v1"), name or self.served.model, api_key
        self._tokenizer = AutoTokenizer.from_pretrained(str(export))
        self.classes_ = list(self.served.names)
        self._head = OuterHead.load(Path(export)) if self.served.has_outer_head else None
        self.lost_words_ = 0
        """Words of the last prediction that had no token."""

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag for each word."""
        return [
            read_tags(logits, positions, self.classes_, decoding=str(self.served.decoding))
            for logits, positions in self._logits(sentences)
        ]

    def predict_proba(self, sentences: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """For each sentence [words, k]; certain of O for a word that was cut off."""
        return [spread_words(logits, positions, self.classes_) for logits, positions in self._logits(sentences)]

    def _logits(self, sentences: Sequence[Sequence[str]]) -> list[tuple[npt.NDArray[np.float32], list[int | None]]]:
        """Logits of the words that have a token, and the positions of all."""
        aligned = encode_words(self._tokenizer, sentences, max_length=int(self.served.truncate or 0))
        self.lost_words_ = sum(one.lost for one in aligned)
        rows = run(self._ask([list(one.ids) for one in aligned]))
        found = []
        for one, row in zip(aligned, rows, strict=True):
            if row.size % max(len(one.ids), 1):
                raise DataError(f"the server gave {row.size} numbers for {len(one.ids)} tokens; is it this model?")
            kept = row.reshape(len(one.ids), -1)[[at for at in one.positions if at is not None]]
            found.append((kept if self._head is None else self._head.logits(kept), list(one.positions)))
        return found

    async def _ask(self, ids: list[list[int]]) -> list[npt.NDArray[np.float32]]:
        model = HTTPModel(self._root, self._name, api_key=self._key, constraint="prompt")
        await model.start({})
        try:
            rows: list[npt.NDArray[np.float32]] = []
            for at in range(0, len(ids), _AT_ONCE):
                body = {"model": self._name, "input": ids[at : at + _AT_ONCE], "use_activation": False}
                body |= {"task": self.served.asks, "encoding_format": "base64"}
                reply = await model.call("POST", "/pooling", body)
                rows += [read_vector(one["data"]) for one in sorted(reply["data"], key=lambda one: one["index"])]
            return rows
        finally:
            await model.close()
