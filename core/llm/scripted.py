"""A model that plays back replies: for tests and for trying a loop without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import orjson

from labelspace.errors import ModelError
from labelspace.llm.request import Reply, Request

Line: TypeAlias = "str | Reply | Exception"


class ScriptedLLM:
    """Plays back replies in order, or makes each from its request; keeps what it was asked."""

    def __init__(self, replies: Iterable[Line] | Callable[[Request], Line], *, name: str = "scripted") -> None:
        """Take the script.

        Args:
            replies: Texts, replies or exceptions to raise, one for each call in order; or a function
                from the request to one of these.
            name: The model's name.
        """
        self.name = name
        self.requests: list[Request] = []
        self._make: Callable[[Request], Line] | None = replies if callable(replies) else None
        self._lines: Iterator[Line] = iter(()) if callable(replies) else iter(replies)

    async def start(self, memory: dict[str, str]) -> None:
        """Nothing to find out."""

    def encode(self, request: Request) -> bytes:
        """The request and the name."""
        return canonical(self.name, request)

    async def complete(self, request: Request) -> Reply:
        """The next line of the script."""
        self.requests.append(request)
        await asyncio.sleep(0)
        line = self._make(request) if self._make is not None else next(self._lines, None)
        if line is None:
            raise ModelError(f"the script has {len(self.requests) - 1} replies and was asked for one more")
        if isinstance(line, Exception):
            raise line
        if isinstance(line, Reply):
            return line
        words = sum(len(message["content"].split()) for message in request.messages)
        return Reply(
            line, finish_reason="stop", prompt_tokens=words, completion_tokens=len(line.split()), model=self.name
        )

    async def close(self) -> None:
        """Nothing to close."""


def canonical(name: str, request: Request) -> bytes:
    """A model's name and every field of a request, for models that have no wire format of their own."""
    fields = {
        "model": name,
        "messages": request.messages,
        "choices": request.choices,
        "schema": request.schema,
        "logprobs": request.logprobs,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stop": request.stop,
        **({} if request.token_ids is None else {"token_ids": [*request.token_ids.values()]}),
    }
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
