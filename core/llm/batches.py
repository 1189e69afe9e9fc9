"""The batch API of an OpenAI-compatible server: half the price, within a day.

Requests that come together are written to a file, uploaded, and asked as a batch. What is submitted
is noted in the journal before the server hears of it, so a killed run finds its batches again and
submits none twice. Rows are told apart by their journal key, never by their place in a file.

    Engine("batch:https://api.openai.com/v1#gpt-4o-mini", journal=...)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from labelspace.errors import ModelError
from labelspace.llm.batch_api import ENDPOINT, BatchAPI, reason_of
from labelspace.llm.client import HTTPModel
from labelspace.llm.dialect import Dialect
from labelspace.llm.entries import key_of
from labelspace.llm.refusals import read_error
from labelspace.llm.request import CallFailed, Reply, Request

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
"""Limits of one file at OpenAI: 50,000 requests, 200 MB."""
DISCOUNT = 0.5
_NOTE = "batch "


@dataclass(slots=True)
class _Waiting:
    request: Request
    line: bytes
    done: asyncio.Future[Reply]


class BatchModel:
    """Answers requests through a server's batch API; a few stragglers are asked directly."""

    def __init__(
        self,
        direct: HTTPModel,
        *,
        together: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
        fewest: int = 50,
        quiet: float = 1.0,
        poll: float = 30.0,
    ) -> None:
        """Take the client of the server.

        Args:
            direct: For everything that is not worth a batch, and for what a batch could not do.
            together: Most requests of one batch.
            most_bytes: Most bytes of one file.
            fewest: Fewer requests than this are asked directly, at the full price.
            quiet: Seconds without a new request after which what has come together is submitted.
            poll: Seconds between two looks at a batch.
        """
        self.direct = direct
        self.together, self._most_bytes = together, most_bytes
        self._fewest, self._quiet = fewest, quiet
        self._api = BatchAPI(direct, poll=poll)
        self._waiting: dict[str, _Waiting] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._failed_once: set[str] = set()
        self._memory: dict[str, str] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._batches: dict[str, asyncio.Task[None]] = {}
        self._submitted: dict[str, str] = {}
        self._last = 0.0

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.direct.name

    @property
    def address(self) -> str:
        """The server."""
        return self.direct.address

    @property
    def dialect(self) -> Dialect:
        """How requests are written: as for single calls."""
        return self.direct.dialect

    @property
    def server(self) -> str:
        """What the server is."""
        return self.direct.server

    # -- the model ---------------------------------------------------------------------------

    def discount(self, calls: int) -> float:
        """What part of the usual price so many calls cost: all of it where they are too few for a batch."""
        return DISCOUNT if calls >= self._fewest else 1.0

    async def start(self, memory: dict[str, str]) -> None:
        """Meet the server, and take up the batches that an earlier run left with it."""
        await self.direct.start(memory)
        self._memory = memory
        for place, value in list(memory.items()):
            if place.startswith(_NOTE) and value:
                self._follow(place, orjson.loads(value))

    def encode(self, request: Request) -> bytes:
        """As for a single call: a batch and single calls share their replies."""
        return self.direct.encode(request)

    async def tokenize(self, text: str) -> list[int] | None:
        """As for a single call."""
        return await self.direct.tokenize(text)

    async def complete(self, request: Request) -> Reply:
        """Wait for the batch that the request is in, or will be in."""
        body = self.encode(request)
        name = key_of(body, 0).hex()
        if name in self._failed_once:
            return await self.direct.complete(request)
        waiting = self._waiting.get(name)
        if waiting is None:
            head = f'{{"custom_id":"{name}","method":"POST","url":"{ENDPOINT}","body":'.encode()
            waiting = _Waiting(request, head + body + b"}\n", asyncio.get_running_loop().create_future())
            self._waiting[name] = waiting
            self._last = asyncio.get_running_loop().time()
            if name in self._answers:
                self._answer(name, self._answers.pop(name))
            elif name not in self._submitted and (self._flusher is None or self._flusher.done()):
                self._flusher = asyncio.ensure_future(self._flush())
        return await asyncio.shield(waiting.done)

    async def close(self) -> None:
        """Stop looking; the batches stay with the server and are found again."""
        tasks = [task for task in (self._flusher, *self._batches.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.direct.close()

    # -- submitting --------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Submit what has come together once nothing more comes, or once it fills a file."""
        loop = asyncio.get_running_loop()
        while fresh := [name for name in self._waiting if name not in self._submitted]:
            rest = self._quiet - (loop.time() - self._last)
            if rest > 0 and len(fresh) < self.together:
                await asyncio.sleep(rest)
                continue
            if len(fresh) < self._fewest:
                for name in fresh:
                    self._submitted[name] = ""
                    asyncio.ensure_future(self._ask_directly(name))  # noqa: RUF006 - the future in _waiting is its end
                continue
            for names in self._split(fresh):
                try:
                    await self._submit(names)
                except (CallFailed, ModelError) as error:
                    self._fail(names, error)

    def _split(self, names: list[str]) -> Iterator[list[str]]:
        part: list[str] = []
        size = 0
        for name in names:
            length = len(self._waiting[name].line)
            if part and (len(part) >= self.together or size + length > self._most_bytes):
                yield part
                part, size = [], 0
            part.append(name)
            size += length
        if part:
            yield part

    async def _submit(self, names: list[str]) -> None:
        place = _NOTE + names[0]
        for name in names:
            self._submitted[name] = place
        content = b"".join(self._waiting[name].line for name in names)
        # Noted before the batch exists: a run that dies in between finds it by its file.
        facts = {"file": await self._api.upload(content), "batch": None, "names": names}
        self._memory[place] = orjson.dumps(facts).decode()
        self._follow(place, facts)

    async def _ask_directly(self, name: str) -> None:
        waiting = self._waiting[name]
        try:
            reply = await self.direct.complete(waiting.request)
        except (CallFailed, ModelError) as error:
            self._fail([name], error)
        else:
            self._end(name)
            if not waiting.done.done():
                waiting.done.set_result(reply)

    # -- following ---------------------------------------------------------------------------

    def _follow(self, place: str, facts: dict[str, Any]) -> None:
        for name in facts["names"]:
            self._submitted[name] = place
        self._batches[place] = asyncio.ensure_future(self._watch(place, facts))

    async def _watch(self, place: str, facts: dict[str, Any]) -> None:
        """Wait for a batch to end and hand out its answers."""
        names: list[str] = facts["names"]
        try:
            if facts["batch"] is None:
                facts["batch"] = await self._api.batch_of(facts["file"], len(names))
                self._memory[place] = orjson.dumps(facts).decode()
            batch = await self._api.ended(facts["batch"])
            answered = False
            for kind in ("output_file_id", "error_file_id"):
                if batch.get(kind):
                    answered = True
                    async for line in self._api.lines(batch[kind]):
                        self._answer(line["custom_id"], line)
            if batch["status"] == "failed" and not answered:
                raise ModelError(  # noqa: TRY301 - told to the rows below
                    f"{self.name}: the server refuses batch {facts['batch']} ({reason_of(batch)})"
                )
            left = [name for name in names if self._submitted.get(name) == place]
            # The file does not have them (expired, cancelled): they are asked again.
            self._fail(left, CallFailed("broken", f"batch {facts['batch']} {batch['status']} without an answer"))
        except (CallFailed, ModelError) as error:
            self._fail(names, error)
            if isinstance(error, ModelError) and facts["batch"] is None:
                return  # it may still be made: the note stays
        self._memory[place] = ""

    def _answer(self, name: str, line: dict[str, Any]) -> None:
        waiting = self._waiting.get(name)
        if waiting is None:
            # A batch of an earlier run ended before its rows were read again.
            self._answers[name] = line
            self._submitted.pop(name, None)
            return
        response = line.get("response") or {}
        status, body = int(response.get("status_code") or 0), orjson.dumps(response.get("body"))
        try:
            if line.get("error") or not status:
                raise CallFailed("broken", f"in a batch: {_message(line.get('error'))}")  # noqa: TRY301
            if status != 200:
                raise read_error(status, body, None, model=self.name, address=self.address)
            reply = self.dialect.read(waiting.request, body, "application/json")
        except (CallFailed, ModelError) as error:
            self._fail([name], error)
            return
        self._end(name)
        if not waiting.done.done():
            waiting.done.set_result(replace(reply, discount=DISCOUNT))

    def _fail(self, names: list[str], error: Exception) -> None:
        for name in names:
            waiting = self._waiting.get(name)
            self._end(name)
            if isinstance(error, CallFailed):
                self._failed_once.add(name)  # the next try is a direct one
            if waiting is not None and not waiting.done.done():
                waiting.done.set_exception(error)
                waiting.done.exception()  # it may be that nobody waits any more

    def _end(self, name: str) -> None:
        self._waiting.pop(name, None)
        self._submitted.pop(name, None)


def _message(error: Any) -> str:
    return str(error.get("message") or error.get("code")) if isinstance(error, dict) else "no answer"
