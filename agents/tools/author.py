"""What a model is asked when it writes usage, and how its replies are read: write, polish, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelspace.agents.replies import read_object
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.llm import Reply, ReplyError, Request
from labelspace.prompts import load_prompt


@dataclass(frozen=True, slots=True)
class Idea:
    """What to ask the model for."""

    shown: tuple[int, ...]
    """Numbers of the tools that it sees."""
    wanted: int
    """Place in `shown`, from 1, of the tool that must be needed."""
    count: int
    examples: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that was written, with what it was written for."""

    idea: Idea
    usage: Usage


class Author:
    """Requests to the model and readers of its replies."""

    def __init__(
        self, tools: ToolSet, *, temperature: float, language: str, seed: int, prompts: str | Path | None = None
    ) -> None:
        """Load the prompts; see `UsageWriter`."""
        self.tools = tools
        self._temperature, self._language, self._seed = temperature, language, seed
        names = ("tools_instruct", "tools_polish", "tools_judge")
        self.instruct, self.polish, self.judge = (load_prompt(name, folder=prompts) for name in names)
        self._texts = [f"{tool.name}: {tool.description[:500]}" for tool in tools]

    def ask(self, idea: Idea) -> Request:
        """Ask for a request that needs the wanted tool."""
        messages = self.instruct.render(
            documents=[self._texts[i] for i in idea.shown],
            wanted=idea.wanted,
            count=idea.count,
            examples=list(idea.examples),
            language=self._language,
        )
        # The number keeps two equal questions apart: at this temperature they have different answers.
        seed = self._seed * 1_000_003 + idea.number
        return Request(messages, schema=_WRITTEN, temperature=self._temperature, max_tokens=1024, seed=seed)

    def read(self, reply: Reply, idea: Idea) -> Usage:
        """The request, with the tools that it was written for."""
        data = read_object(reply.text, ("tools", "instruction"))
        names = self._named(data["tools"], idea)
        if self.tools.names[idea.shown[idea.wanted - 1]] not in names:
            raise ReplyError(f'The request must need tool {idea.wanted}, and say so under "tools".')
        return Usage(_text(data, "instruction"), names)

    def ask_polish(self, draft: Draft) -> Request:
        """Ask for the same request in a person's words."""
        messages = self.polish.render(document=draft.usage.query, language=self._language)
        return Request(messages, schema=_POLISHED, max_tokens=512)

    def read_polish(self, reply: Reply, _draft: Draft) -> str:
        """The polished request."""
        return _text(read_object(reply.text, ("instruction",)), "instruction")

    def ask_judge(self, draft: Draft) -> Request:
        """Ask which tools a request needs, without saying which it was written for."""
        shown = [self._texts[i] for i in draft.idea.shown]
        return Request(self.judge.render(tools=shown, document=draft.usage.query), schema=_JUDGED, max_tokens=512)

    def read_judge(self, reply: Reply, draft: Draft) -> tuple[frozenset[str], bool]:
        """The tools that are needed, and whether they suffice."""
        data = read_object(reply.text, ("needed", "sufficient"))
        return frozenset(self._named(data["needed"], draft.idea)), data["sufficient"] is True

    def _named(self, numbers: Any, idea: Idea) -> tuple[str, ...]:
        """Names of tools given by number; a number that no shown tool has is refused."""
        if not isinstance(numbers, list):
            raise ReplyError("The tools must be a list of numbers from the list.")
        for number in numbers:
            if not isinstance(number, int) or not 1 <= number <= len(idea.shown):
                raise ReplyError(f"There is no tool {number!r}; the tools have the numbers 1 to {len(idea.shown)}.")
        return tuple(dict.fromkeys(self.tools.names[idea.shown[number - 1]] for number in numbers))


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or not value.strip():
        raise ReplyError(f'"{key}" must be a text.')
    return " ".join(value.split())


def _schema(**properties: Any) -> dict[str, Any]:
    needed = list(properties)
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


_NUMBERS = {"type": "array", "items": {"type": "integer"}}
_WRITTEN = _schema(tools=_NUMBERS, instruction={"type": "string"})
_POLISHED = _schema(instruction={"type": "string"})
_JUDGED = _schema(needed=_NUMBERS, sufficient={"type": "boolean"})
