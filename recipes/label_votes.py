"""Several replies about each text: do they label better than one, and does their agreement say how sure to be?

    labelspace run label_votes                                # replays recorded replies, asks nothing
    labelspace run label_votes model=http://host/v1#name      # asks a model of yours

200 test texts of banking77 (77 intents, 20 texts a request) and 150 of goemotions (28 labels, several a text, 10 a
request), drawn with seed 0. The labels of one reply are compared with the vote under three orders of the labels
(`--permutations 3`), of three replies at temperature 1 (`--samples 3`), of three prompts (bare, with 20 examples like
the texts, with the reason first), and of all nine; and the share of votes for a label with the confidence that the
model states when it is asked for one. How sure is measured for banking77 on each way's own labels, for goemotions on
every label that any way names for a text. Differences from one reply are paired; intervals are bootstrap intervals
at 95 %. The voters are one model under different prompts: no second one was at hand.

Expected with all-MiniLM-L6-v2, a minute without a call (calibration error and area under the ROC curve):

                                 banking77, accuracy                      goemotions, micro F1
    one reply                    88.00% (83.50 to 92.00)                  43.75% (36.81 to 50.85)
    confidence stated            -1.00 (-2.50 to +0.00)   0.069, 0.894    -0.53 (-5.70 to +4.64)   0.058, 0.763
    with 20 examples             +3.50 (+0.50 to +7.01)                   +2.49 (-1.36 to +6.48)
    with the reason first        -0.50 (-1.50 to +0.00)                   -2.87 (-5.92 to -0.18)
    3 orders of the labels       -0.50 (-1.50 to +0.00)   0.128, 0.494    -0.25 (-2.98 to +2.48)   0.321, 0.620
    3 replies at temperature 1   +0.00 (-1.50 to +1.50)   0.095, 0.670    -1.80 (-6.08 to +1.99)   0.299, 0.619
    3 prompts                    +0.00 (+0.00 to +0.00)   0.093, 0.718    +0.69 (-0.38 to +2.19)   0.307, 0.631
    all 9                        -0.50 (-1.50 to +0.00)   0.103, 0.781    -0.45 (-2.75 to +1.80)   0.281, 0.631

No vote labels better than one reply, and the confidence that one reply states told right from wrong better than the
agreement of nine (on banking77 the intervals of the areas overlap: 0.804 to 0.970 and 0.679 to 0.881). With this model,
spend on examples rather than on votes. It answered many of these requests in one context, so its replies agree more
than independent ones would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.labeler import Labeler
from labelspace.agents.labeling.votes import tally
from labelspace.embed import Embedder, cache_folder, load_embedder
from labelspace.metrics.calibration import calibration_error_estimate
from labelspace.metrics.intervals import percentile_interval
from labelspace.recipes._label_llm import HERE, Task, goemotions, read, sample
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded
from labelspace.recipes.label_llm import show
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

RESAMPLES = 2000
TOGETHER = {"banking77": 20, "goemotions": 10}
"""Texts in a request."""
STATED, ONE, ORDERS, SAMPLES, PROMPTS, ALL = (
    "one reply, confidence stated",
    "one reply",
    "3 orders of the labels",
    "3 replies at temperature 1",
    "3 prompts",
    "all 9",
)
EXAMPLES, REASONS = "with 20 examples", "with the reason first"
Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


class LabelVotesConfig(RecordedConfig):
    """What `labelspace run label_votes` reads."""

    cassette: Path = Path("tests/cassettes/label_votes.jsonl")
    """Recorded replies."""
    timeout: float = 5000.0
    """Seconds to wait for a reply of `model`."""
    journal: Path | None = None
    """SQLite file for the replies of `model`; each way of asking has one beside it."""
    concurrency: int = 100
    """Requests in flight."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Finds the examples."""
    tasks: tuple[Literal["banking77", "goemotions"], ...] = ("banking77", "goemotions")
    """Which data sets."""


def load(data: Path, name: str) -> Task:
    """Read a data set and its label space."""
    if name == "goemotions":
        known = goemotions(data, 0)
        return replace(known, test=known.test[:150])
    by_label: dict[str | None, list[Record]] = {}
    for record in read(data, name, "train"):
        by_label.setdefault(record.label, []).append(record)
    five_each = [record for own in by_label.values() for record in sample(own, 5, 0)]
    space = LabelSpace.load(HERE / "spaces" / f"{name}.yaml")
    return Task(name, space, five_each, [], sample(read(data, name, "test"), 200, 0), {}, 0.9)


def ways_of(task: Task) -> dict[str, dict[str, Any]]:
    """Settings of the labeler by way of asking."""
    return {
        STATED: {"confidence": "verbal"},
        ONE: {},
        ORDERS: {"permutations": 3},
        SAMPLES: {"samples": 3},
        EXAMPLES: {"labelled": task.pool, "shots": 20},
        REASONS: {"rationale": True},
    }


