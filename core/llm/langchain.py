"""Any LangChain chat model behind the same engine: journal, budget, retries and faults are ours, not its."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from labelspace.errors import ConfigError, MissingExtra, ModelError
from labelspace.llm.dialect import choice_schema, read_tokens, unwrap_choice
from labelspace.llm.refusals import read_error, retry_after
from labelspace.llm.request import CallFailed, Reply, Request
from labelspace.llm.scripted import canonical

_FIELDS = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens"),
    "seed": ("seed",),
    "stop": ("stop", "stop_sequences"),
}
"""How the classes of LangChain call what a request sets."""
_NOT_SHAPING = (
    "base_url",
    "api_base",
    "timeout",
    "request_timeout",
    "max_retries",
    "default_headers",
    "http_async_client",
)
_WRAPPER_TOKENS = 32


class LangChainModel:
    """One chat model made by LangChain's `init_chat_model`, or given."""

    def __init__(
        self,
        model: Any,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Take `provider:name`, or a chat model of LangChain.

        Args:
            model: The string or the object.
            api_key: A key; by default LangChain looks for the provider's own variable.
            timeout: Seconds for one call.
            parameters: Further arguments of `init_chat_model`.

        Raises:
            MissingExtra: LangChain or the provider's package is not installed.
            ConfigError: LangChain does not know the provider, or a parameter.
            ModelError: The provider's class cannot be made (no key, mostly).
        """
        self._parameters = dict(parameters or {})
        self._timeout = timeout
        if isinstance(model, str):
            self.name = model
            self._model = _make(model, api_key, timeout, self._parameters)
        else:
            self._model = model
            self.name = str(getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__)
        self._fields = frozenset(type(self._model).model_fields)
        self._structured = _can_be_held(self._model)
        self._shaping = {
            name: value
            for name, value in self._parameters.items()
            if name not in _NOT_SHAPING and not any(word in name for word in ("key", "secret", "password"))
        }
        self._bound: dict[Any, Any] = {}

    async def start(self, memory: dict[str, str]) -> None:
        """Nothing to find out: what the class can do is known."""

    def encode(self, request: Request) -> bytes:
        """The request as far as this class takes it, and how its form is asked for."""
        way = "structured" if self._structured and _has_form(request) else "prompt"
        extra = orjson.dumps(self._shaping, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
        return b"\0".join((canonical(self.name, self._taken(request)), way.encode(), extra))

    def _taken(self, request: Request) -> Request:
        left_out: dict[str, Any] = {
            name: None for name, fields in _FIELDS.items() if not any(field in self._fields for field in fields)
        }
        logprobs = request.logprobs if "logprobs" in self._fields else 0
        return replace(request, logprobs=logprobs, **left_out)

    async def complete(self, request: Request) -> Reply:
        """Ask once; LangChain's own retries are off."""
        messages = [(message["role"], message["content"]) for message in request.messages]
        held = self._structured and _has_form(request)
        try:
            answer = await asyncio.wait_for(self._runnable(request, held).ainvoke(messages), self._timeout)
        except asyncio.TimeoutError:
            raise CallFailed("broken", f"no answer within {self._timeout:g} s", charged=True, slow=True) from None
        except Exception as error:
            raise self._failed(error) from error
        raw = answer["raw"] if held else answer
        calls = getattr(raw, "tool_calls", None) or ()
        text = orjson.dumps(calls[0]["args"]).decode() if calls else _text_of(raw.content)
        about = raw.response_metadata or {}
        usage = raw.usage_metadata or {}
        logprobs = about.get("logprobs")
        tokens = read_tokens(logprobs["content"]) if logprobs and logprobs.get("content") else None
        constraint = None
        if _has_form(request):
            constraint = "prompt" if not held else "tool" if calls else "json_schema"
            if request.choices is not None and text.lstrip()[:1] == "{":
                text, tokens = unwrap_choice(text, tokens)
        finish = about.get("finish_reason") or about.get("stop_reason")
        refusal = (raw.additional_kwargs or {}).get("refusal")
        if (refusal and not text) or str(finish).lower() in ("refusal", "safety"):
            finish, text = "content_filter", text or str(refusal or "")
        return Reply(
            text=text,
            finish_reason=finish,
            prompt_tokens=usage.get("input_tokens"),
            completion_tokens=usage.get("output_tokens"),
            model=str(about.get("model_name") or self.name),
            logprobs=tokens,
            constraint=constraint,
        )

    def _runnable(self, request: Request, held: bool) -> Any:
        """The model with the parameters of a request; made once for each set of them."""
        form = None
        if held:
            form = request.choices if request.choices is not None else orjson.dumps(request.schema)
        key = (
            request.temperature,
            request.top_p,
            request.max_tokens,
            request.seed,
            request.stop,
            request.logprobs,
            form,
        )
        if key not in self._bound:
            self._bound.clear()  # a task has one set; this keeps the one in use
            update: dict[str, Any] = {}
            for name, fields in _FIELDS.items():
                value = getattr(request, name)
                field = next((field for field in fields if field in self._fields), None)
                if value is not None and field is not None:
                    update[field] = value + _WRAPPER_TOKENS if name == "max_tokens" and held else value
            if request.logprobs and "logprobs" in self._fields:
                update.update({"logprobs": True, "top_logprobs": request.logprobs})
            model = self._model.model_copy(update=update)
            if held:
                schema = choice_schema(request.choices) if request.choices is not None else dict(request.schema or {})
                model = model.with_structured_output(
                    {"title": "reply", "description": "The reply.", **schema}, include_raw=True
                )
            self._bound[key] = model
        return self._bound[key]

    def _failed(self, error: Exception) -> CallFailed:
        """What an exception of a provider's client means.

        Raises:
            ModelError: It would be the same for every row.
        """
        name, text = type(error).__name__, " ".join(str(error).split())[:500]
        response = getattr(error, "response", None)
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        if isinstance(status, int) and 300 <= status < 600:
            content = getattr(response, "content", None)
            headers = getattr(response, "headers", None) or {}
            if not isinstance(content, bytes) or not content:
                content = orjson.dumps({"error": {"message": text}})
            return read_error(
                status, content, retry_after(headers.get("retry-after")), model=self.name, address=self.name
            )
        if "Timeout" in name:
            return CallFailed("broken", f"no answer in time ({name})", charged=True, slow=True)
        if "Connection" in name or "Connect" in name:
            return CallFailed("busy", f"no connection ({name}: {text})")
        if "ContentFilter" in name:
            return CallFailed("content_filter", text, charged=True)
        if "LengthFinishReason" in name:
            return CallFailed("rejected", "the reply was cut off at max_tokens", charged=True)
        return CallFailed("broken", f"{name}: {text}")

    async def close(self) -> None:
        """LangChain keeps its own clients."""


def _make(model: str, api_key: str | None, timeout: float, parameters: dict[str, Any]) -> Any:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise MissingExtra("langchain", "llm") from None
    arguments = {"max_retries": 0, "timeout": timeout, **parameters}
    if api_key is not None:
        arguments["api_key"] = api_key
    try:
        return init_chat_model(model, **arguments)
    except ImportError as error:
        package = f"langchain-{model.partition(':')[0].replace('_', '-')}"
        raise ConfigError(
            f"{model!r} needs a package that is not installed ({error}); run: pip install {package}"
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{model!r} is no model that LangChain knows: {' '.join(str(error).split())[:300]}"
        ) from error
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise ModelError(f"{model!r} cannot be set up ({type(error).__name__}: {said})") from error


def _can_be_held(model: Any) -> bool:
    """Whether the class can be held to a schema: the base class has the method but not the means."""
    from langchain_core.language_models.chat_models import BaseChatModel

    own = type(model)
    return (
        own.bind_tools is not BaseChatModel.bind_tools
        or own.with_structured_output is not BaseChatModel.with_structured_output
    )


def _has_form(request: Request) -> bool:
    return request.choices is not None or request.schema is not None


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part if isinstance(part, str) else str(part.get("text", "")) for part in content or ()]
    return "".join(parts)
