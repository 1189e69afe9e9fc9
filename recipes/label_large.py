"""Candidates out of 10,000 and 50,000 labels: how often the right one is among them, and how fast they are found.

    labelspace run label_large                         # TF-IDF, no model
    labelspace run label_large embedder=MODEL          # embeds every label once

No data set at hand has so many labels, so the 150 intents of clinc150 stand among labels made up of the first words of
one intent's description and the last words of another's: they say much the same as the right ones, so that this is
harder than most spaces of this size. 300 test texts, drawn with seed 0; nothing else is known of a label but its
description, no labelled example. What the candidates lack, `labelspace label --candidates` can't choose.

Expected share of texts whose candidates have the right label (seconds and texts a second are printed too):

    candidates      12, TF-IDF    50, TF-IDF    12, all-MiniLM-L6-v2    50, all-MiniLM-L6-v2
    150 labels          78.00%        92.67%                  98.00%                  99.67%
    1,000               72.67%        83.67%                  90.33%                  96.33%
    10,000              49.00%        65.33%                  75.00%                  85.33%
    50,000              31.33%        46.33%

On one busy core TF-IDF took less than half a minute to index 50,000 labels, then found the candidates of hundreds of
texts a second. The encoder embeds each label once, some 180 a second.
So in a space this large and this alike, use an encoder, more candidates, and labelled examples (`--examples`), which
`labelspace label` counts too: it prints the recall of the candidates wherever records have gold labels.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from labelspace.agents.labeling.candidates import Candidates
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder
from labelspace.metrics.intervals import wilson
from labelspace.recipes._label_llm import HERE, read, sample
from labelspace.space import Label, LabelSpace


class LabelLargeConfig(Config):
    """What `labelspace run label_large` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    embedder: str = "tfidf"
    """What finds the candidates: tfidf, a sentence-transformers model by name or folder, or http://host/v1#model."""
    labels: tuple[int, ...] = (150, 1_000, 10_000, 50_000)
    """Sizes of the space."""
    candidates: tuple[int, ...] = (12, 50)
    """How many a text gets."""
    texts: int = 300
    """Test texts."""


def enlarged(space: LabelSpace, count: int, *, seed: int = 0) -> LabelSpace:
    """The leaves of a space, and made-up labels up to so many in all."""
    leaves = [space[name] for name in space.leaves]
    labels = [Label(name=one.name, description=one.description) for one in leaves]
    random, seen = np.random.default_rng(seed), {one.description for one in leaves}
    while len(labels) < count:
        first, last = (leaves[at] for at in random.integers(len(leaves), size=2))
        start, end = first.description.split(), last.description.split()
        said = " ".join([*start[: random.integers(1, len(start))], *end[random.integers(1, len(end)) :]])
        if first.parent != last.parent and said not in seen:
            seen.add(said)
            labels.append(Label(name=f"made up {len(labels)}", description=said))
    return LabelSpace(name=f"{space.name} among {count}", labels=tuple(labels))


def main(config: LabelLargeConfig) -> dict[int, dict[int, float]]:
    """Print recall and speed; returns recall by the number of labels and of candidates."""
    tree = LabelSpace.load(HERE / "spaces" / "clinc150.yaml")
    records = sample(read(config.data, "clinc150", "test"), config.texts, 0)
    texts = [record.text for record in records]
    found: dict[int, dict[int, float]] = {}
    for count in config.labels:
        space, found[count] = enlarged(tree, count), {}
        for size in config.candidates:
            embedder = load_embedder(config.embedder, cache=None if config.embedder == "tfidf" else cache_folder())
            started = time.perf_counter()
            candidates = Candidates(space, size, embedder=embedder)
            ready = time.perf_counter()
            names = candidates.find(texts)
            took = time.perf_counter() - ready
            held = sum(record.label in own for record, own in zip(records, names, strict=True))
            low, high = wilson(held, len(records))
            found[count][size] = held / len(records)
            click.echo(
                f"{count:7,} labels, {size:3} candidates: {held / len(records):.2%} ({low:.2%} to {high:.2%}) "
                f"have the right one; {ready - started:.1f} s to index, {len(records) / took:,.0f} texts a second"
            )
    return found
