"""Labels by a language model on three data sets: how good, how sure, and what each way of asking brings.

    labelspace run label_llm                                # replays recorded replies, asks nothing
    labelspace run label_llm model=http://host/v1#name      # asks a model of yours

PLACEHOLDER
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.agents.calibrated import apply
from labelspace.agents.calibration import best_f1, calibrate, decide, pairs_of
from labelspace.agents.instruct import compare, write_instructions
from labelspace.agents.instruct_groups import make_groups
from labelspace.agents.instructions import instructed, say
from labelspace.agents.labeler import Labeler
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.llm import ChatModel, Engine, connect, run
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics.calibration import calibration_error_estimate
from labelspace.metrics.cells import group
from labelspace.metrics.compare import MEASURES, paired_bootstrap
from labelspace.metrics.intervals import bootstrap, percentile_interval
from labelspace.metrics.report import Difference
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

HERE = Path(__file__).resolve().parent
RESAMPLES = 2000


class LabelLlmConfig(Config):
    """What `labelspace run label_llm` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    cassette: Path = Path("tests/cassettes/label_llm.jsonl")
    """Recorded replies."""
    model: str | None = None
    """A model to ask instead, such as http://host/v1#name; its replies are kept in `journal`."""
    journal: Path | None = None
    """SQLite file for the replies of `model`."""
    concurrency: int = 100
    """Requests in flight."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Finds candidates and examples: a sentence-transformers model by name or folder, or http://host/v1#model."""
    seed: int = 0
    """Of the samples."""


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
    """Settings of the labeler by the title of a row; each row is compared with the first."""
    written: Mapping[str, int]
    """How instructions are written: labels together, and examples of each."""
    target: float
    """Precision that the threshold is chosen for."""

    @property
    def measure(self) -> str:
        """What is reported."""
        return "micro_f1" if self.space.multi_label else "accuracy"


