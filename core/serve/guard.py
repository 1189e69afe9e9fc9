"""What stands before the application: the key, and bounds on how large and how slow a request may be."""

from __future__ import annotations

import asyncio
import hmac
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import orjson

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # type: ignore[import-not-found,unused-ignore]  # aiohttp brings it there

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = ("/health", "/docs", "/openapi.json")
"""Paths that need no key: they tell nothing of what is served."""


@dataclass(frozen=True)
class Limits:
    """How much a server takes."""

    body: int = 4 << 20
    """Bytes of one request."""
    bodies: int = 128 << 20
    """Bytes of all requests that are being read or answered."""
    body_seconds: float = 20.0
    """For a request to come in whole, after its headers."""
    head_seconds: float = 20.0
    """For the headers of a request; and for which an idle connection is kept."""
    answer_seconds: float = 120.0
    """For an answer."""
    texts: int = 2048
    """In one request."""
    characters: int = 1_000_000
    """Of one text."""
    connections: int = 1024
    """At a time."""
    grace_seconds: float = 120.0
    """For what was accepted when the server is asked to stop."""


def within(seconds: float) -> AbstractAsyncContextManager[Any]:
    """A block that raises asyncio.TimeoutError where it takes longer."""
    made: AbstractAsyncContextManager[Any] = timeout(seconds)
    return made


class Guard:
    """Reads each body whole, within bounds, before the application sees the request."""

    def __init__(
        self, app: App, *, limits: Limits, key: str | None, counted: Callable[[str, int, float], None]
    ) -> None:
        """Wrap an application.

        Args:
            app: ASGI.
            limits: The bounds.
            key: What a request must carry as `Authorization: Bearer KEY`; None asks for none.
            counted: Told path, status and seconds of each request.
        """
        self._app, self._limits, self._counted = app, limits, counted
        self._key = None if key is None else f"Bearer {key}".encode()
        self._held = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, watched)
        finally:
            self._counted(scope["path"], status, time.perf_counter() - started)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._key is not None and scope["path"] not in OPEN:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._key):
                await self._refuse(send, 401, "the key is missing or wrong; send Authorization: Bearer KEY")
                return
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.body:
            await self._refuse(send, 413, self._too_large())
            return
        body = bytearray()
        try:
            try:
                async with within(self._limits.body_seconds):
                    trouble = await self._read(receive, body)
            except asyncio.TimeoutError:
                trouble = 408, f"the body did not come within {self._limits.body_seconds:g} s"
            if trouble is None:
                await self._app(scope, _replay(bytes(body), receive), send)
            elif trouble[0]:
                await self._refuse(send, *trouble)
        finally:
            self._held -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> tuple[int, str] | None:
        """Read into `body`; returns status and message of what is wrong, 0 where the caller has gone."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 0, ""
            part = message.get("body", b"")
            if len(body) + len(part) > self._limits.body:
                return 413, self._too_large()
            if self._held + len(part) > self._limits.bodies:
                return 503, "the server is busy; come again"
            body += part
            self._held += len(part)
            if not message.get("more_body"):
                return None

    def _too_large(self) -> str:
        return f"the body is larger than {self._limits.body:,} bytes; send fewer or shorter texts in a request"

    async def _refuse(self, send: Send, status: int, message: str) -> None:
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": problem(status, message)})


def problem(status: int, message: str) -> bytes:
    """The body of an error, in the form of vLLM and OpenAI."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return orjson.dumps({"error": {"message": message, "type": kind, "code": status}})


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and after it what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
