"""Names and descriptions of clusters by a language model that reads some of their texts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.agents.clustering.graph import Labels
from labelspace.agents.clustering.naming import Named, name_clusters
from labelspace.agents.clustering.partition import centroids
from labelspace.agents.replies import fold, read_object
from labelspace.agents.taxonomy.asking import Refused, Warming, ask_each
from labelspace.agents.taxonomy.checks import Limits, catches_all, check_labels, check_texts, refuse
from labelspace.agents.taxonomy.schemas import NAME
from labelspace.agents.taxonomy.settings import TaxonomySettings
from labelspace.agents.texts import cut_middle
from labelspace.embed import Vectors
from labelspace.llm import ChatModel, Engine, ReplyError, run
from labelspace.progress import note
from labelspace.prompts import load_prompt

_READ = 20
"""Texts of a cluster that the model sees: the most central half, and a half drawn from all."""
_NEIGHBOURS = 3
_TIMES = 2
"""Rounds of asking: in the second, those whose name another cluster has too."""


class ModelNamer:
    """Names clusters by a model; a cluster that it gives no usable name keeps that of its words."""

    def __init__(
        self,
        model: str | ChatModel,
        settings: TaxonomySettings | None = None,
        *,
        journal: str | Path | None = None,
        prompts: str | Path | None = None,
        progress: bool = False,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what to ask with; of the settings, those of names, descriptions and asking count.

        Args:
            model: A model string or a model.
            settings: How names must be.
            journal: SQLite file that keeps every reply.
            prompts: Folder of templates that replace ours by name.
            progress: Whether to show progress on stderr.
            engine: Further settings of the `Engine`.
        """
        self._model, self.settings = model, settings or TaxonomySettings()
        self._prompt = load_prompt("name_cluster", folder=prompts).bind(
            use_case=self.settings.use_case,
            name_words=self.settings.name_words,
            description_words=self.settings.description_words,
            language=self.settings.language,
        )
        self._engine = {**(engine or {}), "journal": journal, "progress": progress, "repairs": 0}

    def __call__(
        self, texts: Sequence[str], vectors: Vectors, labels: Labels, *, taken: Sequence[str] = ()
    ) -> list[Named]:
        """Names, descriptions and examples; names are unique, and none of `taken`."""
        plain = name_clusters(texts, vectors, labels, taken=taken)
        inside = np.flatnonzero(labels >= 0)
        means = centroids(vectors[inside], labels[inside])
        likeness = means @ means.T
        np.fill_diagonal(likeness, -np.inf)
        near = np.argsort(-likeness, axis=1, kind="stable")[:, :_NEIGHBOURS]
        rng = np.random.default_rng(self.settings.seed)
        shown = [self._shown(texts, vectors, np.flatnonzero(labels == at), means[at], rng) for at in range(len(plain))]

        async def work() -> list[Named]:
            named, open_places = list(plain), list(range(len(plain)))
            async with Engine(self._model, **self._engine) as engine:
                for _ in range(_TIMES):
                    around = [[named[other].name for other in near[at] if other != at] for at in open_places]
                    asked = [
                        self._ask(engine, plain[at], shown[at], names)
                        for at, names in zip(open_places, around, strict=True)
                    ]
                    for at, answer in zip(open_places, await asyncio.gather(*asked), strict=True):
                        if not isinstance(answer, Refused):
                            name, description = answer
                            named[at] = replace(named[at], name=name, description=description)
                    first: dict[str, int] = {fold(name): -1 for name in taken}
                    open_places = [at for at, one in enumerate(named) if first.setdefault(fold(one.name), at) != at]
                    if not open_places:
                        break
            for at in open_places:
                named[at] = plain[at]
            if open_places:
                note(f"{len(open_places)} clusters got no name of their own from the model and keep their words")
            return _unique(named, taken)

        return run(work())

    def _shown(
        self, texts: Sequence[str], vectors: Vectors, own: Labels, mean: Any, rng: np.random.Generator
    ) -> list[str]:
        order = own[np.argsort(-(vectors[own] @ mean), kind="stable")]
        central, rest = order[: _READ // 2], order[_READ // 2 :]
        drawn = rng.permutation(rest)[: _READ - len(central)]
        return [cut_middle(texts[at], self.settings.shown_characters) for at in (*central, *drawn)]

    async def _ask(
        self, engine: Engine, plain: Named, texts: list[str], neighbours: list[str]
    ) -> tuple[str, str] | Refused:
        settings = self.settings
        limits = Limits(1, settings.name_words, settings.description_words, settings.other, settings.language)
        [answer] = await ask_each(
            engine,
            self._prompt.bind(terms=list(plain.terms), neighbours=neighbours),
            [texts],
            lambda text, _: _read(text, limits),
            schema=NAME,
            warming=Warming(0.0, settings.temperature_step, settings.retries),
            sampling={"top_p": settings.top_p, "max_tokens": settings.max_tokens, "seed": settings.seed},
        )
        return answer


def _read(text: str, limits: Limits) -> tuple[str, str]:
    """Name and description.

    Raises:
        ReplyError: They break a guardrail.
    """
    drafts, problems = check_texts([read_object(text, ("name", "description"))], limits)
    if catches_all(drafts[0].name, limits):
        raise ReplyError(f"The name {drafts[0].name!r} says nothing of the documents. Name what is most frequent.")
    refuse([*problems, *check_labels(drafts, limits)], "Answer with the whole corrected JSON object.")
    return drafts[0].name, drafts[0].description


def _unique(named: list[Named], taken: Sequence[str]) -> list[Named]:
    """Names with a number where they are still there twice."""
    seen, made = {fold(name) for name in taken}, []
    for one in named:
        name, number = one.name, 2
        while fold(name) in seen:
            name, number = f"{one.name} {number}", number + 1
        seen.add(fold(name))
        made.append(replace(one, name=name))
    return made
