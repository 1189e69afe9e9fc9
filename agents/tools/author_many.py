"""Several usages in one call: fewer and longer requests to the model than `Author` makes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelspace.agents.replies import read_object
from labelspace.agents.tools.author import NUMBERS, Author, Idea, Sheet, Verdict, object_schema
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.llm import Reply, ReplyError, Request


class AuthorOfMany(Author):
    """Writes several requests over the same tools at once, and has them polished and judged together."""

    PROMPTS = ("tools_instruct_many", "tools_polish_many", "tools_judge_many")

    def __init__(
        self,
        tools: ToolSet,
        together: int,
        *,
        temperature: float,
        language: str,
        seed: int,
        prompts: str | Path | None = None,
    ) -> None:
        """Load the prompts; `together` is how many requests one call writes. See `UsageWriter`."""
        super().__init__(tools, temperature=temperature, language=language, seed=seed, prompts=prompts)
        self._together = together

    def ask(self, idea: Idea) -> Request:
        """Ask for requests, one of which needs the wanted tool."""
        messages = self.instruct.render(
            documents=self._shown(idea),
            wanted=idea.wanted,
            count=idea.count,
            requests=self._together,
            examples=list(idea.examples),
            language=self._language,
        )
        return self._creative(messages, idea, _WRITTEN)

    def read(self, reply: Reply, idea: Idea) -> list[Usage]:
        """The requests, each with the tools that it was written for; those of another number of tools are left out."""
        usages = [self._usage(row, idea) for row in _rows(reply, "requests", ("tools", "instruction"))]
        kept = [usage for usage in usages if len(usage.tools) == idea.count]
        if not kept:
            raise ReplyError(f"Each request must need exactly {idea.count} of the tools.")
        return kept

    def ask_polish(self, sheet: Sheet) -> Request:
        """Ask for the same requests in a person's words."""
        queries = [usage.query for usage in sheet.usages]
        messages = self.polish.render(documents=queries, count=len(queries), language=self._language)
        return Request(messages, schema=_POLISHED, max_tokens=1024)

    def read_polish(self, reply: Reply, sheet: Sheet) -> list[str]:
        """The polished requests."""
        texts = read_object(reply.text, ("instructions",))["instructions"]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ReplyError('"instructions" must be a list of texts.')
        _check_count(texts, sheet)
        return [" ".join(text.split()) for text in texts]

    def ask_judge(self, sheet: Sheet) -> Request:
        """Ask which tools each request needs, without saying which it was written for."""
        queries = [usage.query for usage in sheet.usages]
        messages = self.judge.render(tools=self._shown(sheet.idea), documents=queries, count=len(queries))
        return Request(messages, schema=_JUDGED, max_tokens=1024)

    def read_judge(self, reply: Reply, sheet: Sheet) -> list[Verdict]:
        """For each request the tools that are needed, and whether they suffice."""
        rows = _rows(reply, "verdicts", ("needed", "sufficient"))
        _check_count(rows, sheet)
        return [self._verdict(row, sheet.idea) for row in rows]


def _rows(reply: Reply, key: str, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The objects of a list in a reply, each of which must have these names."""
    rows = read_object(reply.text, (key,))[key]
    if not isinstance(rows, list) or not rows:
        raise ReplyError(f'"{key}" must be a list.')
    for row in rows:
        if not isinstance(row, dict) or any(name not in row for name in names):
            raise ReplyError(f'Each of "{key}" must be an object with {" and ".join(names)}.')
    return rows


def _check_count(rows: list[Any], sheet: Sheet) -> None:
    if len(rows) != len(sheet.usages):
        raise ReplyError(f"There were {len(sheet.usages)} requests, but {len(rows)} answers.")


def _list_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(item)}


_WRITTEN = object_schema(requests=_list_of(object_schema(tools=NUMBERS, instruction={"type": "string"})))
_POLISHED = object_schema(instructions=_list_of({"type": "string"}))
_JUDGED = object_schema(verdicts=_list_of(object_schema(needed=NUMBERS, sufficient={"type": "boolean"})))
