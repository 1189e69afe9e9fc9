"""Batches as files, without a server: what `vllm run-batch` reads and writes.

    Engine("run-batch:FOLDER#NAME", journal=...)

What the journal and the folder's `replies*.jsonl` don't answer goes to `requests.jsonl`, and the run
stops with the command that answers it. The same run then takes the replies from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from labelspace.errors import EXIT_PARTIAL, ModelError
from labelspace.llm.batch_api import ENDPOINT
from labelspace.llm.batches import MOST_REQUESTS
from labelspace.llm.dialect import Dialect
from labelspace.llm.entries import key_of
from labelspace.llm.refusals import read_error
from labelspace.llm.request import CallFailed, Reply, Request


class Waiting(ModelError):
    """Requests are written to a file, and somebody has to answer them; then the same run goes on."""

    exit_code = EXIT_PARTIAL


class BatchFiles:
    """Answers requests from files, and writes down those that it can't answer."""

    def __init__(
        self,
        folder: str,
        name: str,
        *,
        constraint: str = "structured_outputs",
        parameters: Mapping[str, Any] | None = None,
        together: int = MOST_REQUESTS,
        quiet: float = 1.0,
    ) -> None:
        """Name the folder; nothing is read yet.

        Args:
            folder: For requests and replies.
            name: The model, as `vllm run-batch --model` is to be told.
            constraint: How to hold replies to their form.
            parameters: Further fields of every request body.
            together: Most requests of one file.
            quiet: Seconds without a new request after which the file is written.
        """
        self.folder, self.name = Path(folder), name
        self.address = str(folder)
        self.dialect = Dialect(constraint)
        self.together = together
        self._parameters, self._quiet = dict(parameters or {}), quiet
        self._answers: dict[str, dict[str, Any]] = {}
        self._lines: dict[str, bytes] = {}
        self._last = 0.0
        self._written: asyncio.Task[None] | None = None

    async def start(self, memory: dict[str, str]) -> None:
        """Read the replies that are there.

        Raises:
            ModelError: A file holds something else.
        """
        self._answers, self._lines, self._written = {}, {}, None
        for path in sorted(self.folder.glob("replies*.jsonl")):
            try:
                for line in path.read_bytes().splitlines():
                    entry = orjson.loads(line)
                    # What broke is asked again; what was refused would be again.
                    if int((entry.get("response") or {}).get("status_code") or 500) < 500:
                        self._answers[entry["custom_id"]] = entry["response"]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(
                    f"{path} does not hold the replies of a batch ({type(error).__name__}: {error})"
                ) from error

    def encode(self, request: Request) -> bytes:
        """The body of the request."""
        return orjson.dumps({**self.dialect.body(self.name, request), **self._parameters})

    async def complete(self, request: Request) -> Reply:
        """Answer from the files.

        Raises:
            CallFailed: The answer is a refusal.
            Waiting: There is none; the request is in the file to be answered.
        """
        body = self.encode(request)
        name = key_of(body, 0).hex()
        response = self._answers.get(name)
        if response is not None:
            status, content = int(response["status_code"]), orjson.dumps(response.get("body"))
            if status != 200:
                raise read_error(status, content, None, model=self.name, address=self.address)
            try:
                return self.dialect.read(request, content, "application/json")
            except CallFailed:
                del self._answers[name]  # no chat completion: it is asked again
                raise
        self._lines[name] = (
            f'{{"custom_id":"{name}","method":"POST","url":"{ENDPOINT}","body":'.encode() + body + b"}\n"
        )
        self._last = asyncio.get_running_loop().time()
        if self._written is None:
            self._written = asyncio.ensure_future(self._write())
        await asyncio.shield(self._written)
        raise AssertionError("_write always raises")

    async def _write(self) -> None:
        """Write the requests once nothing more comes, and say what to do with them."""
        loop = asyncio.get_running_loop()
        while (rest := self._quiet - (loop.time() - self._last)) > 0 and len(self._lines) < self.together:
            await asyncio.sleep(rest)
        requests = self.folder / "requests.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = requests.with_suffix(".tmp")
            temporary.write_bytes(b"".join(self._lines.values()))
            temporary.replace(requests)
        except OSError as error:
            raise ModelError(f"{requests} cannot be written ({error.strerror})") from error
        raise Waiting(
            f"{len(self._lines):,} requests are in {requests}; answer them with: vllm run-batch -i {requests} "
            f"-o {self.folder / 'replies.jsonl'} --model {self.name}; then the same command goes on"
        )

    async def close(self) -> None:
        """Nothing to close."""
