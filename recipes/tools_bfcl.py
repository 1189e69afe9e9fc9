"""No tool fits: how many of BFCL's irrelevant queries are recognised at a stated rate of false alarms.

    labelspace run tools_bfcl data=bfcl embedder=my-minilm

There are no training queries: tools are known by their descriptions alone, or by synthetic usage (`usage=`, as
`labelspace tools generate` makes it). A query comes with the tools that it may choose from. Half of the queries
that need a tool set the threshold, the other half shows whether the false-alarm rate is kept.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from labelspace.agents.tools.choose import lower_bound
from labelspace.agents.tools.measures import recall_at
from labelspace.agents.tools.retriever import LastSeen, Retriever
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.train import split_usages
from labelspace.agents.tools.usage import Usage, read_usages
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder


class ToolsBfclConfig(Config):
    """What `labelspace run tools_bfcl` reads."""

    data: Path = Path("bfcl")
    """Folder with tools, test, test_live and irrelevance."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model."""
    usage: Path | None = None
    """Synthetic usage; with it, Tool2Vec is compared with descriptions on the tools that have some."""
    false_alarms: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Rates at which a query that needs a tool may be said to fit none."""


class Asked(NamedTuple):
    """A query with what it can choose from, and what it needs."""

    query: str
    candidates: tuple[str, ...]
    tools: tuple[str, ...]


def main(config: ToolsBfclConfig) -> dict[str, float]:
    """Measure and print."""
    tools = ToolSet.load(config.data / "tools.jsonl.gz")
    embedder = LastSeen(load_embedder(config.embedder, cache=cache_folder()))
    fits = [*read(config.data / "test.jsonl.gz"), *read(config.data / "test_live.jsonl.gz")]
    none = read(config.data / "irrelevance.jsonl.gz")
    retrievers: list[Retriever] = [Descriptions(tools, embedder)]
    if config.usage is not None:
        usages = read_usages(config.usage, tools.space)
        retrievers.append(Tool2Vec.of(tools, usages, embedder))
        covered = {name for usage in usages for name in usage.tools}
        asked = [item for item in fits if set(item.tools) <= covered]
        click.echo(f"{len(covered)} tools with {len(usages)} synthetic usages; {len(asked)} queries need these alone")
        for retriever in retrievers:
            found = retriever.search([item.query for item in asked], 5)
            rows = [[name for name, _ in ranking] for ranking in found]
            line = [np.mean([recall_at(r, a.tools, k) for r, a in zip(rows, asked, strict=True)]) for k in (1, 5)]
            click.echo(f"  {retriever.name:14} recall@1 {line[0]:.3f}  recall@5 {line[1]:.3f}  of {len(tools):,} tools")
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
        for rate in config.false_alarms:
            least = lower_bound(calibration, rate)
            alarms, found_out = float(np.mean(fresh < least)), float(np.mean(lacking < least))
            figures[f"{retriever.name} {rate}"] = found_out
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
