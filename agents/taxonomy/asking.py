"""Ask about batches of documents until the answers can be used: what was wrong is shown, and it gets warmer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from labelspace.agents.texts import cut_middle
from labelspace.errors import ModelError
from labelspace.llm import Engine, Request
from labelspace.prompts import Prompt

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Warming:
    """The temperature of the first try, what each further one adds, and how many there are."""

    first: float = 0.0
    step: float = 0.1
    retries: int = 5

    def at(self, attempt: int) -> float:
        """The temperature of a try, counted from 0."""
        return round(min(self.first + attempt * self.step, 1.0), 6)


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that got no usable answer, however often it was asked."""

    reason: str


def fewer_texts(texts: list[str], times: int) -> list[str]:
    """Half of the texts, then a quarter, and so on: a batch that is too large for the model's context."""
    return texts[: len(texts) >> times]


def shorter_texts(texts: list[str], times: int) -> list[str]:
    """Half of each text, then a quarter, and so on."""
    return [cut_middle(text, max(len(text) >> times, 200)) for text in texts]


async def ask_each(
    engine: Engine,
    prompt: Prompt,
    batches: Sequence[list[str]],
    read: Callable[[str, list[str]], Value],
    *,
    schema: Mapping[str, Any],
    warming: Warming,
    sampling: Mapping[str, Any],
    cut: Callable[[list[str], int], list[str]] = fewer_texts,
    shown: bool = False,
) -> list[Value | Refused]:
    """Ask about each batch, and again, warmer, where the answer can't be used.

    Args:
        engine: Opened with `repairs=0`: asking again is done here, because the temperature changes.
        prompt: Lacks only `documents`, or nothing.
        batches: The documents of each question.
        read: Reads a reply to a batch; raises `ReplyError` with what is wrong.
        schema: What the reply must look like.
        warming: Temperatures.
        sampling: Further parameters of each request.
        cut: Makes a batch smaller where the model's context is too small for it.
        shown: Whether progress is shown.

    Raises:
        ModelError: The model can't be reached or used.
    """

    def first(documents: list[str]) -> Request:
        variables = {"documents": documents} if "documents" in prompt.known else {}
        return Request(prompt.render(**variables), schema=schema, temperature=warming.first, **sampling)

    def cut_down(place: int, times: int) -> Request | None:
        documents = cut(batches[place], times)
        return replace(first(documents), temperature=asked[place].temperature) if documents else None

    asked = {place: first(batch) for place, batch in enumerate(batches)}
    answers: dict[int, Value | Refused] = {}
    for attempt in range(warming.retries + 1):
        again: dict[int, Request] = {}
        outcomes = engine.map(
            list(asked),
            asked.__getitem__,
            lambda reply, place: read(reply.text, batches[place]),
            purpose=prompt.name.replace("_", " "),
            version=prompt.hash,
            shorten=cut_down,
            shown=shown,
        )
        async for outcome in outcomes:
            place, reason = outcome.item, outcome.reason or ""
            if outcome.status == "ok":
                answers[place] = cast("Value", outcome.value)
                continue
            if outcome.code == "unreachable":
                # Going on without this answer would end elsewhere than a rerun does.
                raise ModelError(f"{engine.model.name}: {reason}; the same command goes on from here")
            answers[place] = Refused(reason)
            if outcome.code == "unreadable":
                base, raw = first(batches[place]), outcome.raw or ""
                shown_again = base.repaired(raw, reason) if raw.strip() else base
                again[place] = replace(shown_again, temperature=warming.at(attempt + 1))
        asked = again
        if not asked:
            break
    return [answers[place] for place in range(len(batches))]
