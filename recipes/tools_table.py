"""Every retriever of tools on one benchmark: trained on train, weighted on dev, measured once on the tests.

    labelspace run tools_table data=metatool                       # a folder with tools, train, dev, test, test_multi
    labelspace run tools_table data=metatool embedder=my-minilm    # a sentence-transformers model in a folder
    labelspace run tools_table data=toolbank dev=null tests=[test]

`data` holds `tools.jsonl.gz` (name, description) and usages `*.jsonl.gz` (query, tools). What is random,
the fine-tuned encoder, is trained with each seed, and kept in `out`: the same command goes on after a stop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from labelspace.agents.tools.compose import compose
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.measures import MEASURES
from labelspace.agents.tools.neighbours import Nearest
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored, top_columns
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.train import make_stage, split_usages
from labelspace.agents.tools.usage import Usage, read_usages
from labelspace.config import Config, to_yaml
from labelspace.embed import cache_folder, load_embedder
from labelspace.embed.cache import CachedEmbedder
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.finetune.tools_mlc import ToolMLC

ALONE = ("bm25", "descriptions", "tool2vec", "tool2vec-dot", "neighbours", "nearest", "wording", "mlc", "mlc-bce")
FUSED = ("nearest", "wording", "mlc")
"""Stages of the fusions, beside the linear layer over composed queries and the tuned encoder."""
Rows = dict[str, list[dict[str, float]]]
"""By retriever, the measures of each seed: `test recall@1` and the like."""


class ToolsTableConfig(Config):
    """What `labelspace run tools_table` reads."""

    data: Path = Path("metatool")
    """Folder of the benchmark."""
    dev: str | None = "dev"
    """Name of the held-out usages; None holds out a fifth of train."""
    tests: tuple[str, ...] = ("test", "test_multi")
    """Names of the usages to report."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model, frozen for all stages but the tuned ones, which start from it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the fine-tuning; () leaves it out."""
    rounds: int = 5
    """Times that fine-tuning sees each usage."""
    composed: float = 0.3
    """Share of the usages that are joined with another for the linear layer and fine-tuning; 0 where
    usages of several tools are common anyway."""
    ks: tuple[int, ...] = (1, 3, 5)
    """Tools shown to the agent."""
    out: Path = Path("runs/tools_table")
    """Where fine-tuned encoders and the table are kept."""


