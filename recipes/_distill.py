"""The data sets of the recipe `distill`, and the LLM's labels of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelspace.agents.labeling.labeler import Labeler
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.recipes._recorded import check_recorded, model_or_replies
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Task:
    """One data set."""

    name: str
    space: LabelSpace
    pool: list[Record]
    test: list[Record]
    """All test texts in random order; the first are those that the LLM labels."""


def load(data: Path, name: str, *, texts: int | None = None) -> Task:
    """Read a data set and its label space; of clinc150 its ten domains, of clinc150_intents its 150 intents.

    Args:
        data: Folder of the data sets.
        name: Of the one.
        texts: Training texts, drawn at random; all if None.

    Raises:
        DataError: It is not there.
    """
    folder, _, level = name.partition("_")
    space = LabelSpace.load(HERE / "spaces" / f"{folder}.yaml")
    if not level:
        tops = (Label(name=label.name, description=label.description) for label in space.labels if not label.parent)
        space = LabelSpace(name=name, labels=tuple(tops), other=space.other)
    column = "domain" if name == "clinc150" else None

    def read(split: str, count: int | None) -> list[Record]:
        path = data / folder / f"{split}.jsonl.gz"
        if not path.exists():
            raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
        rows = [replace(row, id=f"{split}-{at}") for at, row in enumerate(read_records(path, label_column=column))]
        return [rows[at] for at in np.random.default_rng(0).permutation(len(rows))[:count]]

    return Task(name, space, read("train", texts), read("test", None))


def label(
    task: Task,
    *,
    cassette: Path,
    sample: int,
    model: str | None = None,
    journal: Path | None = None,
    concurrency: int = 200,
) -> dict[str, Prediction]:
    """The LLM's labels of the pool and of the first test texts, by id, 25 texts a request.

    Raises:
        DataError: The cassette lacks a reply.
    """
    asked = model_or_replies(model, cassette, timeout=5000)
    labeler = Labeler(task.space, model=asked, journal=journal, concurrency=concurrency, batch_documents=25)
    made = {one.record_id: one for part in (task.pool, task.test[:sample]) for one in labeler.predict(part)}
    check_recorded([asked], cassette)
    return made
