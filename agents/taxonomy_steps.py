"""The steps of making a taxonomy with a model: summarise, generate, update, review, group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from labelspace.agents.asking import Refused, Warming, ask_each, shorter_texts
from labelspace.agents.taxonomy_replies import (
    GROUPS,
    REVIEW,
    SUMMARIES,
    TAXONOMY,
    UPDATE,
    Draft,
    Judgement,
    Limits,
    read_groups,
    read_judgement,
    read_summaries,
    read_taxonomy,
)
from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError, ModelError
from labelspace.llm import Engine
from labelspace.progress import Progress, note
from labelspace.prompts import Prompt, load_prompt
from labelspace.space import Label, LabelSpace

Value = TypeVar("Value")
DEFAULT_MAX_LABELS = 25
FEWEST_TO_GROUP = 4
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 300
_SUMMARIZED_CHARACTERS = 12_000
"""Of a longer document, the middle is left out; also the size of a batch of documents to summarise."""
_SUMMARIZED_TOGETHER = 10
_UNSUMMARIZED_CHARACTERS = 1_000
"""Of a long document that has no summary, so much stands in for it."""


@dataclass(frozen=True, kw_only=True)
class TaxonomySettings:
    """How to make a taxonomy. The defaults are the paper's, where it has any."""

    use_case: str = ""
    """What the taxonomy is for, in a sentence."""
    max_labels: int = DEFAULT_MAX_LABELS
    levels: Literal[1, 2] = 1
    """Two: the labels are put into groups at the end."""
    batch_size: int = 200
    max_documents: int = 2000
    """So many documents are drawn where there are more (the paper took 10,000)."""
    summarize: Literal["long", "always", "never"] = "long"
    """Which documents are summarised."""
    long_words: int = 60
    """A document with more words is long."""
    summary_words: int = 20
    name_words: int = 5
    description_words: int = 40
    language: str = "English"
    """The language of names and descriptions."""
    retries: int = 5
    """Times that the model is asked again after a reply that breaks a guardrail."""
    generate_temperature: float = 0.5
    update_temperature: float = 0.2
    temperature_step: float = 0.1
    top_p: float = 0.5
    max_tokens: int | None = None
    other: str = "Other"
    """The bucket that is offered, at assignment only, for what fits nowhere."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that can't work."""
        for name in ("max_labels", "batch_size", "max_documents", "summary_words", "name_words", "description_words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.levels not in (1, 2):
            raise ConfigError(f"levels must be 1 or 2, not {self.levels}")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the loop, for a person who wants to know how the taxonomy came about."""

    what: Literal["generate", "update", "review", "group"]
    documents: int
    labels: tuple[str, ...]
    """Names after the step."""
    score: float | None = None
    """What the model gave the taxonomy before the step, 0 to 100."""
    explanation: str = ""
    suggestions: str = ""
    failed: str = ""
    """Why the step was skipped."""


class Loop:
    """The steps, and what they share."""

    def __init__(
        self, engine: Engine, settings: TaxonomySettings, *, prompts: str | Path | None = None, progress: bool = False
    ) -> None:
        """Take what asks and how."""
        self.engine, self.settings, self.progress = engine, settings, progress
        self.limits = Limits(settings.max_labels, settings.name_words, settings.description_words, settings.other)
        self.folder = prompts
        self.steps: list[Step] = []
        self.examples: dict[str, list[str]] = {}
        """Texts that the model cited for a label, by its name."""

    async def run(self, documents: list[str]) -> LabelSpace:
        """Go through all steps."""
        short = await self.summarize(documents)
        batches = even_batches(len(documents), self.settings.batch_size)
        labels: tuple[Draft, ...] = ()
        groups: list[tuple[Draft, list[str]]] = []
        steps = len(batches) + self.settings.levels
        with Progress("taxonomy", total=steps, unit="steps", shown=self.progress) as bar:
            for batch in batches:
                texts = [short[place] for place in batch]
                labels = await self.update(labels, texts) if labels else await self.generate(texts)
                self._cite(labels, [(documents[place], short[place]) for place in batch])
                bar.advance(remark=f"{len(labels)} labels")
            labels = await self.review(labels)
            self._cite(labels, [])
            bar.advance(remark=f"{len(labels)} labels")
            if self.settings.levels == 2:
                groups = await self.group(labels)
                bar.advance(remark=f"{len(labels)} labels in {len(groups)} groups")
        return self._space(labels, groups)

    # -- the steps ---------------------------------------------------------------------------

    async def summarize(self, documents: list[str]) -> list[str]:
        """Each document, or its summary where it is long."""
        settings = self.settings
        if settings.summarize == "never":
            return [cut_middle(text, _UNSUMMARIZED_CHARACTERS) for text in documents]
        long = [
            place
            for place, text in enumerate(documents)
            if settings.summarize == "always" or is_long(text, settings.long_words)
        ]
        texts = [cut_middle(documents[place], _SUMMARIZED_CHARACTERS) for place in long]
        batches = batches_by_size(texts)
        answers = await self._ask(
            self._prompt("summarize", words=settings.summary_words),
            [texts[batch.start : batch.stop] for batch in batches],
            lambda text, batch: read_summaries(text, len(batch), settings.summary_words),
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
                    short[long[index]] = text[:_UNSUMMARIZED_CHARACTERS]
                else:
                    short[long[index]] = answer[at]
        if failed:
            note(f"{failed} documents got no usable summary; their first {settings.long_words} words stand in")
        return short

    async def generate(self, texts: list[str]) -> tuple[Draft, ...]:
        """A first taxonomy."""
        [answer] = await self._ask(
            self._prompt("generate", **self._sizes()),
            [texts],
            lambda text, batch: read_taxonomy(text, self.limits, documents=len(batch)),
            TAXONOMY,
            temperature=self.settings.generate_temperature,
        )
        if isinstance(answer, Refused):
            tries = self.settings.retries + 1
            raise ModelError(f"{self.engine.model.name} gave no usable taxonomy in {tries} tries: {answer.reason}")
        self.steps.append(Step("generate", len(texts), _names(answer)))
        return answer

    async def update(self, labels: tuple[Draft, ...], texts: list[str]) -> tuple[Draft, ...]:
        """The taxonomy after it was judged on, and changed for, another batch."""
        return await self._judge("update", labels, texts, UPDATE, temperature=self.settings.update_temperature)

    async def review(self, labels: tuple[Draft, ...]) -> tuple[Draft, ...]:
        """The taxonomy after a last look at it without documents."""
        return await self._judge("review", labels, [], REVIEW, temperature=0.0)

    async def _judge(
        self,
        what: Literal["update", "review"],
        labels: tuple[Draft, ...],
        texts: list[str],
        schema: Mapping[str, Any],
        *,
        temperature: float,
    ) -> tuple[Draft, ...]:
        known = _names(labels)
        [answer] = await self._ask(
            self._prompt(what, labels=_table(labels), **self._sizes()),
            [texts],
            lambda text, batch: read_judgement(text, self.limits, known=known, documents=len(batch)),
            REVIEW,
            temperature=temperature,
        )
        if isinstance(answer, Refused):
            note(f"taxonomy: the {what} was skipped: {answer.reason}")
            self.steps.append(Step(what, len(texts), known, failed=answer.reason))
            return tuple(replace(draft, continues=(draft.name,), documents=()) for draft in labels)
        judged: Judgement = answer
        names = _names(judged.labels)
        self.steps.append(Step(what, len(texts), names, judged.score, judged.explanation, judged.suggestions))
        return judged.labels

    async def group(self, labels: tuple[Draft, ...]) -> list[tuple[Draft, list[str]]]:
        """The upper level: groups with the names of their labels; none where it can't be had."""
        names = _names(labels)
        if len(names) < FEWEST_TO_GROUP:
            note(f"taxonomy: {len(names)} labels are too few for two levels; it has one")
            return []
        most = min(round(1.5 * len(names) ** 0.5), len(names) // 2)
        sizes = {name: value for name, value in self._sizes().items() if name != "max_labels"}
        [answer] = await self._ask(
            self._prompt("group", labels=_table(labels), max_groups=most, **sizes),
            [[]],
            lambda text, _: read_groups(text, self.limits, names=names, max_groups=most),
            GROUPS,
        )
        if isinstance(answer, Refused):
            note(f"taxonomy: the labels could not be grouped, so it has one level: {answer.reason}")
            self.steps.append(Step("group", 0, names, failed=answer.reason))
            return []
        self.steps.append(Step("group", 0, (*(draft.name for draft, _ in answer), *names)))
        return answer

    def _prompt(self, name: str, **variables: Any) -> Prompt:
        settings = self.settings
        return load_prompt(f"taxonomy_{name}", folder=self.folder).bind(
            use_case=settings.use_case, language=settings.language, **variables
        )

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
        **how: Any,
    ) -> list[Value | Refused]:
        settings = self.settings
        warming = Warming(temperature, settings.temperature_step, settings.retries)
        sampling = {"top_p": settings.top_p, "max_tokens": settings.max_tokens, "seed": settings.seed}
        return await ask_each(
            self.engine, prompt, batches, read, schema=schema, warming=warming, sampling=sampling, **how
        )

    # -- what comes of it --------------------------------------------------------------------

    def _cite(self, labels: tuple[Draft, ...], batch: list[tuple[str, str]]) -> None:
        """Carry examples over to the labels that continue others, and add those cited from this batch."""
        before, self.examples = self.examples, {}
        for draft in labels:
            texts = [text for name in draft.continues for text in before.get(name, [])]
            for place in draft.documents:
                whole, short = (" ".join(text.split()) for text in batch[place])
                texts.append(whole if len(whole) <= _EXAMPLE_CHARACTERS else short)
            fit = [text for text in dict.fromkeys(texts) if len(text) <= _EXAMPLE_CHARACTERS]
            self.examples[draft.name] = fit[:_EXAMPLES]

    def _space(self, labels: tuple[Draft, ...], groups: list[tuple[Draft, list[str]]]) -> LabelSpace:
        by_name = {draft.name: draft for draft in labels}
        made: list[Label] = []
        above = {name: draft for draft, inside in groups for name in inside}
        order = list(above) or list(by_name)
        for name in order:
            group = above.get(name)
            if group is not None and group.name not in {label.name for label in made}:
                made.append(Label(name=group.name, description=group.description))
            made.append(
                Label(
                    name=name,
                    description=by_name[name].description,
                    parent=None if group is None else group.name,
                    examples=tuple(self.examples[name]),
                )
            )
        return LabelSpace(name="discovered", labels=tuple(made), other=self.settings.other or None)


# -- pieces ----------------------------------------------------------------------------------------


def is_long(text: str, words: int) -> bool:
    """Whether a text has more words, or, where words are not set apart, as many characters as so many have."""
    return len(text) > 12 * words or len(text.split()) > words


def even_batches(count: int, size: int) -> list[range]:
    """Cut `count` places into as few batches of at most `size` as can be, all about equally large."""
    batches = -(-count // size)
    return [range(count * place // batches, count * (place + 1) // batches) for place in range(batches)]


def batches_by_size(texts: Sequence[str]) -> list[range]:
    """Cut texts into batches of a few thousand characters, one text at least."""
    batches, start, size = [], 0, 0
    for place, text in enumerate(texts):
        if place > start and (size + len(text) > _SUMMARIZED_CHARACTERS or place - start == _SUMMARIZED_TOGETHER):
            batches.append(range(start, place))
            start, size = place, 0
        size += len(text)
    return [*batches, range(start, len(texts))] if texts else []


def _names(labels: Sequence[Draft]) -> tuple[str, ...]:
    return tuple(draft.name for draft in labels)


def _table(labels: Sequence[Draft]) -> list[dict[str, str]]:
    return [{"name": draft.name, "description": draft.description} for draft in labels]
