"""Make a taxonomy of texts with a language model: phase 1 of TnT-LLM (Wan et al. 2024, arXiv 2403.12173).

Documents are summarised for the use case, shuffled and cut into minibatches. The first batch
yields a taxonomy; each further batch judges it (a score, as a loss), says what to change (as a
gradient) and rewrites it (a step); a review without documents ends it. A reply that breaks a
guardrail is shown to the model with what is wrong, at a temperature that rises by 0.1.

Where we differ: texts that are short already are not summarised (`summarize="always"` does as the
paper); a batch that never yields an acceptable update is skipped, rather than ending the run;
replies are JSON, and cite documents by number as examples. Choosing among several taxonomies on
held-out batches is not here yet.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelspace.agents.taxonomy_steps import Loop, Step, TaxonomySettings
from labelspace.errors import DataError
from labelspace.llm import ChatModel, Engine, run
from labelspace.progress import note
from labelspace.records import Record, as_records
from labelspace.space import LabelSpace

FEWEST_DOCUMENTS = 3

__all__ = ["Step", "Taxonomy", "TaxonomySettings", "make_taxonomy"]


@dataclass(frozen=True)
class Taxonomy:
    """A label space and how it came about."""

    space: LabelSpace
    steps: tuple[Step, ...]
    stats: Mapping[str, Any] = field(default_factory=dict)
    """What the engine counted."""


def make_taxonomy(
    texts: Iterable[str | Record],
    settings: TaxonomySettings | None = None,
    *,
    model: str | ChatModel,
    journal: str | Path | None = None,
    prompts: str | Path | None = None,
    progress: bool = False,
    engine: Mapping[str, Any] | None = None,
) -> Taxonomy:
    """Make a taxonomy of texts.

    With a journal, the same texts and settings ask nothing twice: a rerun replays, and one that was
    stopped goes on.

    Args:
        texts: At least three with text; blank ones and exact copies are passed over.
        settings: How to go about it.
        model: A model string or a model.
        journal: SQLite file that keeps every reply.
        prompts: Folder of templates that replace ours by name.
        progress: Whether to show progress on stderr.
        engine: Further settings of the `Engine`: budget, concurrency, rpm, ...

    Raises:
        DataError: There are fewer than three different texts.
        ModelError: The model can't be used, or gave no acceptable taxonomy at all.
    """
    settings = settings or TaxonomySettings()
    documents = _documents(texts, settings)

    async def work() -> Taxonomy:
        options = {**(engine or {}), "journal": journal, "progress": progress, "repairs": 0}
        async with Engine(model, **options) as opened:
            loop = Loop(opened, settings, prompts=prompts, progress=progress)
            space = await loop.run(documents)
            return Taxonomy(space, tuple(loop.steps), opened.stats.to_data())

    return run(work())


def _documents(texts: Iterable[str | Record], settings: TaxonomySettings) -> list[str]:
    """Different texts, shuffled, and no more than are wanted."""
    documents = list(dict.fromkeys(record.text.strip() for record in as_records(texts) if not record.is_blank))
    if len(documents) < FEWEST_DOCUMENTS:
        raise DataError(
            f"a taxonomy needs at least {FEWEST_DOCUMENTS} different texts, and there are {len(documents)}",
            advice="give more texts, or write the label space yourself",
        )
    random.Random(settings.seed).shuffle(documents)
    if len(documents) > settings.max_documents:
        note(f"the taxonomy is made from {settings.max_documents:,} of {len(documents):,} texts, drawn at random")
    return documents[: settings.max_documents]
