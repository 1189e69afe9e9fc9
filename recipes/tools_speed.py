"""Query to ranked tools among 100,000, the encoder left out: exact search, the graph index, and the whole way.

    labelspace run tools_speed
    labelspace run tools_speed embedder=my-minilm        # also times a query with its encoder

Tool vectors are drawn around cluster centres, with a spectrum that falls as that of sentence encoders does (a third
of the variance on 32 of 384 axes is noise's share; encoders have nearly half). Queries are tools with noise added.
Times are medians on one thread; run it on an idle machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np

from labelspace.agents.tools.index import ExactIndex, GraphIndex, ScreenedIndex
from labelspace.config import Config
from labelspace.embed import load_embedder
from labelspace.embed.base import Vectors, unit_rows


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
    figures = {}
    with threadpool_limits(1):
        plain, screened = ExactIndex(vectors), ScreenedIndex(vectors)
        figures["all products"] = median_ms(lambda query: plain.search(query, config.k), queries[:50])
        figures["exact (screened)"] = median_ms(lambda query: screened.search(query, config.k), queries)
        same = np.mean([
            list(plain.search(q, config.k)[0]) == list(screened.search(q, config.k)[0]) for q in queries[:50]
        ])  # fmt: skip
        click.echo(f"screened search gives what all products give for {same:.1%} of queries")
        if config.graph:
            graph = GraphIndex(vectors)
            figures["approximate (graph)"] = median_ms(lambda query: graph.search(query, config.k), queries)
            found = [
                len(set(plain.search(q, config.k)[0]) & set(graph.search(q, config.k)[0])) / config.k
                for q in queries[:100]
            ]
            click.echo(f"the graph finds {np.mean(found):.1%} of the {config.k} nearest")
        if config.embedder is not None:
            embedder = load_embedder(config.embedder)
            texts = [f"Where can I find a train to Lyon on the {i}th of May?" for i in range(30)]
            embedder.embed(texts[:1])
            figures["with the encoder"] = median_ms(
                lambda text: screened.search(np.resize(embedder.embed([text])[0], config.width), config.k), texts
            )
    for name, value in figures.items():
        click.echo(f"{name:22} {value:7.2f} ms")
    return figures


def draw(config: ToolsSpeedConfig) -> tuple[Vectors, Vectors]:
    """Unit vectors of tools and of queries, with a falling spectrum."""
    random = np.random.default_rng(config.seed)
    spectrum = (1 + np.arange(config.width)) ** -0.5
    centres = random.normal(size=(config.clusters, config.width)) * spectrum
    own = random.normal(size=(config.tools, config.width)).astype(np.float32) * spectrum.astype(np.float32)
    vectors = unit_rows(centres[random.integers(0, config.clusters, config.tools)] + own)
    near = vectors[random.integers(0, config.tools, config.queries)]
    noise = unit_rows(random.normal(size=near.shape) * spectrum)
    return vectors, unit_rows(near + 0.7 * noise)


def median_ms(search: Callable[..., object], queries: object) -> float:
    """Median time of one query."""
    times = []
    for query in queries:  # type: ignore[attr-defined]
        started = time.perf_counter()
        search(query)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))
