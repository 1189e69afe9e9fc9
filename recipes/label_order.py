"""Many examples in a prompt: does it matter where a label's examples stand, and does drawing their order anew help?

    labelspace run label_order                                # replays recorded replies, asks nothing
    labelspace run label_order model=http://host/v1#name      # asks a model of yours

LongICLBench (arXiv 2404.02060) found models to favour labels whose examples stand together or near the end of the
prompt. 100 test texts of trec and 300 of goemotions, 10 a request, are labelled with the same examples (as many as
3,000 tokens hold, from each label in turn) in three orders: grouped by label as the space lists them, grouped in the
reverse order, and as `labelspace label --shots-by many` has them: no two neighbours of one label, drawn anew for each
request. In one of the grouped orders a gold label's examples stand in the first half, in the other in the last.
Intervals are paired bootstrap intervals over texts at 95 %.

Expected with all-MiniLM-L6-v2, a minute without a call:

                                            trec, micro F1               goemotions, micro F1
    grouped                                 98.00% (95.00 to 100.00)     48.93% (43.87 to 53.87)
    grouped, reversed                       98.00% (95.00 to 100.00)     48.50% (43.56 to 53.30)
    not grouped, drawn anew                 98.00% (95.00 to 100.00)     49.50% (44.80 to 54.62)
    drawn anew, less the mean of grouped    +0.00 (+0.00 to +0.00)       +0.78 (-1.90 to +3.32)
    gold labels found: last, less first     +0.00 (+0.00 to +0.00)       -0.58 (-3.12 to +2.02)

So this model shows no effect of the order, of up to 3,000 tokens of examples, and the counter-measure costs nothing.
Of goemotions 100 texts were looked at first (+2.42, -2.56 to +7.56), and 200 added as that told nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click
import numpy as np
import numpy.typing as npt

from labelspace.agents.labeling.batch import InBatches
from labelspace.agents.labeling.demonstrations import Demonstration, Demonstrations
from labelspace.agents.labeling.lookup import Lookup
from labelspace.agents.labeling.names import ByName
from labelspace.agents.labeling.views import Views
from labelspace.embed import Embedder, cache_folder, load_embedder
from labelspace.llm import Engine, run
from labelspace.metrics.intervals import percentile_interval
from labelspace.recipes._label_llm import TASKS, Task
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded
from labelspace.records import Record

Labels = tuple[str, ...]
ORDERS: dict[str, int] = {"grouped": 1, "grouped, reversed": -1, "not grouped, drawn anew": 0}
"""1: by label as the space lists them; -1: the other way round; 0: as the library does."""
TEXTS = {"trec": 100, "goemotions": 300}
RESAMPLES = 2000
Floats = npt.NDArray[np.float64]


class LabelOrderConfig(RecordedConfig):
    """What `labelspace run label_order` reads."""

    cassette: Path = Path("tests/cassettes/label_order.jsonl")
    """Recorded replies."""
    timeout: float = 5000.0
    """Seconds to wait for a reply of `model`."""
    journal: Path | None = None
    """SQLite file for the replies of `model`."""
    concurrency: int = 100
    """Requests in flight."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Finds each label's central examples, which are shown first."""
    tasks: tuple[Literal["trec", "goemotions"], ...] = ("trec", "goemotions")
    """Which data sets."""
    context: int = 3000
    """Tokens that examples may take."""


class Grouped(Demonstrations):
    """Examples label by label, the same way for all documents: what is warned of."""

    rank: dict[str, int]
    """Where each label stands."""

    def choose(
        self, texts: Sequence[str], nearest: Sequence[tuple[int, ...]], *, among: object, order: int = 0
    ) -> list[Demonstration]:
        """The examples that the library would show, by label."""
        shown = super().choose(texts, nearest, among=None, order=order)
        return sorted(shown, key=lambda one: (self.rank[one.labels[0]] if one.labels else -1, one.text))