def sample(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """So many records, drawn without replacement; in random order, as neighbours in a file may share a label."""
    return [records[at] for at in np.random.default_rng(seed).permutation(len(records))[:count]]


def load(config: LabelLlmConfig) -> list[Task]:
    """The three tasks."""

    def read(name: str, split: str) -> list[Record]:
        path = config.data / name / f"{split}.jsonl.gz"
        if not path.exists():
            raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
        return [replace(record, id=f"{split}-{at}") for at, record in enumerate(read_records(path))]

    seed = config.seed
    tree = LabelSpace.load(HERE / "spaces" / "clinc150.yaml")
    flat = LabelSpace(
        name="clinc150", labels=tuple(Label(name=name, description=tree[name].description) for name in tree.leaves)
    )
    by_label: dict[str, list[Record]] = {}
    for record in read("clinc150", "train"):
        by_label.setdefault(record.labels[0], []).append(record)  # type: ignore[index]
    five_each = [record for own in by_label.values() for record in sample(own, 5, seed)]
    questions = sample(read("trec", "train"), 500, seed)
    ten = {"batch_documents": 10, "confidence": "verbal"}
    shown = {"labelled": questions[:300], "shots": 20}
    emotions = sample(read("goemotions", "train"), 1000, seed)
    twelve = {"candidates": 12, "confidence": "verbal"}
    return [
        Task(
            "clinc150",
            flat,
            five_each,
            sample(read("clinc150", "dev"), 100, seed),
            sample(read("clinc150", "test"), 300, seed),
            {
                "all 150 labels, 10 texts a request": ten,
                "12 candidates, 1 text a request": twelve,
                "and 5 examples, 12 other candidates": {**twelve, "labelled": five_each, "shots": 5},
                "12 candidates and instructions": {**twelve, "instructions": True},
            },
            {"together": 10, "each": 5},
            0.98,
        ),
        Task(
            "goemotions",
            LabelSpace.load(HERE / "spaces" / "goemotions.yaml"),
            emotions,
            sample(read("goemotions", "dev"), 200, seed),
            sample(read("goemotions", "test"), 300, seed),
            {
                "28 labels, 10 texts a request": ten,
                "and 20 examples": {**ten, "labelled": emotions, "shots": 20},
                "and instructions": {**ten, "instructions": True},
                "and three orders of the labels": {**ten, "permutations": 3},
            },
            {"together": 7, "each": 10},
            0.7,
        ),
        Task(
            "trec",
            LabelSpace.load(HERE / "spaces" / "trec.yaml"),
            questions[:300],
            questions[300:],
            sample(read("trec", "test"), 300, seed),
            {
                "6 labels, 10 texts a request": ten,
                "and 20 examples": {**ten, **shown},
                "and instructions": {**ten, "instructions": True},
            },
            {"together": 7, "each": 10},
            0.99,
        ),
    ]


class Asker:
    """Asks the model of the config, or its cassette."""

    def __init__(self, config: LabelLlmConfig) -> None:
        """Open neither."""
        self._config = config

    def _model(self) -> ChatModel:
        config = self._config
        return RecordedModel(config.cassette) if config.model is None else connect(config.model, timeout=3600)

    def label(
        self, space: LabelSpace, records: Sequence[Record], how: Mapping[str, Any]
    ) -> tuple[list[Prediction], Mapping[str, int] | None]:
        """Labels, and how many candidates held the gold labels.

        Raises:
            DataError: The cassette lacks a reply.
        """
        config = self._config
        labeler = Labeler(
            space,
            model=self._model(),
            embedder=config.embedder,
            journal=config.journal,
            concurrency=config.concurrency,
            seed=config.seed,
            **how,
        )
        made = list(labeler.predict(list(records)))
        if lacking := [one for one in made if one.status == "failed" and "the cassette has no" in str(one.reason)]:
            raise DataError(
                f"lacks the replies to {len(lacking)} of {len(made)} records", path=str(config.cassette),
                advice="prompts, data or embeddings differ from those that were recorded; name a model",
            )  # fmt: skip
        return made, labeler.account.get("candidates")

    def predictions(self, space: LabelSpace, records: list[Record], how: Mapping[str, Any]) -> list[Prediction]:
        """The labels alone."""
        return self.label(space, records, how)[0]

    def instruct(self, task: Task) -> LabelSpace:
        """The space with instructions that the model writes from the pool."""
        embedder = load_embedder(self._config.embedder, cache=cache_folder())
        groups = make_groups(task.space, task.pool, embedder=embedder, **task.written)

        async def write() -> LabelSpace:
            async with Engine(self._model(), journal=self._config.journal, concurrency=100) as engine:
                guidance, _ = await write_instructions(engine, task.space, groups)
            return instructed(task.space, guidance)

        return run(write())


def main(config: LabelLlmConfig) -> dict[str, dict[str, float]]:
    """Label, print a table for each task; returns the measure by task and way."""
    table = {}
    for task in load(config):
        click.echo(f"\n{task.name}: {len(task.test)} test texts, {len(task.space.leaves)} labels, {task.measure}")
        table[task.name] = report(task, Asker(config))
    return table


def report(task: Task, asker: Asker) -> dict[str, float]:
    """The rows of one task."""
    gold = [record.labels or () for record in task.test]
    first: list[Any] = []
    found: dict[str, float] = {}
    for title, settings in task.ways.items():
        space, how = task.space, {key: value for key, value in settings.items() if key != "instructions"}
        if "instructions" in settings:
            space = asker.instruct(task)
            evidence, used = compare(task.space, space, task.dev, partial(asker.predictions, how=how))
            click.echo(f"  instructions: {say(evidence)}; {'used' if used else 'not used'}")
            if task.name == "clinc150" and not used:
                continue
        made, recall = asker.label(space, task.test, how)
        answers = [one.labels if one.status == "ok" else None for one in made]
        first = first or answers
        found[title] = show(title, task, gold, answers, first)
        if recall is not None:
            click.echo(f"      the gold label is a candidate for {recall['labels_held'] / recall['labels']:.2%}")
        if "permutations" not in settings:
            trust(task, made, asker.predictions(space, task.dev, how))
    return found


def show(title: str, task: Task, gold: list[Any], answers: list[Any], first: list[Any]) -> float:
    """One row: the measure, its interval, and the paired difference from the first row."""
    cells = group(gold, answers)
    score = MEASURES[task.measure]
    value = float(score(cells, cells.rows[None].astype(np.float64))[0])
    low, high = percentile_interval(bootstrap(cells.rows, lambda drawn: score(cells, drawn), resamples=RESAMPLES))
    line = f"  {title:38} {value:6.2%} ({low:.2%} to {high:.2%})"
    if answers is not first:
        gain = paired_bootstrap(gold, answers, first, measure=task.measure, resamples=RESAMPLES)
        line += f"  {points(gain)}"
    click.echo(line)
    return value


def points(gain: Difference) -> str:
    """A difference in points."""
    return f"{100 * gain.value:+.2f} points ({100 * gain.low:+.2f} to {100 * gain.high:+.2f}, p = {gain.p_value:.3f})"


def trust(task: Task, made: list[Prediction], on_dev: list[Prediction]) -> None:
    """Calibrate on dev, and say what that does to test: the calibration error, and what a threshold keeps."""
    several = task.space.multi_label
    gold_dev = [record.labels or () for record in task.dev]
    gold = [record.labels or () for record in task.test]
    fitted_on = pairs_of(on_dev, gold_dev, several=several)
    stated, correct = pairs_of(made, gold, several=several)
    fitted = calibrate(*fitted_on, several=several)
    before = calibration_error_estimate(stated, correct)
    after = calibration_error_estimate(fitted.calibrator(stated), correct)
    click.echo(
        f"      calibration error {before.value:.3f} ({before.low:.3f} to {before.high:.3f}), "
        f"{after.value:.3f} ({after.low:.3f} to {after.high:.3f}) calibrated on "
        f"{fitted.pairs} dev confidences ({fitted.calibrator.method})"
    )
    if several:
        missed = sum(map(len, gold_dev)) - int(fitted_on[1].sum())
        chosen = [one.labels for one in apply(best_f1(fitted, *fitted_on, missed=missed), made)]
        asked = [one.labels for one in made]
        gain = paired_bootstrap(gold, chosen, asked, measure=task.measure, resamples=RESAMPLES)
        click.echo(f"      with the threshold of the best F1 on dev {gain.first:.2%}, {points(gain)}")
    try:
        decided = decide(fitted, *fitted_on, target=task.target)
    except DataError:
        click.echo(f"      no threshold reaches a precision of {task.target:.0%} on dev")
        return
    kept = fitted.calibrator(stated) >= (decided.threshold or 0)
    click.echo(
        f"      threshold for {task.target:.0%} on dev: {correct[kept].mean():.2%} right on test, "
        f"{kept.mean():.1%} kept of {len(kept)}"
    )
