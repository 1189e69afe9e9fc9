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
    use_case: str = "",
    max_labels: int | None = None,
    levels: Literal[1, 2] = 1,
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

    Args:
        texts: Texts or records; blank ones are passed over.
        model: A model string, a model, or "none" for clustering.
        use_case: What the labels are for, in a sentence; read by models only.
        max_labels: The most labels; by default the data decides without a model, and 25 is the most with one.
        levels: 2 for labels in groups.
        embedder: For "none": what texts are compared by.
        journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
        prompts: Folder of templates that replace ours by name.
        seed: Seed of everything random.
        progress: Whether to show progress on stderr.
        engine: Further settings of the `Engine`: budget, concurrency, rpm, ...

    Raises:
        ConfigError: `max_labels` or `levels` is out of range.
        DataError: There are too few texts.
        ModelError: The model can't be used, or gave no acceptable taxonomy.
    """
    if max_labels is not None and max_labels < 2:
        raise ConfigError(f"max_labels must be at least 2, not {max_labels}")
    if levels not in (1, 2):
        raise ConfigError(f"levels must be 1 or 2, not {levels}")
    if model == "none":
        from labelspace.agents.cluster import cluster_space

        plain = [record.text for record in as_records(texts)]
        return cluster_space(plain, embedder=embedder, max_labels=max_labels, levels=levels, seed=seed)
    from labelspace.agents.taxonomy import TaxonomySettings, make_taxonomy

    settings = TaxonomySettings(use_case=use_case, levels=levels, seed=seed)
    if max_labels is not None:
        settings = replace(settings, max_labels=max_labels)
    return make_taxonomy(
        texts, settings, model=model, journal=journal, prompts=prompts, progress=progress, engine=engine
    ).space
