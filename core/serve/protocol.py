"""`/classify` and `/pooling` as vLLM has them, in the form that the labeling engine asks models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from labelspace.errors import ConfigError, MissingExtra, ModelError
from labelspace.llm.client import HTTPModel
from labelspace.llm.dialect import Dialect
from labelspace.llm.request import CallFailed, Message, Reply, ReplyError, Request
from labelspace.readout import to_probabilities
from labelspace.serve.answers import HEAD
from labelspace.serve.batching import Overloaded, Probabilities, Refused
from labelspace.serve.outer_head import Apply, outer_head, read_vector
from labelspace.serve.served import Served


class ClassifyDialect(Dialect):
    """How `/classify` is asked, and how its answers are read."""

    def __init__(self, served: Served) -> None:
        """For one classifier."""
        super().__init__("prompt")
        self.served = served

    @property
    def path(self) -> str:
        """Where it is asked."""
        return "/pooling" if self.served.has_outer_head else "/classify"

    def body(self, model: str, request: Request) -> dict[str, Any]:
        """One text for each message; a text without content is sent as the tokens that stand for it."""
        texts: list[Any] = [message["content"] for message in request.messages]
        if self.served.sends_ids:
            texts = [one.ids for one in self._tokenizer.encode_batch(texts)]
        elif self.served.empty is not None and not any(texts):
            texts = [list(self.served.empty) for _ in texts]
        body: dict[str, Any] = {"model": model, "input": texts}
        if self.served.truncate is not None:
            body["truncate_prompt_tokens"] = self.served.truncate
        if self.served.logits or self.served.has_outer_head:
            body["use_activation"] = False
        if self.served.has_outer_head:
            body |= {"task": self.served.asks, "encoding_format": "base64"}
        return body

    def read(self, request: Request, content: bytes, content_type: str) -> Reply:
        """The probabilities or logits as they came, or as the head makes them of vectors, as JSON."""
        try:
            data = sorted(orjson.loads(content)["data"], key=lambda one: one["index"])
            if self.served.has_outer_head:
                vectors = [read_vector(one["data"]) for one in data]
                texts = [message["content"] for message in request.messages]
                rows = self._head(texts, vectors).tolist()
            else:
                rows = [one["probs"] for one in data]
            good = len(rows) == len(request.messages) and all(len(row) == len(self.served.names) for row in rows)
        except (ValueError, KeyError, TypeError) as error:
            raise CallFailed("broken", f"no reply of {self.path} ({content_type}, {len(content)} bytes)") from error
        if not good:
            shape = f"{len(rows)} rows of {sorted({len(row) for row in rows})} numbers"
            raise ModelError(
                f"the server answers {len(request.messages)} texts with {shape}, but the model has "
                f"{len(self.served.names)} labels; is it another model's description?"
            )
        said = {at: one for at, one in enumerate(data) if one.get("answered_by", HEAD) != HEAD or one.get("review")}
        return Reply(orjson.dumps([rows, *([list(said.items())] if said else [])]).decode())

    @cached_property
    def _head(self) -> Apply:
        if self.served.folder is None:
            raise ConfigError("the head of this model lies beside it: name the folder of the export")
        return outer_head(self.served.folder)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("tokenizers", "onnx") from error
        if self.served.folder is None:
            raise ConfigError("the tokenizer of this head lies beside it: name the folder of the export")
        tokenizer = Tokenizer.from_file(str(self.served.folder / "tokenizer.json"))
        if self.served.truncate is not None:
            tokenizer.enable_truncation(self.served.truncate)
        return tokenizer

    def adapt(self, request: Request, text: str) -> str | None:
        """There is no other way to ask."""
        return None


class ClassifyModel(HTTPModel):
    """`/classify` of a server, in the form that the engine asks models."""

    def __init__(self, root: str, served: Served, *, api_key: str | None = None, timeout: float = 120.0) -> None:
        """Say where it is.

        Args:
            root: Address without path.
            served: What is served there.
            api_key: As for `HTTPModel`.
            timeout: Seconds for one call.
        """
        super().__init__(root, served.model, api_key=api_key, timeout=timeout, constraint="prompt")
        self.dialect = ClassifyDialect(served)
        self._path = self.dialect.path
        self._worker: ThreadPoolExecutor | None = None

    async def start(self, memory: dict[str, str]) -> None:
        """Open the connections."""
        import yarl

        await super().start(memory)
        self._url = yarl.URL(self.base_url + self._path)

    async def _read(self, dialect: Dialect, request: Request, content: bytes, content_type: str) -> Reply:
        """Read it here, or, where a head is to be applied, in a thread: others are answered meanwhile.

        One thread, which applies the head to one reply after another: a head over text embeddings takes no two at once.
        """
        if self._path != "/pooling":
            return dialect.read(request, content, content_type)
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "labelspace-head")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, dialect.read, request, content, content_type)

    async def close(self) -> None:
        """Close the connections, and end the thread."""
        await super().close()
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None

    async def well(self) -> bool:
        """Whether the server says that it is."""
        await self.start({})
        try:
            await self._other("GET", "/health", None)
        except (CallFailed, ModelError):
            return False
        return True


def ask_for(texts: Sequence[str]) -> Request:
    """The request for some texts; lone surrogates, which no JSON can hold, are replaced."""
    messages: list[Message] = [
        {"role": "user", "content": text.encode("utf-8", "replace").decode()} for text in texts
    ]  # fmt: skip
    return Request(messages)


def read_rows(reply: Reply, served: Served) -> Probabilities:
    """Probabilities [n, k] of a reply.

    Raises:
        ReplyError: A number is none.
    """
    rows: Probabilities = np.asarray(orjson.loads(reply.text)[0], dtype=np.float32)
    if served.logits:
        rows = to_probabilities(rows, multi_label=served.multi_label)
    if not np.isfinite(rows).all():
        raise ReplyError("a probability is not a number")
    return rows


def read_cascade(reply: Reply) -> dict[int, Any]:
    """What a cascade says of texts, by place, where that is not the head's answer or a person should look at it."""
    return dict(*orjson.loads(reply.text)[1:])


class Upstream:
    """A vLLM behind our own server. A `Backend`."""

    def __init__(self, model: ClassifyModel, served: Served, *, batch_size: int = 64) -> None:
        """Take the model.

        Args:
            model: Where vLLM is.
            served: What is asked of it.
            batch_size: Texts of one request to vLLM.
        """
        self.model, self.served, self._size = model, served, batch_size

    async def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probability of each label for each text [n, k]."""
        await self.model.start({})  # here, where the loop runs; a second time does nothing
        parts = [texts[at : at + self._size] for at in range(0, len(texts), self._size)]
        try:
            replies = await asyncio.gather(*(self.model.complete(ask_for(part)) for part in parts))
        except CallFailed as error:
            refused = error.kind in ("rejected", "context_length", "content_filter")
            raise (Refused if refused else Overloaded)(error.reason) from error
        except ModelError as error:  # an adapter that vLLM has lost, say: callers may come again
            raise Overloaded(str(error)) from error
        return np.concatenate([read_rows(reply, self.served) for reply in replies])

    async def close(self) -> None:
        """Close the connections."""
        await self.model.close()
