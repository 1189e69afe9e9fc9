"""The calls of a batch API: upload a file, have it made a batch, wait for its end, read what it answered.

A server that is away for a while is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson

from labelspace.errors import ModelError
from labelspace.llm.client import HTTPModel
from labelspace.llm.request import CallFailed
from labelspace.progress import note

ENDPOINT = "/v1/chat/completions"
"""What the requests of a batch are for."""
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_TRIES = 5


class BatchAPI:
    """Files and batches of one server."""

    def __init__(self, client: HTTPModel, *, poll: float) -> None:
        """Take the client of the server, and the seconds between two looks at a batch."""
        self._client, self._poll = client, poll

    async def upload(self, content: bytes) -> str:
        """Upload requests, one a line; returns what the server calls the file."""
        return str((await self._client.upload(content, "labelspace.jsonl", purpose="batch"))["id"])

    async def batch_of(self, file: str, count: int) -> str:
        """The batch of a file with so many requests: the one that is there, also if nobody was told, or a new one.

        Raises:
            ModelError: The server takes none.
        """
        for _ in range(_TRIES):
            try:
                listed = await self._client.call("GET", "/batches?limit=100")
                for batch in listed["data"]:
                    if batch["input_file_id"] == file:
                        return str(batch["id"])
                wanted = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
                made = await self._client.call("POST", "/batches", wanted)
            except CallFailed as error:
                problem = error
                await asyncio.sleep(self._poll)
            else:
                note(f"{self._client.name}: batch {made['id']} with {count:,} requests is submitted")
                return str(made["id"])
        raise ModelError(
            f"{self._client.address} does not take a batch ({problem.reason}); the file {file} is there, "
            "run the same again"
        )

    async def ended(self, batch: str) -> dict[str, Any]:
        """What the server says of a batch once that is over."""
        while True:
            with contextlib.suppress(CallFailed):
                found: dict[str, Any] = await self._client.call("GET", f"/batches/{batch}")
                if found["status"] in _OVER:
                    return found
            await asyncio.sleep(self._poll)

    async def lines(self, file: str) -> AsyncIterator[dict[str, Any]]:
        """The answers in a file.

        Raises:
            CallFailed: It can't be fetched.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(CallFailed):
                for line in (await self._client.download(f"/files/{file}/content")).splitlines():
                    if line.strip():
                        yield orjson.loads(line)
                return
            await asyncio.sleep(self._poll)
        raise CallFailed("broken", f"file {file} cannot be fetched")


def reason_of(batch: dict[str, Any]) -> str:
    """Why the server refused a batch."""
    errors = (batch.get("errors") or {}).get("data") or ()
    return "; ".join(str(error.get("message")) for error in errors[:3]) or "no reason given"
