"""Every retriever of tools on one benchmark: trained on train, weighted on dev, measured once on the tests.

    labelspace run tools_table data=metatool                       # a folder with tools, train, dev, test, test_multi
    labelspace run tools_table data=metatool embedder=my-minilm    # a sentence-transformers model in a folder
    labelspace run tools_table data=toolbank dev=null tests=[test]

`data` holds `tools.jsonl.gz` (name, description) and usages `*.jsonl.gz` (query, tools). What is random,
the fine-tuned encoder, is trained with each seed, and kept in `out`: the same command goes on after a stop.
"""

from __future__ import annotations

import json
import random
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
from labelspace.agents.tools.refine import Refined
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored, top_columns
from labelspace.agents.tools.tool2vec import Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.train import make_stage, split_usages
from labelspace.agents.tools.usage import Usage, read_usages
from labelspace.config import Config, to_yaml
from labelspace.embed import cache_folder, load_embedder
from labelspace.embed.base import Embedder
from labelspace.embed.cache import CachedEmbedder
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.finetune.tools_mlc import ToolMLC
    from labelspace.finetune.tools_refiner import ToolRefiner
    from labelspace.finetune.tools_triplets import QueryEncoder

ALONE = (
    "bm25", "bm25-usage", "descriptions", "tool2vec", "tool2vec-dot",
    "neighbours", "nearest", "wording", "mlc", "mlc-bce",
)  # fmt: skip
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
    taught: int | None = None
    """Usages, drawn from train, that the triplet encoder and the refiner learn from, and that this encoder's
    Tool2Vec is the mean of; None takes all. On a CPU all of MetaTool's take hours."""
    candidates: int = 16
    """Tools that the refiner looks at."""
    layers: int | None = 3
    """Layers of the encoder that the refiner starts from."""
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
    sets = {"dev": dev, "dev, joined": compose(dev, share=1.0, seed=1), **tests}
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
    several: list[Retriever] = []
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
        several += [scorer, nearest]
    if len(config.seeds) > 1:
        measure("fusion, all tuned encoders", Fusion.of([*several, *frozen.stages], weighing))
    (config.out / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    # 5. An encoder tuned with triplets, and a refiner of the linear layer's candidates.
    some = list(train)
    random.Random(0).shuffle(some)
    some = some[: config.taught]
    unseen, tool2vec = _unseen_scores(tools, train, some, embedder), Tool2Vec.of(tools, train, embedder)
    measure(f"tool2vec, {len(some):,} usages", Tool2Vec.of(tools, some, embedder))
    for seed in config.seeds:
        encoder = _taught(config, some, seed)
        measure("the same, triplets", Tool2Vec.of(tools, some, LastSeen(CachedEmbedder(encoder, cache_folder()))))
        measure("mlc, refined", Refined(stages["mlc"], _refiner(config, some, unseen, tool2vec, seed)))
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


def _taught(config: ToolsTableConfig, usages: Sequence[Usage], seed: int) -> QueryEncoder:
    """The encoder tuned with triplets, from `out` if it is there."""
    from labelspace.finetune.tools_triplets import DEFAULTS, QueryEncoder

    folder = config.out / f"triplets-{seed}"
    if (folder / "triplets.json").exists():
        return QueryEncoder.load(folder)
    settings = DEFAULTS.model_copy(update={"seed": seed})
    encoder = QueryEncoder(config.embedder, freeze_tokens=True, training=settings)
    encoder.fit([usage.query for usage in usages], [usage.tools for usage in usages], each=1)
    encoder.save(folder)
    return encoder


def _unseen_scores(tools: ToolSet, train: Sequence[Usage], usages: Sequence[Usage], embedder: Embedder) -> np.ndarray:
    """Scores of usages by linear layers over half of train each, the half that the usage is not in."""
    first = np.zeros((len(usages), len(tools)), np.float32)
    for half in (0, 1):
        layer = LinearMLC.of(tools, train[half::2], embedder)
        known = {usage.query for usage in train[half::2]}
        unseen = [i for i, usage in enumerate(usages) if usage.query not in known]
        first[unseen] = layer.scores([usages[i].query for i in unseen])
    return first


def _refiner(
    config: ToolsTableConfig, usages: Sequence[Usage], first: np.ndarray, tool2vec: Tool2Vec, seed: int
) -> ToolRefiner:
    """The refiner, from `out` if it is there."""
    from labelspace.finetune.tools_refiner import ToolRefiner
    from labelspace.finetune.train_settings import TrainSettings

    folder = config.out / f"refiner-{seed}"
    if (folder / "refiner.json").exists():
        return ToolRefiner.load(folder)
    settings = TrainSettings(epochs=3, batch_size=32, learning_rate=1e-4, warmup=0.1, schedule="linear", seed=seed)
    refiner = ToolRefiner(config.embedder, candidates=config.candidates, layers=config.layers, training=settings)
    queries, needs = [usage.query for usage in usages], [usage.tools for usage in usages]
    refiner.fit(queries, needs, first=first, vectors=tool2vec.vectors, classes=tool2vec.tools)
    refiner.save(folder)
    return refiner


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
