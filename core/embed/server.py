"""Embeddings from any OpenAI-compatible server, such as vLLM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from labelspace.embed.base import Vectors, spread, unit_rows
from labelspace.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import aiohttp

_AT_ONCE = 8
"""Requests in flight: enough to keep one server busy."""
_TIMEOUT = 120.0
_LEAST_CHARACTERS = 200
"""A text that the server still finds too long when cut to this is refused for another reason."""
Result = TypeVar("Result")


class ServerEmbedder:
    """Speaks to `/v1/embeddings`; a key, if one is needed, is read from OPENAI_API_KEY."""

    def __init__(
        self,
        address: str,
        *,
        batch_size: int = 64,
        retries: int = 5,
        first_wait: float = 1.0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Point at a model on a server.

        Args:
            address: `http(s)://host/v1#model`; without `#model` the server's first model.
            batch_size: Texts in one request.
            retries: Attempts after the first where the server is busy, failing or out of reach.
            first_wait: Seconds before the second attempt; doubled each time.
            parameters: Further fields of every request, such as vLLM's `truncate_prompt_tokens`.
        """
        self.base, _, self.model = address.partition("#")
        self.base = self.base.rstrip("/")
        self.batch_size = batch_size
        self.retries = retries
        self.first_wait = first_wait
        self.parameters = dict(parameters or {})

    @property
    def name(self) -> str:
        """The address with the model, once that is known."""
        return f"{self.base}#{self.model}" if self.model else self.base

    @property
    def version(self) -> str:
        """Address and model: the server does not tell more."""
        if not self.model:
            _run(self._find_model())
        return self.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts in concurrent batches; a text too long for the model is cut until it fits.

        Raises:
            ModelError: The server can't be reached, refuses the key or the model, or answers nonsense.
        """
        where = [position for position, text in enumerate(texts) if text.strip()]
        # Where all are blank, one sign is sent to learn how wide the rows are.
        rows = _run(self._embed([texts[position] for position in where] or ["."]))
        return spread(unit_rows(rows)[: len(where)], where, len(texts))

    async def _find_model(self) -> None:
        async with self._session() as session:
            status, data = await self._call(session, "GET", "models", None)
        try:
            self.model = str(data["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ModelError(
                f"{self.base} names no model (HTTP {status}: {_problem(data)}); give one as {self.base}#model"
            ) from None

    async def _embed(self, texts: list[str]) -> Vectors:
        if not self.model:
            await self._find_model()
        gate = asyncio.Semaphore(_AT_ONCE)
        async with self._session() as session:

            async def batch(start: int) -> list[Vectors]:
                async with gate:
                    return await self._batch(session, texts[start : start + self.batch_size])

            tasks = [asyncio.ensure_future(batch(start)) for start in range(0, len(texts), self.batch_size)]
            try:
                rows = [row for part in await asyncio.gather(*tasks) for row in part]
            finally:
                for task in tasks:
                    task.cancel()
        widths = {row.shape for row in rows}
        if len(widths) != 1 or rows[0].ndim != 1:
            raise ModelError(f"{self.name}: the server gave embeddings of different sizes: {sorted(widths)}")
        return np.stack(rows)

    async def _batch(self, session: aiohttp.ClientSession, texts: list[str]) -> list[Vectors]:
        body = {"model": self.model, "input": texts, "encoding_format": "float", **self.parameters}
        status, data = await self._call(session, "POST", "embeddings", body)
        if status in (400, 413, 422):
            # Most often one text is longer than the model reads. Find it by halving, then cut it.
            if len(texts) > 1:
                middle = len(texts) // 2
                return await self._batch(session, texts[:middle]) + await self._batch(session, texts[middle:])
            if len(texts[0]) > _LEAST_CHARACTERS:
                return await self._batch(session, [texts[0][: len(texts[0]) // 2]])
        if status != 200:
            raise ModelError(f"{self.name}: embedding failed (HTTP {status}: {_problem(data)}){_advice(status)}")
        try:
            found = sorted(data["data"], key=lambda item: int(item["index"]))
            rows = [np.asarray(item["embedding"], dtype=np.float32) for item in found]
        except (KeyError, TypeError, ValueError):
            raise ModelError(f"{self.name}: the reply is not an embeddings reply: {_problem(data)}") from None
        if [item["index"] for item in found] != list(range(len(texts))):
            raise ModelError(f"{self.name}: {len(texts)} texts were sent and {len(rows)} embeddings came back")
        if not all(np.isfinite(row).all() for row in rows):
            raise ModelError(f"{self.name}: an embedding holds values that are not finite")
        return rows

    async def _call(self, session: aiohttp.ClientSession, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Send one request, again while the server is busy or failing: status and parsed body."""
        import aiohttp

        wait, trouble = self.first_wait, ""
        for attempt in range(self.retries + 1):
            asked = ""
            try:
                async with session.request(method, f"{self.base}/{path}", json=body) as reply:
                    text = await reply.text()
                    if reply.status != 429 and reply.status < 500:
                        return reply.status, _parse(text)
                    trouble = f"HTTP {reply.status}: {_problem(_parse(text))}"
                    asked = reply.headers.get("Retry-After", "")
            except aiohttp.InvalidURL:
                raise ConfigError(f"{self.base!r} is not an address; give http://host:port/v1#model") from None
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                trouble = str(error) or type(error).__name__
            if attempt < self.retries:
                await asyncio.sleep(min(float(asked), 60.0) if asked.isdigit() else wait)
                wait = min(wait * 2, 30.0)
        raise ModelError(f"{self.name}: no answer after {self.retries + 1} attempts ({trouble}); is the server up?")

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT))


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where a loop already runs in this thread (a notebook)."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work)).result()


def _parse(text: str) -> Any:
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _problem(data: Any) -> str:
    """What a server says is wrong, in one line of at most 300 characters."""
    if isinstance(data, dict):
        inner = data.get("error", data.get("message", data.get("detail", data)))
        data = inner.get("message", inner) if isinstance(inner, dict) else inner
    return " ".join(str(data).split())[:300] or "empty reply"


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; set OPENAI_API_KEY to a key that this server knows"
    if status == 404:
        return "; the address must end in /v1 and the model must be one that the server embeds with"
    return ""