def ask(config: LabelOrderConfig, task: Task, embedder: Embedder, *, way: int) -> list[Labels]:
    """Labels of the texts with the examples in one of the orders.

    Raises:
        DataError: The cassette lacks a reply.
    """
    names = task.space.leaves
    make = Grouped if way else Demonstrations
    shown = make(task.space, task.pool, embedder=embedder, way="many", context=config.context)
    if isinstance(shown, Grouped):
        shown.rank = {name: way * at for at, name in enumerate(names)}
    question = InBatches(ByName(task.space, views=Views(task.space, lookup=Lookup(None, shown))), 10)
    model = asked(config)

    async def labels() -> list[Labels]:
        found = []
        async with Engine(model, journal=config.journal, concurrency=config.concurrency) as engine:
            async for outcome in question.ask(engine, task.test[: TEXTS[task.name]], total=None):
                found.append(() if outcome.value is None else outcome.value.labels)
        return found

    made = run(labels())
    check_recorded([model], config.cassette)
    return made


def main(config: LabelOrderConfig) -> dict[str, dict[str, float]]:
    """Print a table for each data set; returns its figures."""
    embedder = load_embedder(config.embedder, cache=cache_folder())
    return {name: report(config, TASKS[name](config.data, 0), embedder) for name in config.tasks}


def report(config: LabelOrderConfig, task: Task, embedder: Embedder) -> dict[str, float]:
    """Ask in each order, and compare."""
    records = task.test[: TEXTS[task.name]]
    answers = {title: ask(config, task, embedder, way=way) for title, way in ORDERS.items()}
    click.echo(f"\n{task.name}: {len(records)} test texts, {len(task.space.leaves)} labels, micro F1")
    counts = {title: counted(records, made) for title, made in answers.items()}
    drawn = np.random.default_rng(0).multinomial(len(records), np.full(len(records), 1 / len(records)), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, len(records))), drawn])
    scores = {title: f1(weights, own) for title, own in counts.items()}
    for title, score in scores.items():
        click.echo(f"  {title:38} {said(score, sign=False)}")
    grouped, reverse, free = scores.values()
    gain = free - (grouped + reverse) / 2
    click.echo(f"  {'drawn anew, less the mean of grouped':38} {said(gain)}")
    first, last, wanted = halves(task, records, *list(answers.values())[:2])
    early, late = (weights @ part / (weights @ wanted) for part in (first, last))
    click.echo(f"  {'gold labels found, in the first half':38} {said(early, sign=False)}")
    click.echo(f"  {'in the last half':38} {said(late, sign=False)}")
    click.echo(f"  {'last, less first':38} {said(late - early)}")
    found = {title: float(score[0]) for title, score in scores.items()}
    return {**found, "gain": float(gain[0]), "late": float(late[0] - early[0])}


def counted(records: Sequence[Record], made: Sequence[Labels]) -> Floats:
    """Labels of each text that are right, given and gold [n, 3]."""
    rows = [(set(record.labels or ()), set(own)) for record, own in zip(records, made, strict=True)]
    return np.array([(len(gold & own), len(own), len(gold)) for gold, own in rows], dtype=np.float64)


def f1(weights: Floats, counts: Floats) -> Floats:
    """Micro F1 of texts with weights [resamples, n]; one resample is all of them."""
    right, given, gold = (weights @ counts).T
    return np.asarray(2 * right / np.maximum(given + gold, 1))


def halves(
    task: Task, records: Sequence[Record], grouped: Sequence[Labels], reverse: Sequence[Labels]
) -> tuple[Floats, Floats, Floats]:
    """Of each text [n]: gold labels found where their examples stand in the first half, in the last, and all."""
    half = len(task.space.leaves) / 2
    place = {name: at for at, name in enumerate(task.space.leaves)}
    rows = []
    for record, one, other in zip(records, grouped, reverse, strict=True):
        gold = record.labels or ()
        early = sum(name in (one if place[name] < half else other) for name in gold)
        late = sum(name in (other if place[name] < half else one) for name in gold)
        rows.append((early, late, len(gold)))
    first, last, wanted = np.array(rows, dtype=np.float64).T
    return first, last, wanted


def said(values: Floats, *, sign: bool = True) -> str:
    """The first value, and the interval of the others."""
    low, high = percentile_interval(values[1:])
    form: Callable[[float], str] = (lambda x: f"{100 * x:+.2f}") if sign else (lambda x: f"{x:.2%}")
    return f"{form(float(values[0]))} ({form(low)} to {form(high)})"
