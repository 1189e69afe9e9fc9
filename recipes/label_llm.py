"""Labels by a language model on three data sets: how good, how sure, and what each way of asking brings.

    labelspace run label_llm                                # replays recorded replies, asks nothing
    labelspace run label_llm model=http://host/v1#name      # asks a model of yours

Tests on 300 test texts each of clinc150, goemotions and trec, drawn with seed 0; the label spaces are in
`recipes/spaces`, with descriptions of ours. Examples and instructions come from training texts (750, 1,000 and 300),
calibration and thresholds from others (100 of dev, 200 of dev, 200 of train). Confidences are what the model says. The
replies were recorded from an instruction-tuned LLM that saw the prompts alone; `tests/cassettes/label_llm.jsonl`
has them, but no text that was labelled. Intervals are bootstrap intervals at 95 %, differences are paired.

Expected with all-MiniLM-L6-v2, a minute without a call (ECE: calibration error as stated, then calibrated):
                                           measure                   difference             ECE
    clinc150, 150 labels, accuracy
    no model: the most similar label       77.00% (72.33 to 81.33)
    all labels, 10 texts a request         98.00% (96.33 to 99.33)                          0.043 0.030
    12 candidates, 1 text a request        95.33% (93.00 to 97.67)   -2.67 (-4.67 to -1.00) 0.037 0.011
    12 candidates by examples, 5 shown     98.00% (96.33 to 99.33)   +2.67 (+1.00 to +4.67) 0.026 0.026
    all labels, 50 texts a request         98.33% (96.67 to 99.67)                          0.044 0.037
    50 with instructions                   98.33% (96.67 to 99.67)   +0.00 (+0.00 to +0.00) 0.032 0.000
    goemotions, 28 labels, micro F1
    no model: the most similar label       19.12% (15.45 to 23.23)
    all labels, 10 texts a request         48.07% (42.78 to 52.94)                          0.036 0.024
    with 20 examples                       52.08% (46.67 to 57.14)   +4.01 (+1.14 to +6.97) 0.049 0.040
    with instructions                      50.00% (44.76 to 54.95)   +1.93 (-1.20 to +5.14) 0.062 0.024
    trec, 6 labels, accuracy
    no model: the most similar label       71.00% (66.00 to 76.00)
    all labels, 10 texts a request         97.67% (95.99 to 99.33)                          0.026 0.005
    with 20 examples                       97.33% (95.33 to 99.00)   -0.33 (-1.00 to +0.00) 0.019 0.014
    with instructions                      96.67% (94.67 to 98.33)   -1.00 (-2.33 to +0.00) 0.027 0.013
The row with candidates by examples is compared with that of candidates without, all others with all labels. 98.00% of
the gold labels are among 12 candidates, 99.33% with examples: where all labels fit into a prompt, show all.
Instructions did not show an improvement on dev texts (clinc150 +1.00, p = .75; goemotions -1.02, trec -0.50 points), so
`labelspace label` would not use them. On goemotions the
threshold with the best F1 on dev brings 5.28, 5.20 and 4.06 points more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from labelspace.agents.labeling.calibrated import apply
from labelspace.agents.labeling.calibration import best_f1, calibrate, decide, pairs_of
from labelspace.agents.labeling.instruct import compare, write_instructions
from labelspace.agents.labeling.instruct_groups import make_groups
from labelspace.agents.labeling.instructions import instructed, say
from labelspace.agents.labeling.labeler import Labeler
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.llm import ChatModel, Engine, connect, run
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics.calibration import calibration_error_estimate
from labelspace.metrics.cells import group
from labelspace.metrics.compare import MEASURES, paired_bootstrap
from labelspace.metrics.intervals import bootstrap, percentile_interval
from labelspace.metrics.report import Difference
from labelspace.recipes._label_llm import TASKS, Task
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

RESAMPLES = 2000
NO_MODEL = "no model: the most similar label"


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
    tasks: tuple[Literal["clinc150", "goemotions", "trec"], ...] = ("clinc150", "goemotions", "trec")
    """Which data sets."""


class Asker:
    """Asks the model of the config, or its cassette."""

    def __init__(self, config: LabelLlmConfig) -> None:
        """Open neither."""
        self._config = config
        self.embedder = load_embedder(config.embedder, cache=None if config.embedder == "tfidf" else cache_folder())

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
            embedder=self.embedder,
            journal=config.journal,
            concurrency=config.concurrency,
            seed=config.seed,
            set_aside=True,
            **how,
        )
        made = list(labeler.predict(list(records)))
        lacking = [
            one for one in made if one.status == "failed" and ("cassette" in (one.reason or "") or labeler.stopped)
        ]
        if lacking and config.model is None:
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
        groups = make_groups(task.space, task.pool, embedder=self.embedder, **task.written)

        async def write() -> LabelSpace:
            async with Engine(self._model(), journal=self._config.journal, concurrency=100) as engine:
                guidance, _ = await write_instructions(engine, task.space, groups)
            return instructed(task.space, guidance)

        return run(write())


def main(config: LabelLlmConfig) -> dict[str, dict[str, float]]:
    """Label, print a table for each task; returns the measure by task and way."""
    table = {}
    for name in config.tasks:
        task = TASKS[name](config.data, config.seed)
        click.echo(f"\n{task.name}: {len(task.test)} test texts, {len(task.space.leaves)} labels, {task.measure}")
        table[task.name] = report(task, Asker(config))
    return table


def report(task: Task, asker: Asker) -> dict[str, float]:
    """The rows of one task."""
    gold = [record.labels or () for record in task.test]
    found: dict[str, float] = {}
    plain = [one.labels for one in Labeler(task.space, embedder=asker.embedder).predict(task.test)]
    found[NO_MODEL] = show(NO_MODEL, task, gold, plain, None)
    answers: dict[str, list[Any]] = {NO_MODEL: plain}
    for title, settings in task.ways.items():
        space, how = (
            task.space,
            {key: value for key, value in settings.items() if key not in ("instructions", "beside")},
        )
        if "instructions" in settings:
            space = asker.instruct(task)
            evidence, used = compare(task.space, space, task.dev, partial(asker.predictions, how=how))
            click.echo(f"  instructions: {say(evidence)}; {'used' if used else 'not used'}")
        made, recall = asker.label(space, task.test, how)
        answers[title] = [one.labels if one.status == "ok" else None for one in made]
        found[title] = show(title, task, gold, answers[title], answers.get(settings.get("beside", "")))
        if recall is not None:
            click.echo(f"      the gold label is a candidate for {recall['labels_held'] / recall['labels']:.2%}")
        trust(task, made, asker.predictions(space, task.dev, how))
    return found


def show(title: str, task: Task, gold: list[Any], answers: list[Any], beside: list[Any] | None) -> float:
    """One row: the measure, its interval, and the paired difference from another row."""
    cells = group(gold, answers)
    score = MEASURES[task.measure]
    value = float(score(cells, cells.rows[None].astype(np.float64))[0])
    low, high = percentile_interval(bootstrap(cells.rows, lambda drawn: score(cells, drawn), resamples=RESAMPLES))
    line = f"  {title:38} {value:6.2%} ({low:.2%} to {high:.2%})"
    if beside is not None:
        gain = paired_bootstrap(gold, answers, beside, measure=task.measure, resamples=RESAMPLES)
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
