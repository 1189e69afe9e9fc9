"""A model that answers from a cassette: what a real one replied once, each reply under the hash of its request.

A cassette is JSON lines of {"key", "reply"} and holds no request, so that it can be handed on where the texts
that were asked about can't. The key is over the messages and every parameter that shapes the reply, as they are sent
to an OpenAI-compatible server; the model's name is left out, so one cassette serves any.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from labelspace.errors import DataError
from labelspace.llm.dialect import Dialect
from labelspace.llm.request import CallFailed, Reply, Request

SHAPING = (
    "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "response_format",
    "tools", "tool_choice", "logprobs", "top_logprobs", "structured_outputs", "guided_choice", "guided_json",
)  # fmt: skip
"""Fields of a request's body that make its key."""


class RecordedModel:
    """Answers what its cassette holds; any other request is refused, so that nothing is made up."""

    name = "recorded"

    def __init__(self, cassette: str | Path) -> None:
        """Read a cassette.

        Raises:
            DataError: It is missing, or no cassette.
        """
        self._dialect = Dialect("json_schema")
        self.lacked: list[str] = []
        """Keys of requests that it had no reply to."""
        try:
            lines = Path(cassette).read_text(encoding="utf-8").split("\n")
            self._replies = {entry["key"]: entry["reply"] for entry in map(json.loads, filter(None, lines))}
        except OSError as error:
            raise DataError(
                f"can't be read: {error.strerror}", path=str(cassette), advice="name the file of recorded replies"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                "not a file of recorded replies", path=str(cassette), advice='it has lines of {"key", "reply"}'
            ) from error

    def __len__(self) -> int:
        """How many replies there are."""
        return len(self._replies)

    async def start(self, memory: dict[str, str]) -> None:
        """Nothing to find out."""

    def encode(self, request: Request) -> bytes:
        """The body that a server would be sent, without the model's name."""
        body = self._dialect.body(self.name, request)
        shaping = {field: body[field] for field in SHAPING if body.get(field) is not None}
        return json.dumps(shaping, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    async def complete(self, request: Request) -> Reply:
        """The recorded reply.

        Raises:
            CallFailed: There is none (rejected).
        """
        key = hashlib.sha256(self.encode(request)).hexdigest()[:24]
        text = self._replies.get(key)
        if text is None:
            self.lacked.append(key)
            raise CallFailed("rejected", f"the cassette has no reply for request {key}")
        body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        return self._dialect.read(request, json.dumps(body).encode(), "application/json")

    async def close(self) -> None:
        """Nothing to close."""
