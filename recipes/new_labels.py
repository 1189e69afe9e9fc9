"""Labels without a training text: `ls-descriptions` beside the nearest description by the same frozen encoder.

    labelspace run new_labels                                 # needs the data sets in ../shared/data
    labelspace run new_labels data=FOLDER base=FOLDER_OF_AN_ENCODER

clinc150: 30 of its 150 intents are drawn as new. The head learns from 20 texts of each of the other 120, the encoder
left frozen, and is then given the descriptions of all (`with_labels`). Accuracy on the in-scope test texts. The
descriptions are those of `recipes/spaces`, written from the names alone. Epochs and rate were chosen on dev, seed 0.

Measured, all-MiniLM-L6-v2, seeds 0 to 2, mean (and range) of accuracy on test:
                             new among the new             new among all           known among all
    nearest          88.44% (84.33% to 91.00%) 76.93% (71.33% to 79.78%) 79.41% (78.69% to 80.81%)
    ls-descriptions  91.11% (88.78% to 93.44%) 76.59% (73.44% to 79.56%) 92.59% (91.89% to 93.03%)
So new labels are told apart better, and no less often found beside known ones that had texts.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.finetune.train_settings import TrainSettings
from labelspace.records import Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.finetune.described import LabelDescriptions

SPACE = Path(__file__).parent / "spaces" / "clinc150.yaml"
COLUMNS = ("new among the new", "new among all", "known among all")


class NewLabelsConfig(Config):
    """What `labelspace run new_labels` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """An encoder by name or folder."""
    new: int = 30
    """Labels without training texts."""
    texts: int = 20
    """Training texts of each other label."""
    split: str = "test"
    """Whose texts are scored."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of labels and texts, and one run, for each."""
    training: TrainSettings = TrainSettings(epochs=3, batch_size=64, learning_rate=1e-3, warmup=0.1)
    """Settings of the loop."""
    out: Path | None = None
    """File for the figures, as JSON."""


def main(config: NewLabelsConfig) -> dict[str, list[list[float]]]:
    """Train and score for each seed; print the means, and the range of seeds."""
    from labelspace.embed import load_embedder
    from labelspace.finetune.classifier import label_texts

    space = LabelSpace.load(SPACE)
    train, asked = (read(config, split, space) for split in ("train", config.split))
    texts = label_texts(space)
    encoder = load_embedder(f"st:{config.base}")
    nearest = encoder.embed([row.text for row in asked]) @ encoder.embed(list(texts.values())).T
    found: dict[str, list[list[float]]] = defaultdict(list)
    for seed in config.seeds:
        names = list(texts)
        random.Random(seed).shuffle(names)
        new = set(names[: config.new])
        found["nearest"].append(score(nearest, asked, list(texts), new))
        known = {name: text for name, text in texts.items() if name not in new}
        head = learn(train, known, config, seed).with_labels(texts)
        logits = head.decision_function([row.text for row in asked])
        found["ls-descriptions"].append(score(logits, asked, list(texts), new))
    click.echo(f"{'':16}" + "".join(f"{name:>26}" for name in COLUMNS))
    for method, rows in found.items():
        cells = [f"{np.mean(one):.2%} ({min(one):.2%} to {max(one):.2%})" for one in zip(*rows, strict=True)]
        click.echo(f"{method:16}" + "".join(f"{cell:>26}" for cell in cells))
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return dict(found)


def learn(train: list[Record], known: dict[str, str], config: NewLabelsConfig, seed: int) -> LabelDescriptions:
    """A head that has seen texts of the known labels alone."""
    from labelspace.finetune.described import LabelDescriptions

    by_label: dict[str, list[Record]] = defaultdict(list)
    for row in random.Random(seed).sample(train, len(train)):
        by_label[row.label or ""].append(row)
    fitted = [row for name in known for row in by_label[name][: config.texts]]
    head = LabelDescriptions(
        config.base,
        tuning="frozen",
        label_texts=known,
        max_length=64,
        training=config.training.model_copy(update={"seed": seed}),
    )
    return head.fit([row.text for row in fitted], [row.label or "" for row in fitted])


def score(logits: Any, asked: list[Record], names: list[str], new: set[str]) -> list[float]:
    """Accuracies, as in `COLUMNS`."""
    is_new = np.array([row.label in new for row in asked])
    gold = np.array([names.index(row.label or "") for row in asked])
    columns = np.array([name in new for name in names])
    among_new = np.where(columns, logits, -np.inf).argmax(axis=1) == gold
    among_all = logits.argmax(axis=1) == gold
    return [float(among_new[is_new].mean()), float(among_all[is_new].mean()), float(among_all[~is_new].mean())]


def read(config: NewLabelsConfig, split: str, space: LabelSpace) -> list[Record]:
    """The in-scope texts of a split."""
    path = config.data / "clinc150" / f"{split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    return [row for row in read_records(path) if row.label in space.leaves]
