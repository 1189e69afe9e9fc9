"""Make a label space from texts: with a language model where there is one, by clustering otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from labelspace.errors import ConfigError
from labelspace.llm import ChatModel
from labelspace.records import Record, as_records
from labelspace.space import LabelSpace


def discover(
    texts: Iterable[str | Record],
    *,
    model: str | ChatModel = "none",
    method: Literal["taxonomy", "clusters"] = "taxonomy",
    use_case: str = "",
    max_labels: int | None = None,
    levels: Literal[1, 2] = 1,
    candidates: int = 1,
    start: LabelSpace | None = None,
    embedder: str = "tfidf",
    journal: str | Path | None = None,
    prompts: str | Path | None = None,
    seed: int = 0,
    progress: bool = False,
    engine: Mapping[str, Any] | None = None,
) -> LabelSpace:
    """Find the labels by which texts can be sorted.

        space = discover(texts, model="http://127.0.0.1:8000/v1#name", use_case="What customers want")
        space.save("space.yaml")

    `make_taxonomy` in `agents/taxonomy/loop.py` does the same with every setting, and tells how the labels came about.

    Args:
        texts: Texts or records; blank ones are passed over.
        model: A model string, a model, or "none" for clustering.
        method: With a model, what it does: make a taxonomy, or only name clusters.
        use_case: What the labels are for, in a sentence; read by models only.
        max_labels: The most labels; by default the data decides without a model, and 25 is the most with one.
        levels: 2 for labels in groups.
        candidates: Taxonomies that are made, of which votes on held-out texts choose one.
        start: Labels to begin with instead of generating them.
        embedder: What texts are compared by: for clusters, and where a sample is drawn of very many.
        journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
        prompts: Folder of templates that replace ours by name.
        seed: Seed of everything random.
        progress: Whether to show progress on stderr.
        engine: Further settings of the `Engine`: budget, concurrency, rpm, ...

    Raises:
        ConfigError: `max_labels` or `levels` is out of range, or `start` or `candidates` goes with clusters.
        DataError: There are too few texts.
        ModelError: The model can't be used, or gave no acceptable taxonomy.
    """
    if max_labels is not None and max_labels < 2:
        raise ConfigError(f"max_labels must be at least 2, not {max_labels}")
    if levels not in (1, 2):
        raise ConfigError(f"levels must be 1 or 2, not {levels}")
    from labelspace.agents.taxonomy.settings import TaxonomySettings

    settings = TaxonomySettings(use_case=use_case, levels=levels, candidates=candidates, embedder=embedder, seed=seed)
    settings = replace(settings, max_labels=most_labels(max_labels, start))
    asking: dict[str, Any] = {"journal": journal, "prompts": prompts, "progress": progress, "engine": engine}
    if model == "none" or method == "clusters":
        if start is not None or candidates > 1:
            raise ConfigError("clusters start from nothing and are made once: leave out start and candidates")
        from labelspace.agents.clustering.cluster import discover_clusters
        from labelspace.agents.clustering.naming import name_clusters

        namer: Any = name_clusters
        if model != "none":
            from labelspace.agents.taxonomy.naming import ModelNamer

            namer = ModelNamer(model, settings, **asking)
        plain = [record.text for record in as_records(texts)]
        return discover_clusters(
            plain, embedder=embedder, max_labels=max_labels, levels=levels, seed=seed, namer=namer
        ).space
    from labelspace.agents.taxonomy.loop import make_taxonomy

    return make_taxonomy(texts, settings, model=model, start=start, **asking).space


def most_labels(given: int | None, start: LabelSpace | None) -> int:
    """The most labels that a model may make: as given, or 25, or a quarter more than those that it starts from."""
    from labelspace.agents.taxonomy.settings import DEFAULT_MAX_LABELS

    if given is not None:
        return given
    return max(DEFAULT_MAX_LABELS, 0 if start is None else len(start.leaves) * 5 // 4)