def ask(
    config: LabelVotesConfig, task: Task, embedder: Embedder, ways: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Prediction]]:
    """Labels of the test texts by each way of asking.

    Raises:
        DataError: The cassette lacks a reply.
    """

    def one(at: int) -> list[Prediction]:
        model = asked(config)
        journal = config.journal and config.journal.with_name(f"{config.journal.name}-{task.name}-{at}")
        labeler = Labeler(
            task.space, model=model, journal=journal, concurrency=config.concurrency, embedder=embedder,
            batch_documents=TOGETHER[task.name], set_aside=True, **list(ways.values())[at],
        )  # fmt: skip
        made = list(labeler.predict(task.test))
        check_recorded([model], config.cassette)
        return made

    with ThreadPoolExecutor(len(ways)) as together:
        return dict(zip(ways, together.map(one, range(len(ways))), strict=True))


def voted(task: Task, made: Mapping[str, list[Prediction]]) -> dict[str, list[Answer]]:
    """The answers of each way, and of the votes over several; scores are shares of votes but where they are stated."""

    def votes(*ways: tuple[str, float]) -> list[Answer]:
        several = task.space.multi_label
        rows = zip(*(made[way] for way, _ in ways), strict=True)
        weights = [weight for _, weight in ways]
        return [tally(cast_votes(row, weights), several=several) for row in rows]

    prompts = ((ONE, 1), (EXAMPLES, 1), (REASONS, 1))
    return {
        **{way: votes((way, 1)) for way in (STATED, ONE, EXAMPLES, REASONS, ORDERS, SAMPLES)},
        PROMPTS: votes(*prompts),
        ALL: votes(*prompts, (ORDERS, 3), (SAMPLES, 3)),
    }


def cast_votes(row: Sequence[Prediction], weights: Sequence[float]) -> list[Answer]:
    """What the voters say of one text, those that stand for three counted thrice."""
    found = []
    for one, weight in zip(row, weights, strict=True):
        scores = one.scores or dict.fromkeys(one.labels, 1.0)
        found += [Answer(one.labels, one.status != "ok", None, scores)] * int(weight)
    return found


def main(config: LabelVotesConfig) -> dict[str, dict[str, dict[str, float]]]:
    """Print a table for each data set; returns its figures by way."""
    embedder = load_embedder(config.embedder, cache=cache_folder())
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in config.tasks:
        task = load(config.data, name)
        click.echo(f"\n{name}: {len(task.test)} test texts, {len(task.space.leaves)} labels, {task.measure}")
        found[name] = report(task, voted(task, ask(config, task, embedder, ways_of(task))))
    return found


def report(task: Task, answers: Mapping[str, list[Answer]]) -> dict[str, dict[str, float]]:
    """The measure of each way, and how well its confidence tells right from wrong."""
    gold = [record.labels or () for record in task.test]
    named = [sorted({name for own in answers.values() for name in own[at].scores}) for at in range(len(gold))]
    labels = {way: [one.labels for one in made] for way, made in answers.items()}
    found = {}
    for way, made in answers.items():
        found[way] = {"measure": show(way, task, gold, labels[way], None if way == ONE else labels[ONE])}
        if way in (ONE, EXAMPLES, REASONS):  # a label alone says nothing about how sure it is
            continue
        stated, right, owner = surety(task, gold, made, named)
        error = calibration_error_estimate(stated, right)
        area, low, high = separation(stated, right, owner)
        click.echo(
            f"      calibration error {error.value:.3f} ({error.low:.3f} to {error.high:.3f}), "
            f"AUROC {area:.3f} ({low:.3f} to {high:.3f}) over {len(stated)} labels"
        )
        found[way] |= {"error": error.value or 0.0, "area": area}
    return found


def surety(
    task: Task, gold: Sequence[tuple[str, ...]], made: Sequence[Answer], named: Sequence[Sequence[str]]
) -> tuple[Doubles, Doubles, Numbers]:
    """Confidences, whether they were right, and the number of the text; three arrays [pairs]."""
    if not task.space.multi_label:
        rows = [(one.confidence or 0.0, one.labels == gold[at], at) for at, one in enumerate(made)]
    else:
        rows = [
            (made[at].scores.get(name, 0.0), name in gold[at], at) for at, names in enumerate(named) for name in names
        ]
    stated, right, owner = zip(*rows, strict=True)
    return np.array(stated, dtype=float), np.array(right, dtype=float), np.array(owner)


def separation(stated: Doubles, right: Doubles, owner: Numbers) -> tuple[float, float, float]:
    """Area under the ROC curve of right against wrong, with its interval over texts."""
    good, bad = np.flatnonzero(right == 1), np.flatnonzero(right == 0)
    above = np.sign(stated[good][:, None] - stated[bad]) / 2 + 0.5
    texts = int(owner.max()) + 1
    drawn = np.random.default_rng(0).multinomial(texts, np.full(texts, 1 / texts), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, texts)), drawn])
    ours, theirs = weights[:, owner[good]], weights[:, owner[bad]]
    both = (ours.sum(1) > 0) & (theirs.sum(1) > 0)  # a draw of right or wrong ones alone has no area
    ours, theirs = ours[both], theirs[both]
    values = ((ours @ above) * theirs).sum(1) / (ours.sum(1) * theirs.sum(1))
    return float(values[0]), *percentile_interval(values[1:])
