"""Label-supervised tagging of words on wnut17, beside a linear head on the same encoder left frozen: three seeds.

    labelspace run ls_entities                                # needs the data sets in ../shared/data
    labelspace run ls_entities data=FOLDER base=FOLDER_OF_AN_ENCODER seeds=[0]

wnut17: 3,394 sentences of social media to train on, 1,009 to choose the epoch by, 1,287 to score once; entities of
six types, most never seen in training. The score is strict micro F1 of spans; a word that was cut off counts.

Expected, all-MiniLM-L6-v2 (rounded to float16), H100, 320 s a run beside 13 others:
    lora    dev 58.9, 59.9, 59.1; test 43.3, 42.5, 43.2, mean 43.0 (seed 0 with one thread of a
            CPU and training.precision=bf16: dev 58.7, test 45.6, 1,234 s)
    frozen  dev 42.0, 39.5, 39.6; test 24.8, 24.8, 25.9, mean 25.2 (one thread of a CPU, frozen.precision=bf16, 36 s)
The frozen head's rate and dropout were the best of four on dev; 1e-2 and 0.1 had 40.3 on dev, 28.1 on test. With the
encoder's own dropout on, in each epoch anew (remember=false), seed 0 had 43.1 on dev.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.finetune.adapters import LoraSettings, Tuning
from labelspace.finetune.train_settings import TrainSettings


class LsEntitiesConfig(Config):
    """What `labelspace run ls_entities` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A model by name or folder."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run for each."""
    methods: tuple[Tuning, ...] = ("frozen", "lora")
    """What to train."""
    lora: LoraSettings = LoraSettings(rank=32, alpha=64.0, targets="all-linear")
    """Settings of the adapters."""
    training: TrainSettings = TrainSettings(
        epochs=14, batch_size=16, learning_rate=5e-4, head_learning_rate=2e-3, warmup=0.1
    )
    """Settings of the loop, for adapters."""
    frozen: TrainSettings = TrainSettings(epochs=14, batch_size=16, learning_rate=3e-2)
    """Settings of the loop, for a head alone; its encoder sees each sentence once."""
    dropout: float = 0.1
    """Before the head, with adapters."""
    frozen_dropout: float = 0.3
    """Before a head alone."""


def main(config: LsEntitiesConfig) -> dict[str, list[float]]:
    """Run each method and seed; print a line for each; returns the F1 on test by method."""
    found: dict[str, list[float]] = {}
    for method in config.methods:
        found[method] = [run(method, seed, config) for seed in config.seeds]
        click.echo(f"{method}: mean {np.mean(found[method]):.4f}, {min(found[method]):.4f} to {max(found[method]):.4f}")
    return found


def run(method: Tuning, seed: int, config: LsEntitiesConfig) -> float:
    """Train once and score once."""
    from labelspace.finetune.ls_token import LabelSupervisedTagger
    from labelspace.finetune.tags import span_scores

    settings = config.frozen if method == "frozen" else config.training
    tagger = LabelSupervisedTagger(
        config.base,
        tuning=method,
        lora=config.lora,
        dropout=config.frozen_dropout if method == "frozen" else config.dropout,
        remember=method == "frozen",
        training=settings.model_copy(update={"seed": seed}),
    )
    dev, (words, gold) = read("dev", config), read("test", config)
    tagger.fit(*read("train", config), dev=dev)
    history = tagger.history_
    assert history is not None
    scores = span_scores(gold, tagger.predict(words))
    click.echo(
        f"{method} seed {seed}: dev {history.best_score or 0:.4f} (epoch {history.best_epoch}), test "
        + ", ".join(f"{name} {score.f1:.4f}" for name, score in scores.items())
        + f"; {tagger.lost_words_} words cut off; {history.seconds:.0f} s"
    )
    return scores["micro"].f1


def read(split: str, config: LsEntitiesConfig) -> tuple[list[Any], list[Any]]:
    """Words and tags of each sentence."""
    path = config.data / "wnut17" / f"{split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    records = list(read_records(path))
    return [record.tokens or () for record in records], [record.tags or () for record in records]
