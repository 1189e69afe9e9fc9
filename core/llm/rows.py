"""One row on its way from a request to an outcome: reading replies, repairs, shortening.

Nothing here waits: the same steps are taken whether an answer comes from the journal or from a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, cast

from labelspace.llm.entries import Failure, key_of
from labelspace.llm.request import ChatModel, Item, Outcome, Reply, Request, Value

SHORTENED = "the text was shortened to fit the model's context"
"""Remark on a row whose text had to be cut."""
_SHORTENINGS = 8
_CODES = {"busy": "unreachable", "broken": "unreachable"}


class Task(Generic[Item, Value]):
    """What the rows of one `map` have in common."""

    def __init__(
        self,
        parse: Callable[[Reply, Item], Value],
        shorten: Callable[[Item, int], Request | None] | None,
        purpose: str,
    ) -> None:
        """Take the two halves of the task: how replies are read, and how requests are cut."""
        self.parse = parse
        self.shorten = shorten
        self.purpose = purpose
        self.stopped = False
        self.awaited: Row[Item, Value] | None = None
        """The row that the reader waits for, and the future that wakes it."""
        self.waiter: asyncio.Future[None] | None = None
        self.failed_in_row = 0
        self.done = 0
        self.left = 0
        """Rows that are admitted and have no outcome yet."""
        self.low = 0
        """So few of them, and the reader should admit more."""

    def wake(self) -> None:
        """Wake the reader."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Row(Generic[Item, Value]):
    """One item, its current request, and in the end its outcome."""

    __slots__ = (
        "attempt",
        "base",
        "claimed",
        "form",
        "fresh",
        "item",
        "key",
        "origin",
        "outcome",
        "request",
        "shortened",
        "task",
    )

    def __init__(self, task: Task[Item, Value], item: Item, request: Request) -> None:
        """Start with the first request."""
        self.task = task
        self.item = item
        self.origin = request
        self.base = request
        """The request without repairs; the shorter one where it was shortened."""
        self.request = request
        self.attempt = 0
        self.shortened = 0
        self.form = 0
        self.key = b""
        self.claimed = False
        """Whether nobody else may ask for this key."""
        self.fresh = False
        """Whether what the journal has is not wanted: it is asked again."""
        self.outcome: Outcome[Item, Value] | None = None

    def hash(self, model: ChatModel, form: int) -> None:
        """Set the key of the current request."""
        try:
            encoded = model.encode(self.request)
        except (TypeError, ValueError):
            # Half of a surrogate pair, left by a broken decoder: no server takes it.
            self.request = _encodable(self.request)
            encoded = model.encode(self.request)
        self.key = key_of(encoded, self.attempt)
        self.form = form

    def start_over(self) -> None:
        """Ask from the beginning, whatever the journal has."""
        self.base = self.request = self.origin
        self.attempt = self.shortened = 0
        self.outcome, self.fresh = None, True

    def advance(self, answer: Reply | Failure, repairs: int) -> None:
        """Take in an answer: afterwards there is an outcome, or another request to hash and ask."""
        task = self.task
        if isinstance(answer, Failure):
            if answer.kind == "context_length" and task.shorten is not None and self.shortened < _SHORTENINGS:
                self.shortened += 1
                shorter = task.shorten(self.item, self.shortened)
                if shorter is not None:
                    self.base = self.request = shorter
                    self.attempt = 0
                    return
            self._fail(answer.kind, answer.reason)
        elif answer.finish_reason == "content_filter":
            self._fail("content_filter", "refused by the content filter", answer)
        else:
            try:
                if not answer.text.strip():
                    raise ValueError("the model sent an empty reply")  # noqa: TRY301
                value = task.parse(answer, self.item)
            except ValueError as error:
                self._repair(answer, error, repairs)
            else:
                remark = SHORTENED if self.shortened else None
                self.outcome = Outcome(self.item, value, "ok", remark, None, None, answer)

    def _repair(self, reply: Reply, error: ValueError, repairs: int) -> None:
        if self.attempt >= repairs:
            cut = " (the reply was cut off at max_tokens)" if reply.finish_reason == "length" else ""
            self._fail("unreadable", f"{error}{cut}", reply)
            return
        self.attempt += 1
        # An empty reply has nothing to show: the same is asked once more.
        self.request = self.base.repaired(reply.text, str(error)) if reply.text.strip() else self.base

    def _fail(self, kind: str, reason: str, reply: Reply | None = None) -> None:
        raw = None if reply is None else reply.text
        self.outcome = Outcome(self.item, None, "failed", reason, _CODES.get(kind, kind), raw, reply)


def _encodable(request: Request) -> Request:
    messages: list[Any] = [
        {**message, "content": message["content"].encode("utf-8", "replace").decode()} for message in request.messages
    ]
    return replace(request, messages=cast("Any", messages))
