"""Down a tree of labels, or all of them at once: what `labelspace label --descend` saves and what it loses.

    labelspace run label_descend                                # replays recorded replies, asks nothing
    labelspace run label_descend model=http://host/v1#name      # asks a model of yours

300 test texts of clinc150 (ten domains of fifteen intents), drawn with seed 0, ten a request: the 150 intents at once,
or the domain first and then one of its intents. Tokens are the characters of the requests over four. Intervals are at
95 %, that of the difference is a paired bootstrap interval.

Expected, seconds without a call:

                              accuracy                    requests    tokens    domain right
    all 150 labels at once    98.00% (95.71 to 99.08)           30    81,744          99.00%
    down the tree             98.00% (95.71 to 99.08)           65    62,949          98.00%
    difference                +0.00 (-1.00 to +1.00)

The descent reads a quarter less, in twice the requests: it pays where a label table is much longer than the texts that
share a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.agents.labeling.labeler import Labeler
from labelspace.llm import ChatModel, Reply, Request
from labelspace.metrics.compare import paired_bootstrap
from labelspace.metrics.intervals import wilson
from labelspace.recipes._label_llm import HERE, read, sample
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded
from labelspace.recipes.label_llm import points
from labelspace.records import Prediction
from labelspace.space import Label, LabelSpace

WAYS: Mapping[str, Mapping[str, Any]] = {
    "all 150 labels at once": {},
    "down the tree": {"descend": True},
}


class LabelDescendConfig(RecordedConfig):
    """What `labelspace run label_descend` reads."""

    cassette: Path = Path("tests/cassettes/label_descend.jsonl")
    """Recorded replies."""
    timeout: float = 5000.0
    """Seconds to wait for a reply of `model`."""
    concurrency: int = 100
    """Requests in flight."""
    texts: int = 300
    """Test texts."""


class Counted:
    """A model whose requests are counted."""

    def __init__(self, model: ChatModel) -> None:
        """Take the model."""
        self._model, self.name = model, model.name
        self.requests, self.characters = 0, 0

    async def start(self, memory: dict[str, str]) -> None:
        """As the model."""
        await self._model.start(memory)

    def encode(self, request: Request) -> bytes:
        """As the model."""
        return self._model.encode(request)

    async def complete(self, request: Request) -> Reply:
        """As the model."""
        self.requests += 1
        self.characters += sum(len(str(message["content"])) for message in request.messages)
        return await self._model.complete(request)

    async def close(self) -> None:
        """As the model."""
        await self._model.close()


def ask(config: LabelDescendConfig, way: str) -> tuple[list[Prediction], Counted]:
    """Labels in one of the ways, and what they took.

    Raises:
        DataError: The cassette lacks a reply.
    """
    tree = LabelSpace.load(HERE / "spaces" / "clinc150.yaml")
    flat = tuple(Label(name=name, description=tree[name].description) for name in tree.leaves)
    space = tree if WAYS[way].get("descend") else LabelSpace(name=tree.name, labels=flat)
    known = asked(config)
    model = Counted(known)
    labeler = Labeler(
        space, model=model, concurrency=config.concurrency, batch_documents=10, confidence="verbal", set_aside=True,
        **WAYS[way],
    )  # fmt: skip
    made = list(labeler.predict(sample(read(config.data, "clinc150", "test"), config.texts, 0)))
    check_recorded([known], config.cassette)
    return made, model


def main(config: LabelDescendConfig) -> dict[str, dict[str, float]]:
    """Ask in both ways, and print a table; returns its figures."""
    tree = LabelSpace.load(HERE / "spaces" / "clinc150.yaml")
    records = sample(read(config.data, "clinc150", "test"), config.texts, 0)
    gold = [record.label for record in records]
    domains = [tree.path(name or "")[0] for name in gold]
    found: dict[str, dict[str, float]] = {}
    answers: dict[str, list[str | None]] = {}
    click.echo(f"clinc150: {len(records)} test texts, accuracy, requests, tokens of the requests")
    for way in WAYS:
        made, model = ask(config, way)
        answers[way] = [one.label for one in made]
        right = [name == own for name, own in zip(gold, answers[way], strict=True)]
        low, high = wilson(sum(right), len(right))
        tops = [name is not None and tree.path(name)[0] == top for name, top in zip(answers[way], domains, strict=True)]
        tokens = model.characters // 4
        line = f"  {way:24} {np.mean(right):.2%} ({low:.2%} to {high:.2%}) {model.requests:4} {tokens:9,}"
        click.echo(f"{line}  its domain right: {np.mean(tops):.2%}")
        found[way] = {"accuracy": float(np.mean(right)), "requests": model.requests, "tokens": tokens}
    flat, down = answers.values()
    click.echo(f"  down the tree brings {points(paired_bootstrap(gold, down, flat, resamples=2000))}")
    return found
