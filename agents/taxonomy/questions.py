"""What a model is asked about a taxonomy: each step as a question with its guardrails and its temperature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from labelspace.agents.taxonomy.asking import Refused, Warming, ask_each, shorter_texts
from labelspace.agents.taxonomy.batches import batches_by_size, is_long
from labelspace.agents.taxonomy.checks import Draft, Limits
from labelspace.agents.taxonomy.replies import (
    Judgement,
    read_choice,
    read_groups,
    read_judgement,
    read_summaries,
    read_taxonomy,
)
from labelspace.agents.taxonomy.schemas import CHOICE, GROUPS, REASONED, REVIEW, SUMMARIES, TAXONOMY, UPDATE
from labelspace.agents.taxonomy.settings import TaxonomySettings
from labelspace.agents.texts import cut_middle
from labelspace.llm import Engine
from labelspace.progress import note
from labelspace.prompts import Prompt, load_prompt

Value = TypeVar("Value")
Groups = list[tuple[Draft, list[str]]]
"""Groups with the names of their labels."""


class Questions:
    """Asks; a question that got no usable answer comes back as `Refused`."""

    def __init__(
        self, engine: Engine, settings: TaxonomySettings, *, prompts: str | Path | None = None, progress: bool = False
    ) -> None:
        """Take what asks and how."""
        self.engine, self.settings, self.progress = engine, settings, progress
        self.limits = Limits(
            settings.max_labels, settings.name_words, settings.description_words, settings.other, settings.language
        )
        self._folder = prompts

    async def summarize(self, documents: list[str]) -> list[str]:
        """Each document, or its summary where it is long."""
        settings = self.settings
        if settings.summarize == "never":
            return [cut_middle(text, settings.shown_characters) for text in documents]
        long = [
            place
            for place, text in enumerate(documents)
            if settings.summarize == "always" or is_long(text, settings.long_words)
        ]
        texts = [cut_middle(documents[place], settings.read_characters) for place in long]
        batches = batches_by_size(texts)
        answers = await self._ask(
            self._prompt("summarize", words=settings.summary_words, own_words=settings.own_words),
            [texts[batch.start : batch.stop] for batch in batches],
            lambda text, batch: read_summaries(
                text, len(batch), settings.summary_words, unquoted=batch if settings.own_words else ()
            ),
            SUMMARIES,
            cut=shorter_texts,
            shown=self.progress,
        )
        short, failed = list(documents), 0
        for batch, answer in zip(batches, answers, strict=True):
            for at, index in enumerate(batch):
                if isinstance(answer, Refused):
                    failed += 1
                    text = " ".join(texts[index].split()[: settings.long_words])
                    short[long[index]] = text[: settings.shown_characters]
                else:
                    short[long[index]] = answer[at]
        if failed:
            note(f"{failed} documents got no usable summary; their first {settings.long_words} words stand in")
        return short

    async def generate(self, texts: list[str], *, seed: int) -> tuple[Draft, ...] | Refused:
        """A first taxonomy."""
        [answer] = await self._ask(
            self._prompt("generate", **self._sizes()),
            [texts],
            lambda text, batch: read_taxonomy(text, self.limits, documents=len(batch)),
            TAXONOMY,
            temperature=self.settings.generate_temperature,
            seed=seed,
        )
        return answer

    async def judge(
        self, what: Literal["update", "review"], labels: Sequence[Draft], texts: list[str], *, seed: int, reasons: bool
    ) -> Judgement | Refused:
        """What it thinks of a taxonomy, seeing new documents or none, and the taxonomy that it puts in its place.

        Args:
            what: Which of the two.
            labels: The taxonomy.
            texts: The documents of an update.
            seed: Of the request.
            reasons: Whether each change of an update needs its reason.
        """
        known = tuple(draft.name for draft in labels)
        reasoned = reasons and what == "update"
        prompt = self._prompt(what, labels=_table(labels), **self._sizes())
        [answer] = await self._ask(
            prompt.bind(reasons=reasons) if what == "update" else prompt,
            [texts],
            lambda text, batch: read_judgement(
                text, self.limits, known=labels if reasoned else known, documents=len(batch)
            ),
            REVIEW if what == "review" else REASONED if reasons else UPDATE,
            temperature=self.settings.update_temperature if what == "update" else 0.0,
            seed=seed,
        )
        return answer

    async def group(self, labels: Sequence[Draft], most: int, before: Groups, *, seed: int) -> Groups | Refused:
        """The upper level: at most so many groups; `before` are those that there were."""
        sizes = {name: value for name, value in self._sizes().items() if name != "max_labels"}
        names = tuple(draft.name for draft in labels)
        shown = [
            {"name": draft.name, "description": draft.description, "labels": [name for name in inside if name in names]}
            for draft, inside in before
        ]
        [answer] = await self._ask(
            self._prompt("group", labels=_table(labels), max_groups=most, groups=shown, **sizes),
            [[]],
            lambda text, _: read_groups(text, self.limits, names=names, max_groups=most),
            GROUPS,
            seed=seed,
        )
        return answer

    async def choose(
        self, orders: Sequence[tuple[Sequence[Sequence[Draft]], list[str]]]
    ) -> list[tuple[int, str] | Refused]:
        """For each batch of documents, the place of the best of its taxonomies as they are ordered, and why."""
        questions = [self._vote(taxonomies, texts) for taxonomies, texts in orders]
        return list(await asyncio.gather(*questions))

    async def _vote(self, taxonomies: Sequence[Sequence[Draft]], texts: list[str]) -> tuple[int, str] | Refused:
        tables = [_table(labels) for labels in taxonomies]
        [answer] = await self._ask(
            self._prompt("choose", max_labels=self.settings.max_labels, taxonomies=tables),
            [texts],
            lambda text, _: read_choice(text, len(tables)),
            CHOICE,
        )
        return answer

    def _prompt(self, name: str, **variables: Any) -> Prompt:
        settings = self.settings
        prompt = load_prompt(f"taxonomy_{name}", folder=self._folder).bind(use_case=settings.use_case, **variables)
        return prompt if name == "choose" else prompt.bind(language=settings.language)

    def _sizes(self) -> dict[str, int]:
        settings = self.settings
        return {
            "max_labels": settings.max_labels,
            "name_words": settings.name_words,
            "description_words": settings.description_words,
        }

    async def _ask(
        self,
        prompt: Prompt,
        batches: Sequence[list[str]],
        read: Callable[[str, list[str]], Value],
        schema: Mapping[str, Any],
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        **how: Any,
    ) -> list[Value | Refused]:
        settings = self.settings
        warming = Warming(temperature, settings.temperature_step, settings.retries)
        sampling = {
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "seed": settings.seed if seed is None else seed,
        }
        return await ask_each(
            self.engine, prompt, batches, read, schema=schema, warming=warming, sampling=sampling, **how
        )


def _table(labels: Sequence[Draft]) -> list[dict[str, str]]:
    return [{"name": draft.name, "description": draft.description} for draft in labels]
