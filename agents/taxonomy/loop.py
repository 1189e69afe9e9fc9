"""Make a taxonomy of texts with a language model: phase 1 of TnT-LLM (Wan et al. 2024, arXiv 2403.12173).

Documents are summarised for the use case, shuffled and cut into minibatches. The first batch
yields a taxonomy; each further batch judges it (a score, as a loss), says what to change (as a
gradient) and rewrites it (a step); a review without documents ends it. Several taxonomies can be
made from other shuffles; votes on documents that none has seen choose one. A reply that breaks a
guardrail is shown to the model with what is wrong, at a temperature that rises by 0.1.

Where we differ: texts that are short already are not summarised (`summarize="always"` does as the
paper); a batch that never yields an acceptable update is skipped, rather than ending the run;
replies are JSON, and cite documents by number as examples; batches that change nothing end the
reading early; where there are more documents than are read, three quarters of the sample are drawn for variety.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.agents.taxonomy.changes import Changes
from labelspace.agents.taxonomy.choose import choose
from labelspace.agents.taxonomy.questions import Questions
from labelspace.agents.taxonomy.settings import Step, TaxonomySettings
from labelspace.agents.taxonomy.steps import Loop
from labelspace.errors import ConfigError, DataError
from labelspace.llm import ChatModel, Engine, run
from labelspace.progress import Progress, note
from labelspace.records import Record, as_records
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.embed import Embedder

FEWEST_DOCUMENTS = 3
_FITTED = 10_000
"""Of more texts, so many are enough for an embedder that learns from them."""

__all__ = ["Step", "Taxonomy", "TaxonomySettings", "make_taxonomy"]


@dataclass(frozen=True)
class Taxonomy:
    """A label space and how it came about."""

    space: LabelSpace
    steps: tuple[Step, ...]
    stats: Mapping[str, Any] = field(default_factory=dict)
    """What the engine counted."""
    changes: Changes | None = None
    """What became of the labels that it started from, if any."""


def make_taxonomy(
    texts: Iterable[str | Record],
    settings: TaxonomySettings | None = None,
    *,
    model: str | ChatModel,
    start: LabelSpace | None = None,
    reasons: bool = False,
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
        start: Labels to begin with; one with two levels keeps them.
        reasons: Whether each change of them needs its reason, because documents carry them already.
        journal: SQLite file that keeps every reply.
        prompts: Folder of templates that replace ours by name.
        progress: Whether to show progress on stderr.
        engine: Further settings of the `Engine`: budget, concurrency, rpm, ...

    Raises:
        ConfigError: `start` has more labels than there may be, or more than two levels.
        DataError: There are fewer than three different texts.
        ModelError: The model can't be used, or gave no acceptable taxonomy at all.
    """
    settings = settings or TaxonomySettings()
    if start is not None:
        if len(start.leaves) > settings.max_labels:
            raise ConfigError(
                f"the space {start.name!r} has {len(start.leaves)} labels, and max_labels is {settings.max_labels}; "
                "allow at least as many"
            )
        settings = settings if start.is_flat else replace(settings, levels=2)
    documents = _documents(texts, settings)

    async def work() -> Taxonomy:
        options = {**(engine or {}), "journal": journal, "progress": progress, "repairs": 0}
        async with Engine(model, **options) as opened:
            questions = Questions(opened, settings, prompts=prompts, progress=progress)
            short = await questions.summarize(documents)
            seen, held_out = _split(len(documents), settings)
            loops = [
                Loop(questions, candidate=number, start=start, reasons=reasons) for number in range(settings.candidates)
            ]
            batches = -(-len(seen) // settings.batch_size)
            total = settings.candidates * (batches + (not reasons))
            with Progress("taxonomy", total=total, unit="steps", shown=progress) as bar:
                runs = []
                for loop in loops:
                    order = list(seen)
                    if loop.candidate:
                        random.Random(loop.seed).shuffle(order)
                    runs.append(loop.run([documents[at] for at in order], [short[at] for at in order], bar))
                await asyncio.gather(*runs)
            best, vote = await choose(questions, loops, [short[at] for at in held_out])
            space = await best.finish()
            steps = [step for loop in loops for step in loop.steps if loop is not best or step.what != "group"]
            last = [step for step in best.steps if step.what == "group"]
            changes = None if start is None else best.lineage.changes(start, space)
            made = (*steps, *([vote] if vote else []), *last)
            return Taxonomy(space, made, opened.stats.to_data(), changes)

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
    if len(documents) <= settings.max_documents:
        return documents
    from labelspace.agents.taxonomy.rare_sample import rare_sample

    vectors = sampling_embedder(settings.embedder, documents, cache=settings.cache).embed(documents)
    drawn = rare_sample(vectors, settings.max_documents, seed=settings.seed)
    note(f"the taxonomy is made from {settings.max_documents:,} of {len(documents):,} texts, drawn for variety")
    return [documents[place] for place in drawn]


def sampling_embedder(spec: str, documents: Sequence[str], *, cache: Path | None = None) -> Embedder:
    """What documents are compared by where a sample is drawn: TF-IDF in random directions, or as `load_embedder` says.

    Args:
        spec: As for `load_embedder`.
        documents: In random order; TF-IDF learns from the first.
        cache: As for `load_embedder`.
    """
    from labelspace.embed import fit_embedder, load_embedder
    from labelspace.embed.tfidf import TfidfEmbedder

    embedder = TfidfEmbedder(directions="random") if spec == "tfidf" else load_embedder(spec, cache=cache)
    return fit_embedder(embedder, documents[:_FITTED])


def _split(count: int, settings: TaxonomySettings) -> tuple[list[int], list[int]]:
    """Places to read, and those held out for votes: none for a single candidate, all of them where there are few."""
    places = list(range(count))
    if settings.candidates == 1:
        return places, []
    aside = min(round(settings.held_out * count), 4 * settings.vote_batch)
    if min(aside, count - aside) < FEWEST_DOCUMENTS:
        return places, places
    return places[: count - aside], places[count - aside :]
