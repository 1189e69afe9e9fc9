"""Run folders: the stages of a long job, each done once, so that the same command goes on after a stop."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from labelspace.errors import ConfigError
from labelspace.locks import lock_exclusively
from labelspace.progress import note

STATE = "run.json"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex; of every file in it, by name, for a folder."""
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file():
                digest.update(f"{inner.relative_to(path)}\0{file_digest(inner)}\0".encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class RunFolder:
    """A folder that holds what a run made, and `run.json`, which says how far it got.

    A stage is skipped where it was finished before from the same inputs and its output is still as
    it was left; whatever changes in its inputs makes it, and what depends on it, be done again.
    Only one process at a time works in a folder.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the folder; it is made when the run starts.

        Args:
            path: The folder.
        """
        self.path = Path(path)
        self.state: dict[str, Any] = {"stages": {}}
        self._lock: int | None = None

    def __truediv__(self, name: str) -> Path:
        """Path of something in the folder."""
        return self.path / name

    def __enter__(self) -> RunFolder:
        """Make the folder, take its lock and read how far the run got.

        Raises:
            ConfigError: The folder can't be written, another process works in it, or its state is unreadable.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"{self.path}: can't be used as a run folder: {error.strerror}") from error
        try:
            lock_exclusively(self._lock)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"{self.path}: another process works in this run folder; wait for it, or name another folder"
            ) from None
        if (state := self / STATE).exists():
            try:
                self.state = json.loads(state.read_text(encoding="utf-8"))
                self.state.setdefault("stages", {})
            except ValueError as error:
                os.close(self._lock)
                raise ConfigError(f"{state}: not valid JSON; remove it to start this run anew") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)

    def stage(self, name: str, inputs: Mapping[str, Any], *, output: str) -> Stage:
        """Open one stage; its body runs only `if stage.needed`.

        Args:
            name: Name of the stage.
            inputs: All that shapes the output, as plain data; digests for files.
            output: Name of the file or folder that the stage makes.
        """
        return Stage(self, name, inputs, self / output)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        temporary = self / f"{STATE}.tmp"
        temporary.write_text(json.dumps(self.state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(self / STATE)


class Stage:
    """One stage of a run: tells whether it has to be done, and records it when its block ends well."""

    def __init__(self, run: RunFolder, name: str, inputs: Mapping[str, Any], path: Path) -> None:
        """Compare with what the run knows; see `RunFolder.stage`."""
        self.run, self.name, self.path = run, name, path
        self.fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()
        before = run.state["stages"].get(name)
        self.needed = not (
            before
            and before["fingerprint"] == self.fingerprint
            and path.exists()
            and before["digest"] == file_digest(path)
        )
        self.digest: str = "" if self.needed else before["digest"]
        """Digest of the output, for the inputs of later stages; set when the block ends."""
        self.figures: dict[str, Any] = {} if self.needed else before["figures"]
        """What to keep and show of it."""
        self._started = time.monotonic()

    def __enter__(self) -> Stage:
        """Say what happens now."""
        note(f"{self.name}: working" if self.needed else f"{self.name}: done before, kept ({self.path})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record the stage as done, unless its block raised."""
        if not self.needed or kind is not None:
            return
        self.figures = {**self.figures, "seconds": round(time.monotonic() - self._started, 2)}
        self.digest = file_digest(self.path)
        self.run.state["stages"][self.name] = {
            "fingerprint": self.fingerprint,
            "digest": self.digest,
            "output": self.path.name,
            "figures": self.figures,
        }
        self.run.save()
        note(f"{self.name}: done in {self.figures['seconds']:.1f} s ({self.path})")
