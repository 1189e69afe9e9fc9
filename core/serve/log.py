"""A log of answers, bounded in size, in the form that `labelspace monitor` reads."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from labelspace.errors import ConfigError
from labelspace.progress import note
from labelspace.readout import ALL_SCORES
from labelspace.records import Prediction
from labelspace.serve.answers import HEAD, Answer
from labelspace.serve.served import Served


class AnswerLog:
    """Writes a share of all answers to a file, as lines of JSON.

    A file that has reached half of the size gets the name NAME.1.jsonl, and the one of that name before goes.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        share: float = 1.0,
        texts: bool = False,
        size: int = 256 << 20,
        seed: int | None = None,
    ) -> None:
        """Open it; what is there already stays.

        Args:
            path: NAME.jsonl.
            share: Probability with which an answer is written.
            texts: Whether the texts are written too.
            size: Bytes of both files together.
            seed: Of the draw.

        Raises:
            ConfigError: It can't be written.
        """
        self.path, self._share, self._texts, self._size = Path(path), share, texts, size // 2
        if self.path.suffix != ".jsonl":
            raise ConfigError(f"the log is a .jsonl file, and {path} is none")
        self._draw = random.Random(seed)
        self._file: IO[bytes] | None = None
        self._held = 0
        try:
            self._open()
        except OSError as error:
            raise ConfigError(f"the log {path} can't be written: {error.strerror}") from error

    @property
    def older(self) -> Path:
        """The file before."""
        return self.path.with_suffix(".1.jsonl")

    def write(self, request: str, texts: Sequence[str], answers: Sequence[Answer], served: Served) -> None:
        """Draw and write; a disk that fails ends the log, not the server.

        Args:
            request: Id of the reply; that of an answer is this, a hyphen, and its index.
            texts: Of the request.
            answers: To them.
            served: Whose they are.
        """
        if self._file is None:
            return
        lines = [
            self._line(f"{request}-{at}", text, answer, served)
            for at, (text, answer) in enumerate(zip(texts, answers, strict=True))
            if self._share >= 1 or self._draw.random() < self._share
        ]
        try:
            self._held += self._file.write(b"".join(lines))
            if self._held >= self._size:
                self._file.close()
                self.path.replace(self.older)
                self._open()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            self._file = None
            note(f"no more answers are logged: {self.path}: {error.strerror}")

    def _open(self) -> None:
        # Unbuffered, so that what is answered is there; for its owner alone, as texts are their writers' business.
        self._file = open(self.path, "ab", buffering=0, opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
        self._held = self.path.stat().st_size

    def _line(self, name: str, text: str, answer: Answer, served: Served) -> bytes:
        source = {"model": served.model, "head": served.head, "space": served.space.version}
        if answer.answered_by != HEAD:
            source["answered_by"] = answer.answered_by
        made = Prediction(
            name, tuple(answer.labels), _scores(answer.row, served.names), answer.confidence, answer.status,
            answer.reason, source=source,
        )  # fmt: skip
        row: dict[str, Any] = made.to_data()
        if answer.review is not None:
            row["review"] = answer.review
        if self._texts:
            row["text"] = text
        return orjson.dumps(row) + b"\n"

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _scores(row: Any, names: Sequence[str]) -> dict[str, float]:
    if row is None:
        return {}
    most = len(names) if len(names) <= ALL_SCORES else 10
    return {names[at]: float(row[at]) for at in (-row).argsort(kind="stable")[:most].tolist()}
