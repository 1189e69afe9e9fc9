"""The LLM judge of `labelspace judge` beside people: it chooses between labels that people gave and others.

    labelspace run judge_gold                    # replays tests/cassettes/judge_gold.jsonl; needs ../shared/data
    labelspace run judge_gold model=URL#NAME     # asks another model

The texts are those of `discover_llm`. Each is shown with two labels in an order drawn by lot, and the judge says which
describes it, or neither. Beside people's label stands one of another topic (by lot), or one of the same topic
(sibling); or neither is people's, and both are of other topics. The judge sees the names that people gave and no
description, 20 texts a request, in random order. Topics are clinc150's 10 domains and bills' 20 topics; leaves are the
intents and subtopics, of 300 texts.

What it is: whether this judge, asked as `labelspace judge` asks, chooses as the people did who labelled the data. What
it is not: an agreement of people with each other, of which the data says nothing, nor a check of labels that a model
made up. Where the judge says "neither" of a people's label, either may be wrong, and a text of bills can belong to two
topics. Relevance has no gold. The replies were recorded once, from an LLM that may know these public data sets.

Expected, without any call, in seconds:

    clinc150, topics: Cohen's kappa 0.974 (0.951 to 0.989); the same: by lot 0.993, neither 0.962
    clinc150, leaves: Cohen's kappa 0.995 (0.985 to 1.000); the same: by lot 0.990, neither 1.000, sibling 1.000
    bills, topics: Cohen's kappa 0.844 (0.798 to 0.883); the same: by lot 0.865, neither 0.958
    bills, leaves: Cohen's kappa 0.840 (0.786 to 0.889); the same: by lot 0.829, neither 0.980, sibling 0.876

and below each line the agreement and the kappa of each topic: of bills' topics, from 1.000 on foreign trade to 0.529 on
law and crime and 0.438 on housing (9 texts).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import click
import numpy as np

from labelspace.agents.taxonomy.judge import Item, Verdict, judge_items
from labelspace.llm import ChatModel
from labelspace.metrics import cohen_kappa, kappa_by
from labelspace.metrics.agreement import Kappa
from labelspace.metrics.intervals import percentile_interval
from labelspace.recipes._discover_llm import Name, Texts, letter, load
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded, live
from labelspace.space import LabelSpace

Kind = Literal["by lot", "sibling", "neither"]
Level = Literal["topics", "leaves"]
KINDS: dict[Level, tuple[Kind, ...]] = {
    "topics": ("by lot", "by lot", "neither"),
    "leaves": ("by lot", "sibling", "neither"),
}
"""What stands beside people's label, in turn: one drawn from other topics, or one of the same topic; or two that
people did not give, and then neither is right."""
_RESAMPLES = 1000


class JudgeGoldConfig(RecordedConfig):
    """What `labelspace run judge_gold` reads."""

    cassette: Path = Path("tests/cassettes/judge_gold.jsonl")
    """The recorded replies."""
    datasets: tuple[Name, ...] = ("clinc150", "bills")
    """Which to judge."""
    leaves: int = 300
    """Texts that are judged by the lower level of people's labels; all of them are by the upper."""


@dataclass(frozen=True)
class Found:
    """How far the judge agrees with people."""

    kappa: float
    interval: tuple[float, float]
    by_kind: dict[str, Kappa]
    by_label: dict[str, Kappa]


def main(config: JudgeGoldConfig) -> dict[tuple[Name, Level], Found]:
    """Judge every data set on both levels and print a table."""
    todo: list[tuple[Name, Level]] = [(name, level) for name in config.datasets for level in KINDS]
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(partial(judge, config), todo))
    for (name, level), found in zip(todo, made, strict=True):
        show(name, level, found)
    return dict(zip(todo, made, strict=True))


def judge(config: JudgeGoldConfig, what: tuple[Name, Level]) -> Found:
    """One data set, by one level of its labels."""
    name, level = what
    texts = load(config.data, name)
    items, kinds, gold = draw(texts, level, config.leaves)
    model = asked(config)
    verdicts = answers(config, texts, items, model)
    check_recorded([model], config.cassette)
    people = [
        "none" if kind == "neither" else "A" if item.assigned_first else "B"
        for item, kind in zip(items, kinds, strict=True)
    ]
    said = [letter(item, verdict) for item, verdict in zip(items, verdicts, strict=True)]
    return Found(
        cohen_kappa(said, people),
        kappa_interval(said, people),
        {str(kind): kappa for kind, kappa in kappa_by(said, people, kinds).items()},
        {str(label): kappa for label, kappa in kappa_by(said, people, gold).items()},
    )


def draw(texts: Texts, level: Level, leaves: int) -> tuple[list[Item], list[Kind], list[str]]:
    """Items, what stands beside people's label in each, and the topic that people gave."""
    rng = random.Random(0)
    owns = texts.gold if level == "topics" else texts.leaves
    # In random order: neighbours in a file share a label, and a judge that sees both would know.
    places = rng.sample(range(len(owns)), len(owns) if level == "topics" else leaves)
    turns = rng.sample(range(len(places)), len(places))
    names = sorted(set(owns))
    items, kinds = [], []
    for turn, place in zip(turns, places, strict=True):
        kind, own, topic = KINDS[level][turn % 3], owns[place], texts.gold[place]
        siblings = [name for name in names if name != own and name.startswith(f"{topic} > ")]
        one, other = rng.sample([name for name in names if name.partition(" > ")[0] != topic], 2)
        if kind == "sibling" and not siblings:
            kind = "by lot"
        if kind == "sibling":
            other = rng.choice(siblings)
        if kind != "neither":
            one = own
        items.append(Item(texts.records[place], plain(one), plain(other), rng.random() < 0.5))
        kinds.append(kind)
    return items, kinds, [texts.gold[place] for place in places]


def plain(name: str) -> str:
    """A label as it is shown."""
    return name.replace(" > ", ": ").replace("_", " ")


def answers(config: JudgeGoldConfig, texts: Texts, items: Sequence[Item], model: ChatModel) -> list[Verdict]:
    """What the judge says; it sees names alone, as people's labels have no descriptions."""
    names = sorted({name for item in items for name in item.pair})
    return judge_items(
        items,
        LabelSpace.of(names),
        model=model,
        use_case=texts.task.use_case,
        questions=("accuracy",),
        together=20,
        max_chars=texts.task.max_chars,
        engine=live(config),
    )


def kappa_interval(one: Sequence[str], two: Sequence[str]) -> tuple[float, float]:
    """The 95% interval of Cohen's kappa, over resampled items."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        picked = rng.integers(len(one), size=len(one))
        drawn.append(cohen_kappa([one[at] for at in picked], [two[at] for at in picked]))
    return percentile_interval(np.array(drawn))


def show(name: Name, level: Level, found: Found) -> None:
    """Print one part of the table."""
    low, high = found.interval
    same = ", ".join(f"{kind} {one.same:.3f}" for kind, one in sorted(found.by_kind.items()))
    click.echo(f"{name}, {level}: Cohen's kappa {found.kappa:.3f} ({low:.3f} to {high:.3f}); the same: {same}")
    for label, one in found.by_label.items():
        click.echo(f"    {label:24} {one.same:.3f} the same, kappa {one.kappa:.3f} (n={one.items})")
