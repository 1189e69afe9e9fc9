"""A lean asynchronous client for one OpenAI-compatible chat server."""

from __future__ import annotations

import asyncio
import io
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from labelspace.errors import ConfigError, ModelError
from labelspace.llm.bounded import TooLong, read_bounded
from labelspace.llm.dialect import Dialect
from labelspace.llm.refusals import read_error, retry_after
from labelspace.llm.request import CallFailed, Reply, Request
from labelspace.llm.servers import kind_of, only_model, way_of
from labelspace.progress import note

if TYPE_CHECKING:
    import aiohttp

KEYS = ("LABELSPACE_API_KEY", "OPENAI_API_KEY")
JSON = "application/json"
_LARGE = 1 << 20


class HTTPModel:
    """One model on one server. Errors are typed; nothing is retried here."""

    def __init__(
        self,
        base_url: str,
        name: str = "",
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        constraint: str = "auto",
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Say where it is; nothing is asked yet.

        Args:
            base_url: Address up to and including /v1.
            name: The model; "" takes the only one that the server lists.
            api_key: The key; by default LABELSPACE_API_KEY, then OPENAI_API_KEY. Never stored.
            timeout: Seconds for one call, from sending to the last byte.
            constraint: How to hold replies to their form; "auto" asks the server what it is.
            headers: Further headers.
            parameters: Further fields of every request body (`top_k`, `chat_template_kwargs`, ...).
        """
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"{base_url!r} is not an address; write http://host:port/v1#model")
        self.base_url = base_url.rstrip("/")
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        """The address without a user name or password, for messages."""
        self.name = name
        self.dialect = Dialect("json_schema" if constraint == "auto" else constraint)
        self.server = "unknown"
        self._detects = constraint == "auto"
        self._key = api_key if api_key is not None else next((os.environ[k] for k in KEYS if os.environ.get(k)), "")
        self._timeout = timeout
        self._headers = {"Content-Type": JSON, "Accept": JSON, "User-Agent": "labelspace"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._headers.update(headers or {})
        self._parameters = dict(parameters or {})
        self._session: aiohttp.ClientSession | None = None
        self._memory: dict[str, str] = {}
        self._url: Any = self.base_url + "/chat/completions"
        self._proxy = _proxy(parts)

    # -- finding out about the server --------------------------------------------------------

    async def start(self, memory: dict[str, str]) -> None:
        """Find out what the server is. One that is away is taken to be what it was in the last run."""
        import aiohttp
        import yarl

        if self._session is None:
            self._url = yarl.URL(self.base_url + "/chat/completions")
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(30.0, self._timeout)),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
            )
        self._memory = memory
        models: Any = None
        if not self.name or self._detects:
            models = await self._get(self.base_url + "/models")
        if not self.name:
            self.name = self._only_model(models)
        if self._detects:
            known = orjson.loads(memory.get(self._place("server"), "{}"))
            version = self.base_url.rpartition("/")[0] + "/version"
            self.server = await kind_of(models, lambda: self._get(version)) or known.get("server", "unknown")
            if known.get("server") == self.server:
                self.dialect = Dialect(known["constraint"], frozenset(known["refused"]))
            else:
                self.dialect = Dialect(way_of(self.server))
            self._detects = False
            self._remember()

    def _place(self, what: str) -> str:
        return f"{what} {self.address}#{self.name}" if what == "server" else f"{what} {self.address}"

    def _remember(self) -> None:
        dialect = self.dialect
        facts = {"server": self.server, "constraint": dialect.constraint, "refused": sorted(dialect.refused)}
        self._memory[self._place("server")] = orjson.dumps(facts).decode()

    async def _get(self, url: str) -> Any:
        """JSON of a page of the server, None where it does not answer with any."""
        import aiohttp

        assert self._session is not None
        patience = aiohttp.ClientTimeout(total=min(10.0, self._timeout))
        try:
            async with self._session.get(url, timeout=patience, proxy=self._proxy, allow_redirects=False) as response:
                return orjson.loads(await response.read()) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError):
            return None

    def _only_model(self, models: Any) -> str:
        name = only_model(models, self.address) or self._memory.get(self._place("model"))
        if name is None:
            raise ModelError(
                f"{self.address} does not say which models it has; is the server up? "
                f"Otherwise name the model: {self.address}#NAME"
            )
        self._memory[self._place("model")] = name
        return name

    # -- asking ------------------------------------------------------------------------------

    def encode(self, request: Request) -> bytes:
        """The body that is sent: it is all that shapes the reply."""
        body = self.dialect.body(self.name, request)
        if self._parameters:
            body.update(self._parameters)
        return orjson.dumps(body)

    async def complete(self, request: Request) -> Reply:
        """Send one request and read its answer."""
        import aiohttp

        dialect = self.dialect
        epoch = dialect.epoch
        body = self.encode(request)
        assert self._session is not None, "start() comes first"
        try:
            async with self._session.post(
                self._url,
                data=aiohttp.BytesPayload(body, content_type=JSON) if len(body) < _LARGE else io.BytesIO(body),
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                content = await read_bounded(response)
                status = response.status
                if status == 200:
                    kind = response.headers.get("Content-Type", "no content type")
                    return await self._read(dialect, request, content, kind)
                wait = retry_after(response.headers.get("Retry-After"))
        except TooLong as error:
            raise CallFailed("broken", str(error), charged=True) from error
        except aiohttp.ClientSSLError as error:
            raise ModelError(f"{self.address}: no secure connection ({error})") from error
        except aiohttp.ClientConnectorError as error:
            raise CallFailed("busy", f"no connection to {self.address} ({error.os_error.strerror or error})") from error
        except asyncio.TimeoutError as error:
            reason = f"no answer within {self._timeout:g} s"
            raise CallFailed("broken", reason, charged=True, slow=True) from error
        except (aiohttp.ClientError, OSError) as error:
            reason = f"the connection broke ({type(error).__name__}: {self._redacted(str(error))})"
            raise CallFailed("broken", reason, charged=True) from error
        if status in (400, 422) and not dialect.epoch - epoch > 0:
            remark = dialect.adapt(request, content[:5000].decode("utf-8", "replace"))
            if remark:
                self._remember()
                note(f"{self.address}: {remark}")
        if status in (400, 422) and dialect.epoch != epoch:
            raise CallFailed("adapted", "the server refused a parameter")
        try:
            raise read_error(status, self._redacted_bytes(content), wait, model=self.name, address=self.address)
        except ModelError as error:
            raise ModelError(str(error)) from None

    async def _read(self, dialect: Dialect, request: Request, content: bytes, content_type: str) -> Reply:
        return dialect.read(request, content, content_type)

    async def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text's tokens, without special ones; None where the server does not tell (vLLM does)."""
        if not self.server.startswith("vllm"):
            return None
        body = {"model": self.name, "prompt": text, "add_special_tokens": False}
        try:
            tokens = (await self.call("POST", "/../tokenize", body))["tokens"]  # it stands beside /v1
        except (CallFailed, ModelError, KeyError, TypeError):
            return None
        return list(tokens)

    # -- the rest of the protocol ------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """JSON of any other call of the protocol.

        Raises:
            CallFailed: It brought none.
            ModelError: The server refuses it.
        """
        data = None if body is None else orjson.dumps(body)
        try:
            return orjson.loads(await self._other(method, path, data))
        except ValueError:
            raise CallFailed("broken", f"{path}: the server sent no JSON") from None

    async def upload(self, content: bytes, name: str, *, purpose: str) -> Any:
        """Upload a file; returns what the server calls it."""
        import aiohttp

        form = aiohttp.FormData()
        form.add_field("purpose", purpose)
        form.add_field("file", io.BytesIO(content), filename=name, content_type="application/jsonl")
        payload = form()
        return orjson.loads(await self._other("POST", "/files", payload, {"Content-Type": payload.content_type}))

    async def download(self, path: str) -> bytes:
        """Content of a file."""
        return await self._other("GET", path, None)

    async def _other(self, method: str, path: str, data: Any, headers: dict[str, str] | None = None) -> bytes:
        import aiohttp

        assert self._session is not None, "start() comes first"
        # A file may take longer than a call: only a standstill ends it.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=self._timeout)
        try:
            async with self._session.request(
                method,
                self.base_url + path,
                data=data,
                headers=headers,
                proxy=self._proxy,
                timeout=patience,
                allow_redirects=False,
            ) as response:
                content = await response.read()
                status, wait = response.status, retry_after(response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise CallFailed("broken", f"{path}: {type(error).__name__} {self._redacted(str(error))}") from error
        if status >= 300:
            raise read_error(status, self._redacted_bytes(content), wait, model=self.name, address=self.address)
        return content

    def _redacted(self, text: str) -> str:
        if self._key:
            text = text.replace(self._key, "***")
        return re.sub(r"\b(sk-|key-|Bearer )[\w*-]{8,}", r"\1***", text)

    def _redacted_bytes(self, content: bytes) -> bytes:
        return self._redacted(content[:10_000].decode("utf-8", "replace")).encode()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy(parts: urllib.parse.SplitResult) -> str | None:
    """The proxy that the environment names for this address; looked up once, not at each call."""
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
