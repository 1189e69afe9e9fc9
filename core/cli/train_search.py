"""What `labelspace train --search` tries, and the folder in which an unfinished training is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.finetune.search import Trial


@dataclass(frozen=True)
class Plan:
    """The settings to score."""

    tried: list[dict[str, Any]]

    @classmethod
    def of(cls, head: str, pairs: Iterable[str], *, trials: int, seed: int) -> Plan:
        """Settings of `--try`, or those that matter most for the head; at most `trials` of them.

        Raises:
            ConfigError: A pair is not a key and a list of values.
        """
        from labelspace.finetune.search import GRIDS, choices, read_grid

        return cls(choices(read_grid(pairs) or GRIDS[head], trials=trials, seed=seed))

    def run(self, score: Callable[[dict[str, Any]], float], out: str, identity: str) -> list[Trial]:
        """Score all, best first, and say what came of it."""
        from labelspace.finetune.search import search

        note(f"search: {len(self.tried)} choices of settings, each scored on the texts that are held out")
        trials = search(score, self.tried, folder=state_folder(out), identity=identity)
        for trial in trials[:5]:
            note(f"  {trial.score:.4f}  {_shown(trial.settings)}")
        return trials

    def card(self, trials: list[Trial]) -> list[dict[str, Any]]:
        """Trials as the model keeps them, best first."""
        return [asdict(trial) for trial in trials]


def state_folder(out: str) -> Path:
    """Folder beside the model in which an unfinished training is kept, so that the same command goes on."""
    path = Path(out).resolve()
    return path.with_name(f".{path.name}.training")


def clear(out: str) -> None:
    """Remove that folder."""
    shutil.rmtree(state_folder(out), ignore_errors=True)


def fingerprint(*parts: Any) -> str:
    """A hash of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
