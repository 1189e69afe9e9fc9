"""Tools that nobody has used yet: synthetic usage against descriptions, and "no tool fits", on BFCL.

    labelspace run tools_bfcl data=bfcl embedder=my-minilm      # replays tests/cassettes/tools_bfcl.jsonl, asks nothing
    labelspace run tools_bfcl data=bfcl embedder=my-minilm model=http://127.0.0.1:8000/v1#name    # asks a model

BFCL has no training queries. For the tools that most of its test queries need, a language model writes two usages
each, from names and descriptions alone (`UsageWriter`: write, polish, judge); recall is that of the test queries
that need these tools and no others, over all tools. Intervals are of the difference to descriptions (paired bootstrap
over queries, 95 %).

No tool fits: a query comes with the tools that it may choose from. Half of the queries that need a tool set the
threshold, the other half shows whether the rate of false alarms is kept; `irrelevance` how many of the queries that
none of their tools answers are recognised.

all-MiniLM-L6-v2, 117 usages of 64 tools, 1,021 test queries, 1,852 tools:

    descriptions   recall@1 .393                            recall@5 .708
    tool2vec       recall@1 .419 (+.026, -.007 to +.059)    recall@5 .661 (-.047, -.077 to -.015)
    both           recall@1 .434 (+.042, +.017 to +.068)    recall@5 .713 (+.005, -.018 to +.027)

    descriptions, none fits: at most  5 % false alarms: 62.9 % of 1,124 recognised, 5.4 % of 1,238 false alarms
                             at most 10 %               70.6 %                      9.5 %
                             at most 20 %               80.4 %                     20.5 %

Two usages a tool are few: alone they beat descriptions at one tool, not at five. Two of the 117 share an identifier
with a test query: the model that wrote them may have known the benchmark.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from labelspace.agents.tools.choose import lower_bound
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.measures import recall_at
from labelspace.agents.tools.retriever import LastSeen, Retriever
from labelspace.agents.tools.synthesis import UsageWriter
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.train import split_usages
from labelspace.agents.tools.usage import Usage
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics.intervals import bootstrap, percentile_interval


class ToolsBfclConfig(Config):
    """What `labelspace run tools_bfcl` reads."""

    data: Path = Path("bfcl")
    """Folder with tools, test, test_live and irrelevance."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model."""
    model: str | None = None
    """A model that writes usage; None replays `replies`."""
    replies: Path = Path("tests/cassettes/tools_bfcl.jsonl")
    """Recorded replies."""
    company: Path | None = Path("tests/cassettes/tools_bfcl.company.json")
    """For each tool the numbers of the tools that it may be shown with, as they were when replies were recorded: the
    nearest differ between machines where distances are nearly equal. None finds them anew."""
    journal: Path | None = None
    """Keeps the replies of a model that is asked."""
    written_for: int = 64
    """Tools that usage is written for: those that most test queries need."""
    each: int = 2
    """Usages a tool."""
    false_alarms: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Rates at which a query that needs a tool may be said to fit none."""


class Asked(NamedTuple):
    """A query with what it can choose from, and what it needs."""

    query: str
    candidates: tuple[str, ...]
    tools: tuple[str, ...]


def main(config: ToolsBfclConfig) -> dict[str, float]:
    """Write or replay usage, measure and print."""
    tools = ToolSet.load(config.data / "tools.jsonl.gz")
    embedder = LastSeen(load_embedder(config.embedder, cache=cache_folder()))
    fits = [*read(config.data / "test.jsonl.gz"), *read(config.data / "test_live.jsonl.gz")]
    none = read(config.data / "irrelevance.jsonl.gz")
    usages = write_usage(config, tools, fits)
    descriptions, tool2vec = Descriptions(tools, embedder), Tool2Vec.of(tools, usages, embedder)
    both = Fusion([descriptions, tool2vec], [1.0, 1.0])
    both.name = "both"
    return {
        **recall_of([descriptions, tool2vec, both], usages, fits, len(tools)),
        **recognised([descriptions, both], fits, none, config.false_alarms),
    }


def write_usage(config: ToolsBfclConfig, tools: ToolSet, fits: Sequence[Asked]) -> list[Usage]:
    """Usages of the tools that most queries need."""
    needed = Counter(name for item in fits for name in item.tools)
    chosen = sorted(tools.names, key=lambda name: -needed[name])[: config.written_for]
    writer = UsageWriter(
        ToolSet([tools[name] for name in chosen], name="bfcl"),
        config.model or RecordedModel(config.replies),
        company=None if config.company is None else json.loads(config.company.read_text(encoding="utf-8")),
        batch=64,
        patience=2,
        journal=config.journal,
    )
    usages = list(writer.write(each=config.each))
    click.echo(f"{len(usages)} usages written for {len(chosen)} tools; {writer.tally.engine['replies']} replies")
    return usages


def recall_of(
    retrievers: Sequence[Retriever], usages: Sequence[Usage], fits: Sequence[Asked], total: int
) -> dict[str, float]:
    """Recall on the queries that need only tools with usage; differences are to the first retriever."""
    covered = {name for usage in usages for name in usage.tools}
    asked = [item for item in fits if set(item.tools) <= covered]
    click.echo(f"{len(asked):,} queries need these {len(covered)} tools alone, of {total:,} that are searched")
    figures, first = {}, np.zeros((0, 2))
    for retriever in retrievers:
        found = retriever.search([item.query for item in asked], 5)
        ranked = [[name for name, _ in ranking] for ranking in found]
        hits = np.array(
            [[recall_at(row, item.tools, k) for k in (1, 5)] for row, item in zip(ranked, asked, strict=True)]
        )
        line = f"  {retriever.name:14}"
        for place, k in enumerate((1, 5)):
            figures[f"{retriever.name} recall@{k}"] = float(hits[:, place].mean())
            line += f" recall@{k} {hits[:, place].mean():.3f}"
            if len(first):
                gain = hits[:, place] - first[:, place]
                low, high = percentile_interval(bootstrap(np.ones(len(gain), np.int64), partial(_mean, gain)))
                line += f" ({gain.mean():+.3f}, {low:+.3f} to {high:+.3f})"
        first = first if len(first) else hits
        click.echo(line)
    return figures


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean of values that are taken so many times [resamples, n]."""
    return np.asarray(times @ values / len(values))


