"""What a model is asked when it writes usage, and how its replies are read: write, polish, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelspace.agents.replies import read_object
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.llm import Message, Reply, ReplyError, Request
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
class Sheet:
    """Requests that were written together, with what they were written for."""

    idea: Idea
    usages: tuple[Usage, ...]


Verdict = tuple[frozenset[str], bool]
"""The tools that a request needs, and whether they suffice."""


class Author:
    """Requests to the model and readers of its replies: one usage a time."""

    PROMPTS: tuple[str, str, str] = ("tools_instruct", "tools_polish", "tools_judge")

    def __init__(
        self, tools: ToolSet, *, temperature: float, language: str, seed: int, prompts: str | Path | None = None
    ) -> None:
        """Load the prompts; see `UsageWriter`."""
        self.tools = tools
        self._temperature, self._language, self._seed = temperature, language, seed
        self.instruct, self.polish, self.judge = (load_prompt(name, folder=prompts) for name in self.PROMPTS)
        self._texts = [f"{tool.name}: {tool.description[:500]}" for tool in tools]

    def ask(self, idea: Idea) -> Request:
        """Ask for a request that needs the wanted tool."""
        messages = self.instruct.render(
            documents=self._shown(idea),
            wanted=idea.wanted,
            count=idea.count,
            examples=list(idea.examples),
            language=self._language,
        )
        return self._creative(messages, idea, _WRITTEN)

    def read(self, reply: Reply, idea: Idea) -> list[Usage]:
        """The request, with the tools that it was written for."""
        usage = self._usage(read_object(reply.text, ("tools", "instruction")), idea)
        if self._wanted(idea) not in usage.tools:
            raise ReplyError(f'The request must need tool {idea.wanted}, and say so under "tools".')
        return [usage]

    def ask_polish(self, sheet: Sheet) -> Request:
        """Ask for the same request in a person's words."""
        messages = self.polish.render(document=sheet.usages[0].query, language=self._language)
        return Request(messages, schema=_POLISHED, max_tokens=512)

    def read_polish(self, reply: Reply, _sheet: Sheet) -> list[str]:
        """The polished request."""
        return [_text(read_object(reply.text, ("instruction",)), "instruction")]

    def ask_judge(self, sheet: Sheet) -> Request:
        """Ask which tools a request needs, without saying which it was written for."""
        messages = self.judge.render(tools=self._shown(sheet.idea), document=sheet.usages[0].query)
        return Request(messages, schema=_JUDGED, max_tokens=512)

    def read_judge(self, reply: Reply, sheet: Sheet) -> list[Verdict]:
        """The tools that are needed, and whether they suffice."""
        return [self._verdict(read_object(reply.text, ("needed", "sufficient")), sheet.idea)]

    def _creative(self, messages: list[Message], idea: Idea, schema: Mapping[str, Any]) -> Request:
        """A request at the temperature of writing; its number keeps two equal questions apart."""
        seed = self._seed * 1_000_003 + idea.number
        return Request(messages, schema=schema, temperature=self._temperature, max_tokens=1024, seed=seed)

    def _shown(self, idea: Idea) -> list[str]:
        return [self._texts[i] for i in idea.shown]

    def _wanted(self, idea: Idea) -> str:
        return self.tools.names[idea.shown[idea.wanted - 1]]

    def _usage(self, data: Mapping[str, Any], idea: Idea) -> Usage:
        return Usage(_text(data, "instruction"), self._named(data["tools"], idea))

    def _verdict(self, data: Mapping[str, Any], idea: Idea) -> Verdict:
        return frozenset(self._named(data["needed"], idea)), data["sufficient"] is True

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


def object_schema(**properties: Any) -> dict[str, Any]:
    """A schema of an object with just these properties, all needed."""
    needed = list(properties)
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


NUMBERS = {"type": "array", "items": {"type": "integer"}}
_WRITTEN = object_schema(tools=NUMBERS, instruction={"type": "string"})
_POLISHED = object_schema(instruction={"type": "string"})
_JUDGED = object_schema(needed=NUMBERS, sufficient={"type": "boolean"})
