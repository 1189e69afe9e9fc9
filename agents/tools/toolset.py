"""Tool sets: what an agent can call. A tool set is a label space whose labels are tools."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from labelspace.data import write_rows
from labelspace.errors import DataError, SpaceError
from labelspace.space import Label, LabelSpace

HUGE = 2_000
"""Tokens of a tool's schema from which on it is remarked upon."""
CHARACTERS_A_TOKEN = 4.0
"""Rough, and said to be: tokenizers differ by more than a better count would gain."""
_CALLABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that an agent can call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON schema of the arguments; {} where it is not known."""

    @property
    def text(self) -> str:
        """Name and description, as retrievers read it."""
        return f"{spoken(self.name)}: {self.description}" if self.description else spoken(self.name)

    def to_openai(self) -> dict[str, Any]:
        """The tool as OpenAI-compatible servers take it in `tools`."""
        schema = self.parameters or {"type": "object", "properties": {}}
        function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}

    @property
    def tokens(self) -> int:
        """Tokens that it takes in a prompt, roughly: characters of its schema over four."""
        return round(len(json.dumps(self.to_openai(), ensure_ascii=False)) / CHARACTERS_A_TOKEN)

    def to_data(self) -> dict[str, Any]:
        """A row of a file of tools."""
        row: dict[str, Any] = {"name": self.name, "description": self.description}
        return {**row, "parameters": dict(self.parameters)} if self.parameters else row


def spoken(name: str) -> str:
    """A tool's name as words: `getUser_info.v2` becomes `get User info v2`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.split(r"[\W_]+", parted)).strip() or name


class ToolSet:
    """Tools by name, in order; names are unique."""

    def __init__(self, tools: Iterable[Tool], *, name: str = "tools") -> None:
        """Take the tools.

        Raises:
            SpaceError: There are none, a name is empty, or two tools have the same name.
        """
        self.name, self.tools = name, tuple(tools)
        if not self.tools:
            raise SpaceError(f"the tool set {name!r} has no tools")
        by_name: dict[str, list[int]] = {}
        for place, tool in enumerate(self.tools, start=1):
            if not tool.name.strip() or tool.name != tool.name.strip():
                raise SpaceError(f"tool {place} of {name!r} is named {tool.name!r}; a name needs text and no blanks")
            by_name.setdefault(tool.name, []).append(place)
        twice = {name: places for name, places in by_name.items() if len(places) > 1}
        if twice:
            shown = "; ".join(f"{n!r} (tools {' and '.join(map(str, p))})" for n, p in list(twice.items())[:_SHOWN])
            more = f", and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
            raise SpaceError(f"several tools of {self.name!r} have the same name: {shown}{more}; rename or drop them")

    @cached_property
    def space(self) -> LabelSpace:
        """The label space of these tools."""
        labels = tuple(Label(name=tool.name, description=tool.description.strip()) for tool in self.tools)
        return LabelSpace(name=self.name, labels=labels, multi_label=True)

    @cached_property
    def _by_name(self) -> dict[str, Tool]:
        return {tool.name: tool for tool in self.tools}

    def __getitem__(self, name: str) -> Tool:
        """The tool of this name.

        Raises:
            SpaceError: There is none.
        """
        if name not in self._by_name:
            raise SpaceError(self.space.unknown(name))
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        """Whether a tool of this name is in the set."""
        return name in self._by_name

    def __len__(self) -> int:
        """How many tools there are."""
        return len(self.tools)

    def __iter__(self) -> Iterator[Tool]:
        """The tools, in order."""
        return iter(self.tools)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names, in order: the columns of every retriever's scores."""
        return tuple(self._by_name)

    @property
    def tokens(self) -> int:
        """Tokens that all tools take in a prompt, roughly."""
        return sum(tool.tokens for tool in self.tools)

    def remarks(self) -> list[str]:
        """What an agent, or a retriever, will have trouble with; one line each."""
        found = []
        bare = [tool.name for tool in self.tools if not tool.description.strip()]
        if bare:
            found.append(f"{_some(bare)} no description: only usage, or the name, can find them")
        if huge := [f"{tool.name} (about {tool.tokens:,} tokens)" for tool in self.tools if tool.tokens > HUGE]:
            found.append(f"{_some(huge)} a huge schema, which fills the prompt; drop what callers don't need")
        if odd := [tool.name for tool in self.tools if not _CALLABLE.fullmatch(tool.name)]:
            found.append(f"{_some(odd)} a name that providers refuse (up to 64 letters, digits, '_' and '-')")
        alike: dict[str, list[str]] = {}
        for tool in self.tools:
            if text := " ".join(tool.description.casefold().split()):
                alike.setdefault(text, []).append(tool.name)
        if same := [" = ".join(names[:3]) for names in alike.values() if len(names) > 1]:
            found.append(f"{_some(same)} the same description: nothing but usage tells them apart")
        return found

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write one row a tool; returns how many."""
        return write_rows(path, (tool.to_data() for tool in self.tools))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ToolSet:
        """Read what `save` wrote, or any JSONL (also with .gz; - for standard input) whose rows have a name.

        Raises:
            DataError: The file can't be read, or a row is no tool.
            SpaceError: Two tools have the same name.
        """
        shown = os.fspath(path)
        return cls(_rows(shown), name=Path(shown).name.split(".")[0].strip("-") or "tools")


def _rows(shown: str) -> Iterator[Tool]:
    import gzip
    import sys

    opened = gzip.open if shown.endswith(".gz") else open
    number = 0
    line = ""
    try:
        with nullcontext(sys.stdin) if shown == "-" else opened(shown, "rt", encoding="utf-8-sig") as file:
            for line in file:
                number += 1
                if line.strip():
                    yield as_tool(json.loads(line))
    except FileNotFoundError:
        raise DataError("no such file of tools", path=shown, advice="make one with `labelspace tools import`") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"can't be read: {error}", path=shown) from error
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}", path=shown, row=number, advice=_form(line, number)) from error
    except SpaceError as error:
        raise DataError(str(error), path=shown, row=number, advice=_form(line, number)) from error


def _form(line: str, number: int) -> str:
    """What to do about a file that holds one JSON document and not a tool a line."""
    if number > 1 or line.strip()[:1] not in ("{", "["):
        return ""
    return "give one tool a line; `labelspace tools import` makes that of a .json file"


def as_tool(data: Any) -> Tool:
    """A tool from plain data: {"name", ...}, an OpenAI function schema, Anthropic's or MCP's form.

    Raises:
        SpaceError: The data does not describe a tool.
    """
    if isinstance(data, Mapping) and isinstance(data.get("function"), Mapping):
        data = data["function"]
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise SpaceError(f"a tool is an object with a name, not {json.dumps(data, default=str)[:100]}")
    given = {key: data.get(key) for key in ("parameters", "input_schema", "inputSchema")}
    schema: Any = next((value for value in given.values() if value is not None), {})
    if not isinstance(schema, Mapping):
        raise SpaceError(f"the parameters of the tool {data['name']!r} are no JSON schema: {str(schema)[:80]!r}")
    description = data.get("description")
    if description is not None and not isinstance(description, str):
        raise SpaceError(f"the description of the tool {data['name']!r} is no text: {str(description)[:80]!r}")
    return Tool(data["name"], (description or "").strip(), dict(schema))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return (
        f"{shown} and {len(names) - _SHOWN} more have"
        if len(names) > _SHOWN
        else (f"{shown} have" if len(names) > 1 else f"{shown} has")
    )
