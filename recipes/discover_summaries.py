"""A taxonomy made from summaries for the use case, beside one made from how texts begin and end.

    labelspace run discover_summaries                    # replays two cassettes; needs ../shared/data
    labelspace run discover_summaries model=URL#NAME     # asks another model

The texts are those of `discover_llm`: all 500 bills of the train split, and 400 abstracts of ai_arxiv. A model
summarises each in at most 20 of its own words, up to ten texts a request, of a text the first and last of 2,000
characters. It makes a taxonomy of these, and labels with it the texts as `discover_llm` does, or the summaries. Beside
it stands a taxonomy of the first 120 characters and the last 60, recorded there with the first seed (for ai_arxiv
the only one there) and here with the second. One candidate each; the number behind a row is its seed.

The replies were recorded once, from an LLM that may know these public data sets. On bills summaries are never behind,
and no gain is shown: bills say in their title what they are about, which is how they begin. Where an LLM judges its own
labels, as for ai_arxiv, both ways score the same. Labeling the summaries, which are less than half as long as what is
read of the texts, loses nothing.

Expected, without any call, in seconds:

                                             labels  cover  accur  relev    NMI (95%)            ARI     F1  edges
    bills: 500 texts; gold: 20 of level 'label', 93 below; 13.5 words a summary
      NMI that summaries bring, mean over seeds: +0.011 (-0.002 to +0.022, paired)
      from beginnings and ends, 1                25  1.000      -      -  0.617 0.585-0.648    0.423  0.582  1.508
      from summaries, texts labelled, 1          25  1.000      -      -  0.638 0.606-0.671    0.442  0.623  1.442
      from summaries, summaries labelled, 1      25  1.000      -      -  0.637 0.605-0.668    0.440  0.626  1.448
      from beginnings and ends, 2                25  1.000      -      -  0.630 0.597-0.663    0.432  0.609  1.458
      from summaries, texts labelled, 2          25  1.000      -      -  0.631 0.600-0.662    0.434  0.618  1.458
    ai_arxiv: 400 texts; no gold labels; 13.4 words a summary
      from beginnings and ends, 1                20  1.000  1.000  0.983
      from summaries, texts labelled, 1          20  1.000  1.000  0.983
      from summaries, summaries labelled, 1      20  1.000  1.000  0.983
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np

from labelspace.agents.taxonomy.judge import draw_items, judge_items
from labelspace.agents.taxonomy.loop import TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy.questions import Questions
from labelspace.llm import ChatModel, Engine
from labelspace.metrics import nmi
from labelspace.metrics.intervals import percentile_interval
from labelspace.recipes._discover_llm import Name, Row, Texts, gold_line, load, measure, show
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded, label, live, model_or_replies
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

SEEDS: dict[Name, tuple[int, ...]] = {"bills": (1, 2), "clinc150": (1,), "ai_arxiv": (1,)}
"""Of the taxonomies; the first is that of those which `discover_llm` made without candidates."""
ENDS, TEXTS, SHORT = "from beginnings and ends", "from summaries, texts labelled", "from summaries, summaries labelled"
_RESAMPLES = 1000


class DiscoverSummariesConfig(RecordedConfig):
    """What `labelspace run discover_summaries` reads."""

    cassette: Path = Path("tests/cassettes/discover_summaries.jsonl")
    """The recorded replies."""
    truncated: Path = Path("tests/cassettes/discover_llm.jsonl")
    """Those about texts cut short."""
    datasets: tuple[Name, ...] = ("bills", "ai_arxiv")
    """Which to run."""
    judged: int = 60
    """Documents of each method that the model judges, where there is no gold."""


def main(config: DiscoverSummariesConfig) -> dict[tuple[str, str], Row]:
    """Run both ways on every data set and print a table; returns its rows by data set and method."""
    table: dict[tuple[str, str], Row] = {}
    with ThreadPoolExecutor() as pool:
        for found in pool.map(partial(compare, config), config.datasets):
            table.update(found)
    return table


def compare(config: DiscoverSummariesConfig, name: Name) -> dict[tuple[str, str], Row]:
    """One data set."""
    texts = load(config.data, name)
    first = SEEDS[name][0]
    short = summaries(config, texts, first)
    todo = [(way, seed) for seed in SEEDS[name] for way in (ENDS, TEXTS, SHORT) if way != SHORT or seed == first]
    with ThreadPoolExecutor() as pool:
        made = dict(zip(todo, pool.map(partial(run, config, texts, short), todo), strict=True))
    click.echo(f"{name}: {len(texts.records)} texts{gold_line(texts)}; {words(short):.1f} words a summary")
    if texts.gold:
        pairs = [(made[ENDS, seed][0], made[TEXTS, seed][0]) for seed in SEEDS[name]]
        value, low, high = gain(texts.gold, pairs)
        click.echo(f"  NMI that summaries bring, mean over seeds: {value:+.3f} ({low:+.3f} to {high:+.3f}, paired)")
    for (way, seed), (_, row) in made.items():
        show(f"{way}, {seed}", row)
    return {(name, f"{way}, {seed}"): row for (way, seed), (_, row) in made.items()}


def run(
    config: DiscoverSummariesConfig, texts: Texts, short: Sequence[str], what: tuple[str, int]
) -> tuple[list[Prediction], Row]:
    """One way with one seed: its labels and what is measured on them."""
    way, seed = what
    how = replace(settings(texts, seed), summarize="never", shown_characters=10_000)
    records, model = texts.records, asked(config)
    as_summaries = [Record(one.id, said) for one, said in zip(records, short, strict=True)]
    if way == ENDS:
        as_summaries, how = records, replace(how, own_words=False, shown_characters=180)
        if seed == SEEDS[texts.name][0]:  # `discover_llm` has recorded it, and with its own seed where it has only one
            how = replace(how, seed=seed if texts.task.seeds > seed else 0)
            model = model_or_replies(config.model, config.truncated, timeout=config.timeout)
    space = make_taxonomy(as_summaries, how, model=model, engine=live(config)).space
    found = labelled(config, texts, space, model, as_summaries if way == SHORT else records)
    check_recorded([model], config.cassette)
    return found


def gain(
    gold: Sequence[str], pairs: Sequence[tuple[Sequence[Prediction], Sequence[Prediction]]]
) -> tuple[float, float, float]:
    """How much higher the NMI of the second labels is than of the first, mean over pairs; 95%, over resampled texts."""
    drawn = []
    rng = np.random.default_rng(0)
    for turn in range(_RESAMPLES + 1):
        picked = rng.integers(len(gold), size=len(gold)).tolist() if turn else list(range(len(gold)))
        truth = [gold[at] for at in picked]
        each = [[nmi(truth, [side[at].label for at in picked]) for side in pair] for pair in pairs]
        drawn.append(float(np.mean([after - before for before, after in each])))
    return (drawn[0], *percentile_interval(np.array(drawn[1:])))


def summaries(config: DiscoverSummariesConfig, texts: Texts, seed: int) -> list[str]:
    """A summary of each text."""
    model = asked(config)

    async def work() -> list[str]:
        async with Engine(model, repairs=0, progress=bool(config.model), **live(config)) as opened:
            return await Questions(opened, settings(texts, seed)).summarize([one.text for one in texts.records])

    short = asyncio.run(work())
    check_recorded([model], config.cassette)
    return short


def settings(texts: Texts, seed: int) -> TaxonomySettings:
    """What is told of the task."""
    return TaxonomySettings(
        use_case=texts.task.use_case,
        max_labels=texts.task.max_labels,
        summarize="always",
        own_words=True,
        read_characters=2_000,
        seed=seed,
    )


def labelled(
    config: DiscoverSummariesConfig, texts: Texts, space: LabelSpace, model: ChatModel, records: Sequence[Record]
) -> tuple[list[Prediction], Row]:
    """Labels of the records, measured against gold, or judged where there is none."""
    task = texts.task
    given = label(config, task, space, model, records[: task.labelled])
    found = measure(texts, given, space)
    if texts.gold:
        return given, found
    items = draw_items(given, texts.records, space, sample=config.judged)
    verdicts = judge_items(
        items, space, model=model, use_case=task.use_case, together=20, max_chars=task.max_chars, engine=live(config)
    )
    right = [verdict.choice == "assigned" for verdict in verdicts]
    useful = [verdict.relevant is True for verdict in verdicts]
    return given, replace(found, accuracy=sum(right) / len(right), relevance=sum(useful) / len(useful))


def words(texts: Sequence[str]) -> float:
    """Words of a text, on average."""
    return sum(len(text.split()) for text in texts) / len(texts)
