"""The tasks of the recipe `label_llm`: three data sets, the samples of them, and the ways of asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Task:
    """One data set: what is labelled, and what may be learnt from."""

    name: str
    space: LabelSpace
    pool: list[Record]
    """Labelled examples, to show and to write instructions from."""
    dev: list[Record]
    """Labelled records to calibrate on, and to test instructions on."""
    test: list[Record]
    ways: Mapping[str, Mapping[str, Any]]
    """Settings of the labeler by the title of a row; `beside` is the row that it is compared with."""
    target: float
    """Precision that the threshold is chosen for."""
    written: Mapping[str, int] = field(default_factory=lambda: {"together": 7, "each": 10})
    """Labels in one request for instructions, and examples of each."""

    @property
    def measure(self) -> str:
        """What is reported."""
        return "micro_f1" if self.space.multi_label else "accuracy"


def sample(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """So many records, drawn without replacement; in random order, as neighbours in a file may share a label."""
    return [records[at] for at in np.random.default_rng(seed).permutation(len(records))[:count]]


def read(data: Path, name: str, split: str) -> list[Record]:
    """A split of a data set, each record named by its place.

    Raises:
        DataError: It is not there.
    """
    path = data / name / f"{split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    return [replace(record, id=f"{split}-{at}") for at, record in enumerate(read_records(path))]


ALL = "all labels, 10 texts a request"
FIFTY = "all labels, 50 texts a request"
TEN: Mapping[str, Any] = {"batch_documents": 10, "confidence": "verbal"}
TWELVE: Mapping[str, Any] = {"candidates": 12, "confidence": "verbal"}


def clinc150(data: Path, seed: int) -> Task:
    """150 intents, without their domains; five examples of each."""
    tree = LabelSpace.load(HERE / "spaces" / "clinc150.yaml")
    labels = tuple(Label(name=name, description=tree[name].description) for name in tree.leaves)
    by_label: dict[str | None, list[Record]] = {}
    for record in read(data, "clinc150", "train"):
        by_label.setdefault(record.label, []).append(record)
    five_each = [record for own in by_label.values() for record in sample(own, 5, seed)]
    return Task(
        "clinc150",
        LabelSpace(name="clinc150", labels=labels),
        five_each,
        sample(read(data, "clinc150", "dev"), 100, seed),
        sample(read(data, "clinc150", "test"), 300, seed),
        {
            ALL: TEN,
            "12 candidates, 1 text a request": {**TWELVE, "beside": ALL},
            "12 candidates by examples, 5 shown": {
                **TWELVE,
                "labelled": five_each,
                "shots": 5,
                "beside": "12 candidates, 1 text a request",
            },
            FIFTY: {**TEN, "batch_documents": 50},
            "50 with instructions": {**TEN, "batch_documents": 50, "instructions": True, "beside": FIFTY},
        },
        0.98,
        {"together": 10, "each": 5},
    )


def goemotions(data: Path, seed: int) -> Task:
    """27 emotions and neutral, several of which a text can have."""
    pool = sample(read(data, "goemotions", "train"), 1000, seed)
    return Task(
        "goemotions",
        LabelSpace.load(HERE / "spaces" / "goemotions.yaml"),
        pool,
        sample(read(data, "goemotions", "dev"), 200, seed),
        sample(read(data, "goemotions", "test"), 300, seed),
        {
            ALL: TEN,
            "with 20 examples": {**TEN, "labelled": pool, "shots": 20, "beside": ALL},
            "with instructions": {**TEN, "instructions": True, "beside": ALL},
        },
        0.7,
    )


def trec(data: Path, seed: int) -> Task:
    """Six kinds of questions."""
    questions = sample(read(data, "trec", "train"), 500, seed)
    return Task(
        "trec",
        LabelSpace.load(HERE / "spaces" / "trec.yaml"),
        questions[:300],
        questions[300:],
        sample(read(data, "trec", "test"), 300, seed),
        {
            ALL: TEN,
            "with 20 examples": {**TEN, "labelled": questions[:300], "shots": 20, "beside": ALL},
            "with instructions": {**TEN, "instructions": True, "beside": ALL},
        },
        0.99,
    )


TASKS: Mapping[str, Callable[[Path, int], Task]] = {"clinc150": clinc150, "goemotions": goemotions, "trec": trec}
