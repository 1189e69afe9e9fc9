"""The texts of `discover_llm`, what is measured on them, and how it is shown."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click

from labelspace.agents.taxonomy.judge import Item, Verdict
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.metrics import evaluate, matched_tree_distance, one_to_one_f1
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

Name = Literal["clinc150", "bills", "ai_arxiv"]


@dataclass(frozen=True)
class Task:
    """What a user of a data set would say, and how the replies are kept few."""

    file: str
    documents: int
    use_case: str
    max_labels: int
    labelled: int
    """Documents that are labelled."""
    together: int
    """Documents in a request of labeling."""
    level: str = ""
    """Where the gold label stands: "label" or another column; "" where there is none."""
    below: str = ""
    """The gold level below it, for the distance in the tree."""
    max_chars: int = 240
    """Of a document that is labelled or judged."""
    candidates: int = 3
    """Taxonomies that one is chosen from."""
    seeds: int = 1
    """Runs of the whole, whose labels are compared; the later ones make one taxonomy each."""


TASKS: dict[Name, Task] = {
    "clinc150": Task(
        file="train",
        documents=400,
        use_case="Hand each request to a voice assistant to the one of about ten teams that looks after its area.",
        max_labels=12,
        labelled=400,
        together=20,
        level="domain",
        below="label",
        seeds=2,
    ),
    "bills": Task(
        file="train",
        documents=500,
        use_case="File bills of the US Congress by policy area, as a library of legislation does.",
        max_labels=25,
        labelled=500,
        together=25,
        level="label",
        below="sublabel",
        seeds=2,
    ),
    "ai_arxiv": Task(
        file="corpus",
        documents=400,
        use_case="Show in a yearly overview which problems researchers in artificial intelligence work on.",
        max_labels=20,
        labelled=100,
        together=25,
        candidates=1,
    ),
}


@dataclass(frozen=True)
class Texts:
    """The documents of a task, with their gold labels."""

    name: Name
    task: Task
    records: list[Record]
    gold: list[str]
    """On the level of the labels; empty where there are none."""
    leaves: list[str]
    tree: LabelSpace | None


def load(data: Path, name: Name) -> Texts:
    """The documents of a data set, drawn with seed 0."""
    task = TASKS[name]
    path = data / name / f"{task.file}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    rows = list(read_records(path))
    drawn = sorted(random.Random(0).sample(range(len(rows)), task.documents))
    kept = [rows[place] for place in drawn]

    def column(record: Record, which: str) -> str:
        return str(record.label if which == "label" else record.metadata[which])

    # Ids by place: what a data set calls its rows should not matter.
    records = [Record(f"{name} {place}", record.text) for place, record in zip(drawn, kept, strict=True)]
    if not task.level:
        return Texts(name, task, records, [], [], None)
    gold = [column(record, task.level) for record in kept]
    leaves = [f"{above} > {column(record, task.below)}" for above, record in zip(gold, kept, strict=True)]
    tree = [{"name": above} for above in sorted(set(gold))]
    tree += [{"name": leaf, "parent": leaf.partition(" > ")[0]} for leaf in sorted(set(leaves))]
    return Texts(name, task, records, gold, leaves, LabelSpace.from_data({"name": name, "labels": tree}))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    labels: int
    coverage: float
    accuracy: float | None = None
    relevance: float | None = None
    nmi: float | None = None
    ari: float | None = None
    f1: float | None = None
    distance: float | None = None
    nmi_interval: tuple[float, float] | None = None


def measure(texts: Texts, labels: Sequence[Prediction], space: LabelSpace) -> Row:
    """Coverage, and how well the labels agree with the gold ones where there are any."""
    given = [None if one.label not in space else one.label for one in labels]
    row = Row(len(space.leaves), sum(one is not None for one in given) / len(given))
    if not texts.gold:
        return row
    assert texts.tree is not None
    gold = [
        Record(record.id, record.text, labels=(name,)) for record, name in zip(texts.records, texts.gold, strict=True)
    ]
    report = evaluate(labels, gold, space=None, mode="discovered", other="Other")
    estimate = report.measures["nmi"].all_rows
    assert estimate is not None
    return replace(
        row,
        nmi=report.value("nmi"),
        ari=report.value("ari"),
        f1=one_to_one_f1(texts.gold, given),
        distance=matched_tree_distance(texts.leaves, given, space=texts.tree),
        nmi_interval=(estimate.low or 0.0, estimate.high or 0.0),
    )


def letter(item: Item, verdict: Verdict) -> str:
    """The answer that a verdict came from."""
    if verdict.choice in (None, "none"):
        return str(verdict.choice)
    return "A" if (verdict.choice == "assigned") == item.assigned_first else "B"


def gold_line(texts: Texts) -> str:
    """What the gold labels are."""
    if not texts.gold:
        return "; no gold labels"
    return f"; gold: {len(set(texts.gold))} of level {texts.task.level!r}, {len(set(texts.leaves))} below"


def show(method: str, row: Row) -> None:
    """Print one row."""
    shares = (row.coverage, row.accuracy, row.relevance, row.nmi)
    cells = " ".join(f"{'-':>6}" if value is None else f"{value:6.3f}" for value in shares)
    interval = "" if row.nmi_interval is None else "{:.3f}-{:.3f}".format(*row.nmi_interval)
    rest = " ".join(f"{'-':>6}" if value is None else f"{value:6.3f}" for value in (row.ari, row.f1, row.distance))
    click.echo(f"  {method:38} {row.labels:6} {cells} {interval:13} {rest}")
