"""Judge a label space by the labels it led to, as TnT-LLM does (Wan et al. 2024, section 4).

Coverage is the share of documents that have a label. Label accuracy: of two labels, the one that a document carries
and one drawn by lot from the others, which describes it, or neither? Relevance: does the label tell what the purpose
needs to know? A model answers both, and people can answer the same items on a sheet (`judge_sheet`),
so that the judge is judged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labelspace.agents.replies import read_object
from labelspace.agents.taxonomy.asking import Refused, Warming, ask_each, shorter_texts
from labelspace.agents.texts import cut_middle
from labelspace.errors import DataError
from labelspace.llm import ChatModel, Engine, ReplyError, run
from labelspace.prompts import load_prompt
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

Choice = Literal["assigned", "other", "none"]
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A document with its label and another, in the order in which they are shown."""

    record: Record
    assigned: str
    other: str
    """A label drawn by lot."""
    assigned_first: bool

    @property
    def pair(self) -> tuple[str, str]:
        """The options A and B."""
        return (self.assigned, self.other) if self.assigned_first else (self.other, self.assigned)

    def choice(self, letter: str) -> Choice:
        """What an answer A, B or none means."""
        if letter == "none":
            return "none"
        return "assigned" if (letter == "A") == self.assigned_first else "other"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody says of an item; None where nothing was said that can be read."""

    choice: Choice | None
    relevant: bool | None


def draw_items(
    predictions: Iterable[Prediction],
    records: Iterable[Record],
    space: LabelSpace,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> list[Item]:
    """Draw documents that have a label, and for each another label, by lot.

    The draw follows from the ids and the seed alone, so that people and models judge the same items.

    Args:
        predictions: Labels; only the first of each document is judged.
        records: The documents.
        space: Where the other labels are drawn from.
        sample: The most documents; all if None.
        seed: Of both draws.

    Raises:
        DataError: No document has a label of the space, or the space has only one.
    """
    by_id = {one.record_id: one for one in predictions}
    known = [
        (record, str(by_id[record.id].label))
        for record in records
        if record.id in by_id and by_id[record.id].label in space and not record.is_blank
    ]
    if not known or len(space.leaves) < 2:
        raise DataError(
            "there is nothing to judge: no record has a label of the space, or the space has only one",
            advice="give the space that the labels were made with, and the data that they are about",
        )
    rng = random.Random(f"items {seed}")
    if sample is not None and sample < len(known):
        known = [known[at] for at in sorted(rng.sample(range(len(known)), sample))]
    items = []
    for record, label in known:
        given = set(by_id[record.id].labels)
        others = [name for name in space.leaves if name not in given] or [n for n in space.leaves if n != label]
        items.append(Item(record, label, rng.choice(others), rng.random() < 0.5))
    return items


def judge_items(
    items: Sequence[Item],
    space: LabelSpace,
    *,
    model: str | ChatModel,
    use_case: str = "",
    questions: Sequence[Literal["accuracy", "relevance"]] = ("accuracy", "relevance"),
    together: int = 10,
    max_chars: int = 2_000,
    journal: str | Path | None = None,
    prompts: str | Path | None = None,
    progress: bool = False,
    engine: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """What a model says of each item.

    Args:
        items: What to judge.
        space: Descriptions of the labels.
        model: A model string or a model.
        use_case: The purpose that relevance is for.
        questions: What to ask.
        together: Documents in one request.
        max_chars: Of longer texts the middle is left out.
        journal: SQLite file that keeps every reply.
        prompts: Folder of templates that replace ours by name.
        progress: Whether to show progress on stderr.
        engine: Further settings of the `Engine`.

    Raises:
        ModelError: The model can't be used.
    """
    batches = [items[start : start + together] for start in range(0, len(items), together)]

    async def ask(opened: Engine, batch: Sequence[Item], name: str, answers: Sequence[str]) -> list[str | None]:
        texts = [cut_middle(item.record.text, max_chars) for item in batch]
        shown = {item.assigned for item in batch}
        if name == "judge_choice":
            shown |= {item.other for item in batch}
            own: dict[str, Any] = {"options": [list(item.pair) for item in batch]}
        else:
            own = {"given": [item.assigned for item in batch]}
        labels = [{"name": one, "description": space[one].description} for one in space.leaves if one in shown]
        prompt = load_prompt(name, folder=prompts).bind(use_case=use_case, labels=labels, **own)
        [answer] = await ask_each(
            opened,
            prompt,
            [texts],
            lambda text, _: read_answers(text, len(batch), answers),
            schema=answers_schema(len(batch), answers),
            warming=Warming(0.0, 0.1, _RETRIES),
            sampling={},
            cut=shorter_texts,
        )
        return [None] * len(batch) if isinstance(answer, Refused) else list(answer)

    async def work() -> list[Verdict]:
        options = {**(engine or {}), "journal": journal, "progress": progress, "repairs": 0}
        async with Engine(model, **options) as opened:

            async def all_of(wanted: str, name: str, answers: Sequence[str]) -> list[str | None]:
                if wanted not in questions:
                    return [None] * len(items)
                parts = await asyncio.gather(*(ask(opened, batch, name, answers) for batch in batches))
                return [answer for part in parts for answer in part]

            letters, flags = await asyncio.gather(
                all_of("accuracy", "judge_choice", ("A", "B", "none")),
                all_of("relevance", "judge_relevance", ("yes", "no")),
            )
        return [
            Verdict(None if letter is None else item.choice(letter), None if flag is None else flag == "yes")
            for item, letter, flag in zip(items, letters, flags, strict=True)
        ]

    return run(work())


def answers_schema(count: int, answers: Sequence[str]) -> dict[str, Any]:
    """An object with one of the answers under each number."""
    numbers = [str(number) for number in range(1, count + 1)]
    return {
        "type": "object",
        "properties": {number: {"type": "string", "enum": list(answers)} for number in numbers},
        "required": numbers,
        "additionalProperties": False,
    }


def read_answers(text: str, count: int, answers: Sequence[str]) -> list[str]:
    """One of the answers for each of `count` documents.

    Raises:
        ReplyError: One is missing, or is none of them.
    """
    data = read_object(text, ())
    by_fold = {answer.casefold(): answer for answer in answers}
    found = {key.strip(): by_fold.get(str(value).strip(" \"'.()").casefold()) for key, value in data.items()}
    wrong = [number for number in map(str, range(1, count + 1)) if found.get(number) is None]
    if wrong:
        raise ReplyError(
            f"These documents have no usable answer: {', '.join(wrong[:20])}. Answer with one JSON object that has "
            f"for each number from 1 to {count} one of {', '.join(map(repr, answers))}."
        )
    return [str(found[str(number)]) for number in range(1, count + 1)]
