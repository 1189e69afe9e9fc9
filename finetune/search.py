"""Search over a few settings: score choices on dev, keep every score, take the best.

A grid, or a random part of it: with few settings that matter, random choices find good ones in far fewer
trials than a full grid (Bergstra and Bengio, 2012). Each score is on disk before the next trial
starts, so that the same search goes on after a stop and never scores a choice twice.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from labelspace.errors import ConfigError, DataError
from labelspace.progress import Progress

SCORES = "search.jsonl"
GRIDS: dict[str, dict[str, list[Any]]] = {
    "linear": {"C": [1.0, 3.0, 10.0, 30.0, 100.0], "words": [0.0, 0.5, 1.0]},
    "mlp": {"hidden": [128, 512], "epochs": [30, 90], "dropout": [0.2, 0.5]},
    "lightgbm": {"depth": [3, 5, 7], "trees": [50, 200], "learning_rate": [0.05, 0.1]},
    "knn": {"neighbours": [5, 15, 50], "sharpness": [10.0, 20.0, 40.0]},
    "ls": {
        "training.learning_rate": [5e-5, 2e-4, 5e-4, 1e-3],
        "training.head_learning_rate": [None, 5e-3],
        "pooling": ["last", "mean"],
    },
    "few-shot": {
        "contrast": ["cosine", "softmax"],
        "training.learning_rate": [2e-4, 5e-4, 1e-3],
        "training.epochs": [20, 40],
    },
    "ls-descriptions": {
        "training.learning_rate": [5e-5, 2e-4, 5e-4],
        "training.head_learning_rate": [None, 1e-3],
    },
    "ls-token": {"training.learning_rate": [5e-5, 1e-4, 5e-4, 1e-3], "training.head_learning_rate": [None, 5e-3]},
    "ptec": {
        "training.learning_rate": [5e-4, 5e-3, 2e-2],
        "training.head_learning_rate": [5e-4, 2e-3, 1e-2],
        "prompt_length": [20, 100],
    },
}
"""What is tried of each head if nothing else is asked for."""


@dataclass(frozen=True)
class Trial:
    """Settings that were scored."""

    settings: dict[str, Any]
    score: float
    """On dev; higher is better."""
    seconds: float


def read_grid(pairs: Iterable[str]) -> dict[str, list[Any]]:
    """Values to try by setting, from pairs such as `training.learning_rate=[1e-4, 5e-4]`.

    Raises:
        ConfigError: A pair is not a key and a list of values.
    """
    grid: dict[str, list[Any]] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:
            values = None
        if not sign or not key.strip() or not isinstance(values, list) or not values:
            raise ConfigError(f"{pair!r} names no values to try; write KEY=[VALUE, VALUE]")
        grid[key.strip()] = [_number(value) for value in values]
    return grid


def choices(grid: Mapping[str, Sequence[Any]], *, trials: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Settings to try: all combinations in order, or so many of them drawn at random."""
    size = math.prod(len(values) for values in grid.values())
    combinations = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    if trials is None or trials >= size:
        return list(combinations)
    drawn = set(random.Random(seed).sample(range(size), trials))
    return [made for at, made in enumerate(combinations) if at in drawn]


def search(
    score: Callable[[dict[str, Any]], float],
    tried: Sequence[dict[str, Any]],
    *,
    folder: Path,
    identity: str,
) -> list[Trial]:
    """Score settings, one after the other; those that an earlier call scored are not scored again.

    Args:
        score: Trains with the settings and returns the score on dev, higher is better.
        tried: Settings to score.
        folder: Where the scores are kept.
        identity: Of everything else that a score hangs on; scores of another one are not used.

    Returns:
        A trial for each of `tried`, best first; of equal ones, that which was named first.

    Raises:
        DataError: The scores can't be written.
    """
    path = folder / SCORES
    known = _read(path, identity)
    trials: list[Trial] = []
    with Progress("searching", total=len(tried), unit="trials") as bar:
        for settings in tried:
            trial = known.get(_key(settings))
            if trial is None:
                started = time.monotonic()
                trial = Trial(settings, float(score(settings)), time.monotonic() - started)
                _append(path, {"identity": identity, **asdict(trial)})
            trials.append(trial)
            bar.advance(1, remark=f"best {max(one.score for one in trials):.4f}")
    return sorted(trials, key=lambda trial: -trial.score)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text; people who try rates mean the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _read(path: Path, identity: str) -> dict[str, Trial]:
    found: dict[str, Trial] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
            if data.pop("identity") == identity:
                found[_key(data["settings"])] = Trial(**data)
        except (ValueError, KeyError, TypeError):
            continue  # the end of a line that a kill cut off
    return found


def _append(path: Path, data: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
                file.write(b"\n" if torn else b"")
            file.write(json.dumps(data).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror or error}", path=str(path)) from error