def recognised(
    retrievers: Sequence[Retriever], fits: Sequence[Asked], none: Sequence[Asked], rates: Sequence[float]
) -> dict[str, float]:
    """Share of irrelevant queries that are recognised at each rate of false alarms."""
    figures = {}
    for retriever in retrievers:
        kept, held = split_usages([Usage(item.query, item.tools) for item in fits], share=0.5)
        best = dict(zip([item.query for item in fits], evidence(retriever, fits), strict=True))
        lacking = evidence(retriever, none)
        calibration = [best[usage.query] for usage in kept]
        fresh = np.array([best[usage.query] for usage in held])
        click.echo(
            f"{retriever.name}: {len(kept):,} queries set the threshold, {len(held):,} and {len(none):,} test it"
        )
        for rate in rates:
            least = lower_bound(calibration, rate)
            alarms, found_out = float(np.mean(fresh < least)), float(np.mean(lacking < least))
            figures[f"{retriever.name} none at {rate}"] = found_out
            click.echo(
                f"  at most {rate:.0%} false alarms: {alarms:.1%} seen; {found_out:.1%} of irrelevant recognised"
            )
    return figures


def read(path: Path) -> list[Asked]:
    """Queries with their candidates."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Asked(row["query"], tuple(row.get("candidates") or ()), tuple(row.get("tools") or ())) for row in rows]


def evidence(retriever: Retriever, asked: Sequence[Asked]) -> np.ndarray:
    """Score of the best candidate of each query."""
    place = {name: i for i, name in enumerate(retriever.tools)}
    scores = retriever.scores([item.query for item in asked])
    columns = [[place[name] for name in item.candidates if name in place] for item in asked]
    return np.array([row[chosen].max() if chosen else -1.0 for row, chosen in zip(scores, columns, strict=True)])
