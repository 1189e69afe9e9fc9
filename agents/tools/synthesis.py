"""Synthetic usage: a language model writes what people would ask, tool by tool, until each has enough.

The loop of Tool2Vec's data (arXiv 2409.02141, section 4; self-instruct): show some tools, have an instruction
written that needs a few of them, polish it, and let what is accepted be an example for what comes next.
Where we differ: tools that are shown together lie near each other, so that what is asked for is plausible
and tells neighbours apart; the tool with the fewest usages is always asked for next, so that all get enough; a
judge who does not know the answer must find the same tools; what leaks a tool's name is dropped.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.agents.tools.author import Author, Idea, Sheet, Verdict
from labelspace.agents.tools.author_many import AuthorOfMany
from labelspace.agents.tools.bm25 import words
from labelspace.agents.tools.toolset import ToolSet, spoken
from labelspace.agents.tools.usage import Usage
from labelspace.embed import Embedder, fit_embedder, load_embedder
from labelspace.llm import ChatModel, Engine, iterate

ALIKE = 0.7
"""Share of words that two requests have in common from which on the later is dropped as a copy."""
SHOWN_EXAMPLES = 3


@dataclass
class Tally:
    """What became of the requests that were written."""

    written: int = 0
    accepted: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By reason: unreadable, leaks a name, judged otherwise, a copy."""
    lacking: dict[str, int] = field(default_factory=dict)
    """Tools that have fewer usages than asked for, with how many they have."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Calls, tokens and failures."""

    def drop(self, reason: str) -> None:
        """Count one that was dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class UsageWriter:
    """Writes usages for a tool set.

    writer = UsageWriter(tools, "http://127.0.0.1:8000/v1#name", journal="run/journal.sqlite")
    for usage in writer.write(each=5): ...
    """

    def __init__(
        self,
        tools: ToolSet,
        model: str | ChatModel,
        *,
        embedder: str | Embedder = "tfidf",
        company: Sequence[Sequence[int]] | None = None,
        shown: int = 8,
        counts: Sequence[int] = (1, 1, 2),
        together: int = 1,
        checked: bool = True,
        temperature: float = 0.9,
        language: str = "English",
        prompts: str | Path | None = None,
        journal: str | Path | None = None,
        seed: int = 0,
        batch: int = 32,
        patience: int = 5,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """Say how to write; nothing is asked yet.

        Args:
            tools: The tools.
            model: A model string or a model.
            embedder: By which tools are near each other.
            company: For each tool the numbers of those that may be shown beside it; None takes the nearest.
            shown: Tools that the model sees at once.
            counts: How many tools a request needs; drawn from these.
            together: Requests that are written, polished and judged in one call: many are cheaper, and each is
                thought about less.
            checked: Have what is written polished and judged, at two more calls.
            temperature: Of the writing; polishing and judging are done at 0.
            language: To write in.
            prompts: Folder of templates that replace ours by name.
            journal: SQLite file that keeps every reply: the same call goes on after a stop.
            seed: Of what is drawn.
            batch: Requests written before what was accepted is shown as examples.
            patience: Tries at a tool, for each usage that it shall have, after which it is given up.
            engine: Further settings of the `Engine`: budget, concurrency, rpm, ...
        """
        self.tools, self.model, self.tally = tools, model, Tally()
        self._shown, self._counts = min(shown, len(tools)), tuple(min(count, len(tools)) for count in counts)
        self._seed, self._batch, self._patience, self._checked = seed, batch, patience, checked
        self._engine = {**(engine or {}), "journal": journal}
        settings: dict[str, Any] = {"temperature": temperature, "language": language, "seed": seed, "prompts": prompts}
        self._author = Author(tools, **settings) if together == 1 else AuthorOfMany(tools, together, **settings)
        near = company_of(tools, embedder, 3 * (self._shown - 1)) if company is None else company.__getitem__
        self._company: Callable[[int], Sequence[int]] = near
        self._place = {name: at for at, name in enumerate(tools.names)}
        self._seen: list[frozenset[str]] = []

    def write(self, *, each: int = 5, known: Sequence[Usage] = ()) -> Iterator[Usage]:
        """Yield usages until every tool has enough, or was given up.

        Args:
            each: Usages that every tool shall have.
            known: Usages that there are already: they count, and serve as examples.

        Raises:
            ModelError: The model can't be used. Replies are kept in the journal.
            BudgetExceeded: The budget is spent; likewise.
        """
        return iterate(lambda: self.stream(each=each, known=known))

    async def stream(self, *, each: int = 5, known: Sequence[Usage] = ()) -> AsyncIterator[Usage]:
        """As `write`, for asynchronous callers."""
        draw = random.Random(self._seed)
        have = dict.fromkeys(self.tools.names, 0)
        pool = [usage.query for usage in known]
        for usage in known:
            self._seen.append(frozenset(words(usage.query)))
            for name in usage.tools:
                have[name] = have.get(name, 0) + 1
        tries = dict.fromkeys(self.tools.names, 0)
        number = 0
        async with Engine(self.model, **self._engine) as engine:
            while True:
                lacking = [n for n in self.tools.names if have[n] < each and tries[n] < self._patience * each]
                if not lacking:
                    break
                draw.shuffle(lacking)
                lacking.sort(key=lambda name: have[name])
                ideas = []
                for name in lacking[: self._batch]:
                    number, tries[name] = number + 1, tries[name] + 1
                    ideas.append(self._idea(name, pool, draw, number))
                async for usage in self._make(engine, ideas):
                    pool.append(usage.query)
                    for name in usage.tools:
                        have[name] += 1
                    yield usage
            self.tally.engine = engine.stats.to_data()
        self.tally.lacking = {name: count for name, count in have.items() if name in self.tools and count < each}

    def _idea(self, name: str, pool: Sequence[str], draw: random.Random, number: int) -> Idea:
        """A tool with tools near it, of which a part is drawn, so that the company changes."""
        company = self._company(at := self._place[name])
        shown = [at, *draw.sample(company, min(self._shown - 1, len(company)))]
        draw.shuffle(shown)
        examples = tuple(draw.sample(list(pool), min(SHOWN_EXAMPLES, len(pool))))
        return Idea(tuple(shown), shown.index(at) + 1, draw.choice(self._counts), examples, number)

    async def _make(self, engine: Engine, ideas: Sequence[Idea]) -> AsyncIterator[Usage]:
        """Write, polish, judge: each step for the whole batch, so that calls run side by side."""
        author = self._author
        drafts: list[Sheet] = []
        async for outcome in engine.map(
            ideas, author.ask, author.read, purpose="write usage", version=author.instruct.hash
        ):
            if outcome.value is None:
                self.tally.written += 1
                self.tally.drop("unreadable")
            else:
                self.tally.written += len(outcome.value)
                drafts.append(Sheet(outcome.item, tuple(outcome.value)))
        if self._checked:
            drafts = await self._polish(engine, drafts)
        drafts = [Sheet(sheet.idea, usages) for sheet in drafts if (usages := self._discreet(sheet))]
        if self._checked:
            drafts = await self._judge(engine, drafts)
        for usage in (usage for sheet in drafts for usage in sheet.usages):
            if self._is_copy(usage):
                self.tally.drop("a copy")
            else:
                self.tally.accepted += 1
                yield usage

    async def _polish(self, engine: Engine, drafts: Sequence[Sheet]) -> list[Sheet]:
        """The same in a person's words."""
        polished, author = list[Sheet](), self._author
        async for edit in engine.map(
            drafts, author.ask_polish, author.read_polish, purpose="polish usage", version=author.polish.hash
        ):
            usages = edit.item.usages
            texts = edit.value or [usage.query for usage in usages]
            rewritten = tuple(Usage(text, usage.tools) for text, usage in zip(texts, usages, strict=True))
            polished.append(Sheet(edit.item.idea, rewritten))
        return polished

    async def _judge(self, engine: Engine, drafts: Sequence[Sheet]) -> list[Sheet]:
        """Those for which a judge, who does not know the answer, names the same tools."""
        upheld, author = list[Sheet](), self._author
        async for judged in engine.map(
            drafts, author.ask_judge, author.read_judge, purpose="judge usage", version=author.judge.hash
        ):
            usages = judged.item.usages
            verdicts: Sequence[Verdict | None] = judged.value or [None] * len(usages)
            kept = [u for u, verdict in zip(usages, verdicts, strict=True) if verdict == (frozenset(u.tools), True)]
            upheld.append(Sheet(judged.item.idea, tuple(kept)))
            for _ in range(len(usages) - len(kept)):
                self.tally.drop("judged otherwise")
        return upheld

    def _discreet(self, sheet: Sheet) -> tuple[Usage, ...]:
        """Requests that do not say the name of a tool that the model saw."""
        shown = [self.tools.names[i] for i in sheet.idea.shown]
        kept = [usage for usage in sheet.usages if not any(leaks(usage.query, name) for name in shown)]
        for _ in range(len(sheet.usages) - len(kept)):
            self.tally.drop("leaks a name")
        return tuple(kept)

    def _is_copy(self, usage: Usage) -> bool:
        """Whether most of its words are those of an earlier request; if not, it is remembered."""
        said = frozenset(words(usage.query))
        for other in self._seen:
            common = len(said & other)
            if common >= ALIKE * max(len(said) + len(other) - common, 1):
                return True
        self._seen.append(said)
        return False


def company_of(tools: ToolSet, embedder: str | Embedder, count: int) -> Callable[[int], Sequence[int]]:
    """What gives for the number of a tool those of the nearest, nearest first; among very many that takes a while."""
    texts = [tool.text for tool in tools]
    vectors = fit_embedder(load_embedder(embedder) if isinstance(embedder, str) else embedder, texts).embed(texts)

    def near(at: int) -> list[int]:
        order = np.argsort(-np.round(vectors @ vectors[at], 5), kind="stable")[: count + 1]
        return [int(i) for i in order if i != at][:count]

    return near


def leaks(query: str, name: str) -> bool:
    """Whether a request says a tool's name: as it is written, or its words in a row where it has several."""
    parts = spoken(name).casefold().split()
    # A name of one plain word ("weather") is a word that people use.
    if (len(parts) > 1 or not name.isalpha()) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", query, re.IGNORECASE):
        return True
    return len(parts) > 1 and " ".join(parts) in " ".join(re.findall(r"\w+", query.casefold()))
