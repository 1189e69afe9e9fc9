"""Label-supervised LoRA on texts, beside a linear head on the same encoder left frozen: three seeds, test once.

    labelspace run ls_texts                                   # needs the data sets in ../shared/data
    labelspace run ls_texts data=FOLDER base=FOLDER_OF_AN_ENCODER sets=[banking77] seeds=[0]

banking77 (10,003 training texts, 77 intents) and clinc150 (15,000, 150 intents, in-scope): accuracy.
goemotions (43,410, 28 labels, several a text): macro F1. Where a set has dev texts, the best epoch is taken by
them; banking77 has none and trains on all its texts for a number of epochs that, as the rates of
all three, was chosen on a tenth of its training texts. `dev=true` shows that choice.

Measured so far, all-MiniLM-L6-v2 (rounded to float16) on an H100, 417 texts/s beside 13 other runs:
    banking77   lora   dev 94.62 (a tenth of train, seed 0, epoch 16 of 20); test 93.51 (seed 0, CPU, float32),
                       less than `linear_heads` has with words beside the frozen encoder (93.70)
    clinc150    lora   dev 97.07, 97.13, 96.80 (after 9 to 10 of 12 epochs); test not measured yet
    goemotions  lora   dev macro F1 50.9 (seed 0, 5 epochs in steps of 64); test not measured yet
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.finetune.adapters import LoraSettings, Tuning
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.train_settings import TrainSettings
from labelspace.records import Record


class LsTextsConfig(Config):
    """What `labelspace run ls_texts` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    sets: tuple[str, ...] = ("banking77", "clinc150", "goemotions")
    """Data sets to run."""
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A model by name or folder."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run for each."""
    methods: tuple[Tuning, ...] = ("frozen", "lora")
    """What to train."""
    pooling: Pooling = "mean"
    """How the vectors of a text become one."""
    lora: LoraSettings = LoraSettings(rank=32, alpha=64.0, targets="all-linear")
    """Settings of the adapters."""
    training: TrainSettings = TrainSettings(
        epochs=12, batch_size=32, learning_rate=5e-4, head_learning_rate=5e-3, warmup=0.1
    )
    """Settings of the loop, for adapters."""
    frozen: TrainSettings = TrainSettings(epochs=12, batch_size=32, learning_rate=1e-2)
    """Settings of the loop, for a head alone."""
    epochs: dict[str, int] = {"banking77": 16, "goemotions": 6}  # noqa: RUF012
    """Epochs where a set needs others."""
    dev: bool = False
    """Score what settings are chosen on, and leave the test texts alone."""
    state: Path | None = None
    """Folder for the state of the runs, by which the same command goes on after a stop."""
    out: Path | None = None
    """File for the figures, as JSON."""


def main(config: LsTextsConfig) -> list[dict[str, Any]]:
    """Run each set, method and seed; print a line for each and the means."""
    found = []
    for name in config.sets:
        for method in config.methods:
            runs = [run(name, method, seed, config) for seed in config.seeds]
            scores = [figures["score"] for figures in runs]
            click.echo(f"{name} {method}: mean {np.mean(scores):.4f}, {min(scores):.4f} to {max(scores):.4f}")
            found += runs
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def run(name: str, method: Tuning, seed: int, config: LsTextsConfig) -> dict[str, Any]:
    """Train once and score once."""
    from labelspace.finetune.ls import LabelSupervised
    from labelspace.metrics import accuracy, macro_f1

    train, dev, test = splits(name, config)
    settings = config.frozen if method == "frozen" else config.training
    several = any(len(record.labels or ()) != 1 for record in train)
    classifier = LabelSupervised(
        config.base,
        multi_label=several,
        pooling=config.pooling,
        tuning=method,
        lora=config.lora,
        bias=True,
        dropout=0.1,
        max_length=128,
        training=settings.model_copy(update={"seed": seed, "epochs": config.epochs.get(name, settings.epochs)}),
    )
    classifier.fit(
        texts(train),
        labels(train, several),
        dev=(texts(dev), labels(dev, several)) if dev else None,
        folder=None if config.state is None else config.state / f"{name}-{method}-{seed}{'-dev' * config.dev}",
    )
    history = classifier.history_
    assert history is not None
    figures = {"set": name, "method": method, "seed": seed, "best_epoch": history.best_epoch}
    figures |= {
        "dev_scores": history.scores,
        "seconds": history.seconds,
        "tokens_a_second": history.tokens / history.seconds,
    }
    figures["peak_bytes"] = history.peak_bytes
    if test:
        answers = classifier.predict(texts(test))
        figures["score"] = (macro_f1 if several else accuracy)(labels(test, several), answers)
    else:
        figures["score"] = history.best_score
    click.echo(
        f"{name} {method} seed {seed}: {'test' if test else 'dev'} {figures['score']:.4f}"
        f" ({history.epochs} epochs, best {history.best_epoch or 'not looked for'}; {history.seconds:.0f} s,"
        f" {history.tokens / history.seconds:,.0f} tokens/s, peak {history.peak_bytes / 1e6:,.0f} MB)"
    )
    return figures


def splits(name: str, config: LsTextsConfig) -> tuple[list[Record], list[Record], list[Record]]:
    """Records to train on, to choose by, and to score; the last empty if `config.dev`."""

    def read(split: str) -> list[Record]:
        path = config.data / name / f"{split}.jsonl.gz"
        if not path.exists():
            raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
        return list(read_records(path))

    train = read("train")
    dev = read("dev") if (config.data / name / "dev.jsonl.gz").exists() else []
    if config.dev and not dev:
        random.Random(0).shuffle(train)
        part = len(train) // 10
        train, dev = train[part:], train[:part]
    return train, dev, [] if config.dev else read("test")


def texts(records: list[Record]) -> list[str]:
    """The texts alone."""
    return [record.text for record in records]


def labels(records: list[Record], several: bool) -> Any:
    """The labels alone, one or several each."""
    return [list(record.labels or ()) if several else record.label or "" for record in records]
