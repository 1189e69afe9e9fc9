"""Query to ranked tools among 100,000, the encoder left out: exact search, the graph index, and the whole way.

    labelspace run tools_speed
    labelspace run tools_speed embedder=onnx:my-minilm   # also times a query with its encoder; or embedder=my-minilm

Tool vectors are drawn around cluster centres, with the spectrum that all-MiniLM-L6-v2 has over the texts of a dozen
data sets (45 % of the variance on 32 of 384 axes, 78 % on 128), in tight and loose clusters; queries are tools with
more or less noise added, so that the fifth best scores about what it does for real queries there (.44 to .87, median
.72). One thread; medians over queries of the fastest of some rounds.

One core of two, load 1.9: exact search 0.96 ms (90 % of the queries within 2.02), all products 12.4 ms; with the
encoder by `onnx:` 6.4 ms (7.3), and a query of two parts, which is embedded as a whole and part by part and searched
for three times, 17.1 ms (19.3). With the encoder in torch, measured before: 14.5 and 31 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import numpy as np

from labelspace.agents.tools.clauses import clauses_of
from labelspace.agents.tools.index import ExactIndex, GraphIndex, ScreenedIndex
from labelspace.config import Config
from labelspace.embed import load_embedder
from labelspace.embed.base import Vectors, unit_rows
from labelspace.embed.onnx import OnnxEmbedder


class Times(NamedTuple):
    """Median and 90th percentile over queries [ms], by the clock and of the processor."""

    median: float
    most: float
    own: float
    own_most: float


class ToolsSpeedConfig(Config):
    """What `labelspace run tools_speed` reads."""

    tools: int = 100_000
    """How many tools."""
    width: int = 384
    """Size of a vector."""
    clusters: int = 2_000
    """Groups of similar tools."""
    queries: int = 200
    """Queries timed."""
    rounds: int = 5
    """Rounds over the queries."""
    k: int = 5
    """Tools asked for."""
    graph: bool = True
    """Also build and time the approximate index, which takes a minute."""
    embedder: str | None = None
    """Also time a query with this encoder."""
    seed: int = 0
    """Seed of the vectors."""


def main(config: ToolsSpeedConfig) -> dict[str, float]:
    """Draw, time, print."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

    vectors, queries = draw(config)
    times: dict[str, Times] = {}
    with threadpool_limits(1):
        plain, screened = ExactIndex(vectors), ScreenedIndex(vectors)
        few = queries[:50]
        expected = [plain.search(query, config.k) for query in few]
        fifth = np.quantile([scores[-1] for _, scores in expected], [0.1, 0.5, 0.9])
        click.echo(f"score of the last of {config.k}: " + ", ".join(f"{value:.2f}" for value in fifth))
        times["all products"] = median_ms(lambda query: plain.search(query, config.k), few, 2)
        times["exact (screened)"] = median_ms(lambda query: screened.search(query, config.k), queries, config.rounds)
        found = [screened.search(query, config.k) for query in few]
        same = np.mean([
            np.array_equal(one, other) and np.array_equal(score, result)
            for (one, score), (other, result) in zip(expected, found, strict=True)
        ])  # fmt: skip
        click.echo(f"screened search gives what all products give for {same:.1%} of queries")
        if config.graph:
            graph = GraphIndex(vectors)
            times["approximate (graph)"] = median_ms(
                lambda query: graph.search(query, config.k), queries, config.rounds
            )
            shares = [
                len(set(graph.search(query, config.k)[0]) & set(places)) / config.k
                for query, (places, _) in zip(few, expected, strict=True)
            ]
            click.echo(f"the graph finds {np.mean(shares):.1%} of the {config.k} nearest")
        if config.embedder is not None:
            embedder = load_embedder(config.embedder)
            if isinstance(embedder, OnnxEmbedder):
                embedder.threads = 1
            texts = [f"Where can I find a train to Lyon on the {i}th of May?" for i in range(30)]

            def whole(place: int) -> object:
                # What is embedded has no neighbours among drawn vectors, so that a drawn query is searched for.
                embedder.embed([texts[place]])
                return screened.search(queries[place], config.k)

            def by_parts(place: int) -> object:
                said = f"{texts[place][:-1]} and what will the weather be like there?"
                vectors = embedder.embed([said, *clauses_of(said)])
                return [screened.search(queries[place + i], config.k) for i in range(len(vectors))]

            whole(0)
            times["with the encoder"] = median_ms(whole, range(len(texts)), config.rounds)
            times["the same, two parts"] = median_ms(by_parts, range(len(texts)), config.rounds)
    for name, taken in times.items():
        click.echo(
            f"{name:22} median {taken.median:6.2f} ms, 90 % within {taken.most:6.2f} ms; "
            f"of the processor {taken.own:6.2f} and {taken.own_most:6.2f} ms"
        )
    busy = f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors" if hasattr(os, "getloadavg") else ""
    click.echo(f"{config.tools:,} tools{busy}")
    return {name: taken.median for name, taken in times.items()}


def draw(config: ToolsSpeedConfig) -> tuple[Vectors, Vectors]:
    """Unit vectors of tools [tools, width] and of queries [queries, width]."""
    random = np.random.default_rng(config.seed)
    axes = np.arange(config.width)
    spread = np.sqrt((1 + axes) ** -0.6 * np.exp(-axes / 250)).astype(np.float32)
    centres = random.normal(size=(config.clusters, config.width)).astype(np.float32) * spread
    own = random.normal(size=(config.tools, config.width)).astype(np.float32) * spread
    group = random.integers(0, config.clusters, config.tools)
    looseness = random.uniform(0.2, 1.0, config.clusters).astype(np.float32)
    vectors = unit_rows(centres[group] + own * looseness[group, None])
    near = vectors[random.integers(0, config.tools, config.queries)]
    noise = unit_rows(random.normal(size=near.shape).astype(np.float32) * spread)
    return vectors, unit_rows(near + random.uniform(0.1, 1.1, (config.queries, 1)).astype(np.float32) * noise)


def median_ms(search: Callable[[Any], object], queries: Any, rounds: int) -> Times:
    """Times of one query, each the fastest of some rounds over all.

    A single time of less than a millisecond says more of what else the machine did. So does any time on a clock where
    others compute too: what the processor spent on us is told apart.
    """
    wall, own = np.full((rounds, len(queries)), np.inf), np.full((rounds, len(queries)), np.inf)
    for turn in range(rounds):
        for place, query in enumerate(queries):
            began, started = time.thread_time(), time.perf_counter()
            search(query)
            wall[turn, place] = (time.perf_counter() - started) * 1000
            own[turn, place] = (time.thread_time() - began) * 1000
    fastest, spent = wall.min(axis=0), own.min(axis=0)
    quantile = [float(np.quantile(times, share)) for times in (fastest, spent) for share in (0.5, 0.9)]
    return Times(*quantile)