def main(config: ToolsTableConfig) -> Rows:
    """Train, weigh, measure, print."""
    tools = ToolSet.load(config.data / "tools.jsonl.gz")
    train = read_usages(config.data / "train.jsonl.gz", tools.space)
    if config.dev is None:
        train, dev = split_usages(train)
    else:
        dev = read_usages(config.data / f"{config.dev}.jsonl.gz", tools.space)
    tests = {name: read_usages(config.data / f"{name}.jsonl.gz", tools.space) for name in config.tests}
    sets = {"dev": dev, **tests}
    embedder = LastSeen(load_embedder(config.embedder, cache=cache_folder()))
    embedder.embed([usage.query for part in (train, *sets.values()) for usage in part])  # together: into the cache
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.yaml").write_text(to_yaml(config), encoding="utf-8")

    # 1. Each stage alone.
    rows: Rows = {}
    stages: dict[str, Retriever] = {}
    scored: dict[str, dict[str, np.ndarray]] = {}

    def measure(name: str, retriever: Retriever) -> None:
        note(f"measuring {name}")
        found = scored[name] = {part: retriever.scores([u.query for u in usages]) for part, usages in sets.items()}
        rows.setdefault(name, []).append(_measures(found, sets, tools.names, config.ks))

    for name in ALONE:
        stages[name] = make_stage(name, tools, train, embedder)
        measure(name, stages[name])

    # 2. The linear layer again, over single and joined queries.
    joined = [*train, *compose(train, share=1.0)[: int(config.composed * len(train))]] if config.composed else train
    stages["mlc"] = LinearMLC.of(tools, joined, embedder)
    if config.composed:
        measure("mlc, joined queries too", stages["mlc"])

    # 3. A fusion of frozen stages; weights are chosen on dev, some of it joined where train was.
    weighing = compose(dev, share=config.composed)
    frozen = Fusion.of([stages[name] for name in FUSED], weighing)
    measure("fusion, frozen encoder", frozen)

    (config.out / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    # 4. With a fine-tuned encoder: alone, its nearest usages, and everything together.
    for seed in config.seeds:
        tuned = _tuned(config, tools, compose(train, rounds=config.rounds, share=config.composed, seed=seed), seed)
        near = CachedEmbedder(tuned, cache_folder())
        head = _Head(tuned, LastSeen(near))
        scorer = Scored(tools.space, head, name="tuned")
        nearest = Nearest(tools, train, head.embedder)
        measure("tuned encoder", scorer)
        measure("tuned encoder, nearest", nearest)
        fusion = Fusion.of([scorer, nearest, *frozen.stages], weighing)
        weights = zip((stage.name for stage in fusion.stages), fusion.weights, strict=True)
        note(f"seed {seed}: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights))
        measure("fusion, tuned encoder", fusion)
        (config.out / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    click.echo(table(rows, sets, config.ks))
    return rows


class _Head:
    """The tuned encoder's head over vectors that are kept."""

    def __init__(self, tuned: ToolMLC, embedder: LastSeen) -> None:
        self.tuned, self.embedder, self.classes_ = tuned, embedder, tuned.classes_

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        return self.tuned.scores_of(self.embedder.embed(queries))


def _tuned(config: ToolsTableConfig, tools: ToolSet, usages: Sequence[Usage], seed: int) -> ToolMLC:
    """The encoder fine-tuned with one seed, from `out` if it is there."""
    from labelspace.finetune.tools_mlc import DEFAULTS, ToolMLC

    folder = config.out / f"tuned-{seed}"
    if (folder / "mlc.json").exists():
        note(f"{folder}: fine-tuned before, kept")
        return ToolMLC.load(folder)
    model = ToolMLC(config.embedder, training=DEFAULTS.model_copy(update={"epochs": 1, "seed": seed}))
    model.fit(
        [usage.query for usage in usages],
        [usage.tools for usage in usages],
        classes=tools.names,
        texts=[tool.text for tool in tools],
        folder=folder,
    )
    model.save(folder)
    return model


def _measures(
    found: Mapping[str, np.ndarray], sets: Mapping[str, Sequence[Usage]], names: Sequence[str], ks: Sequence[int]
) -> dict[str, float]:
    """All measures of scores [n, k] for each set of usages."""
    measured = {}
    for part, usages in sets.items():
        ranked = [[names[i] for i in row] for row in top_columns(found[part], max(ks))]
        for name, function in MEASURES.items():
            for k in ks:
                values = [function(row, usage.tools, k) for row, usage in zip(ranked, usages, strict=True)]
                measured[f"{part} {name}@{k}"] = float(np.mean(values))
    return measured


def table(rows: Rows, sets: Mapping[str, Sequence[Usage]], ks: Sequence[int]) -> str:
    """One line a retriever: recall at each k, NDCG and completeness at the last; with spread over seeds."""
    columns = [f"recall@{k}" for k in ks] + [f"ndcg@{ks[-1]}", f"complete@{ks[-1]}"]
    lines = []
    for part, usages in sets.items():
        lines.append(f"{part} ({len(usages):,} queries)")
        lines.append(f"{'':26}" + "".join(f"{column:>16}" for column in columns))
        for name, seeds in rows.items():
            line = f"{name:26}"
            for column in columns:
                values = [seed[f"{part} {column}"] for seed in seeds]
                spread = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                line += f"{np.mean(values):.3f}{spread}".rjust(16)
            lines.append(line)
        lines.append("")
    return "\n".join(lines).rstrip()
