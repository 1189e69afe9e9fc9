"""How a request is written for one OpenAI-compatible server, and how its answers and errors are read.

Servers differ in how a reply is held to its form. vLLM from 0.12 on takes `structured_outputs`, older
ones `guided_*` (each silently ignores the other's), most others take `response_format`, some only
tools, a few nothing. What a server refuses with a 400 is not sent again: the next way is taken, and
`Reply.constraint` says which one made the reply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from labelspace.errors import ConfigError
from labelspace.llm.request import CallFailed, Reply, Request, TokenLogprob

CONSTRAINTS = ("structured_outputs", "guided", "json_schema", "tool", "prompt")
_NEXT = {"structured_outputs": "json_schema", "guided": "json_schema", "json_schema": "tool", "tool": "prompt"}
_FIELDS = {
    "structured_outputs": ("structured_outputs",),
    "guided": ("guided_",),
    "json_schema": ("response_format", "json_schema", "json schema"),
    "tool": ("tool_choice", "tools", "tool choice", "function"),
}
_WRAPPER_TOKENS = 16
"""Room for the JSON around a choice where the choice has to be wrapped in an object."""
_REFUSES = re.compile(
    r"unsupported|not support|n't support|unknown|unrecogni[sz]ed|unexpected|extra (inputs|fields)|not permitted"
    r"|not allowed|not available|not enabled|requires? --|invalid schema|only the default",
    re.I,
)


class Dialect:
    """What one server understands, as far as it is known."""

    def __init__(self, constraint: str = "json_schema", refused: frozenset[str] = frozenset()) -> None:
        """Start from what is known; `refused` names parameters that the server does not take."""
        if constraint not in CONSTRAINTS:
            raise ConfigError(
                f"no way to constrain replies is named {constraint!r}; there are: {', '.join(CONSTRAINTS)}"
            )
        self.constraint = constraint
        self.refused = refused
        self.epoch = 0

    # -- writing -----------------------------------------------------------------------------

    def body(self, model: str, request: Request) -> dict[str, Any]:
        """The JSON body; everything that shapes the reply is in it."""
        body: dict[str, Any] = {"model": model, "messages": request.messages}
        refused = self.refused
        if request.temperature is not None and "temperature" not in refused:
            body["temperature"] = request.temperature
        if request.top_p is not None and "top_p" not in refused:
            body["top_p"] = request.top_p
        if request.seed is not None and "seed" not in refused:
            body["seed"] = request.seed
        if request.stop is not None and "stop" not in refused:
            body["stop"] = request.stop
        room = 0
        if request.choices is not None or request.schema is not None:
            room = self._constrain(body, request)
        if request.max_tokens is not None:
            body["max_completion_tokens" if "max_tokens" in refused else "max_tokens"] = request.max_tokens + room
        if request.logprobs and "logprobs" not in refused:
            body["logprobs"] = True
            body["top_logprobs"] = request.logprobs
            if request.token_ids is not None and self.constraint == "structured_outputs":
                body["logprob_token_ids"] = [*request.token_ids.values()]
                body["return_tokens_as_token_ids"] = True
        return body

    def _constrain(self, body: dict[str, Any], request: Request) -> int:
        way = self.constraint
        if way == "prompt":
            return 0
        if way in ("structured_outputs", "guided"):
            what, value = ("json", request.schema) if request.choices is None else ("choice", request.choices)
            if way == "guided":
                body[f"guided_{what}"] = value
            else:
                body["structured_outputs"] = {what: value}
            return 0
        if request.choices is None:
            schema, room = _strict(request.schema), 0
        else:
            schema, room = choice_schema(request.choices), _WRAPPER_TOKENS
        if way == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": schema},
            }
        else:
            body["tools"] = [{"type": "function", "function": {"name": "reply", "strict": True, "parameters": schema}}]
            body["tool_choice"] = {"type": "function", "function": {"name": "reply"}}
        return room

    # -- reading -----------------------------------------------------------------------------

    def read(self, request: Request, content: bytes, content_type: str) -> Reply:
        """Read the body of an answer with status 200.

        Raises:
            CallFailed: It is not a chat completion (broken).
        """
        try:
            data = orjson.loads(content)
            choice = data["choices"][0]
            message = choice["message"]
            text = message.get("content")
            if calls := message.get("tool_calls"):
                text = calls[0]["function"]["arguments"]
            elif isinstance(text, list):
                text = "".join(part.get("text", "") for part in text if isinstance(part, dict))
            if not isinstance(text, str):
                text = "" if text is None else str(text)
            finish = choice.get("finish_reason")
            if message.get("refusal") and not text:
                text, finish = str(message["refusal"]), "content_filter"
            usage = data.get("usage") or {}
            prompt_tokens, completion_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
            logprobs = choice.get("logprobs")
            tokens = read_tokens(logprobs["content"]) if logprobs and logprobs.get("content") else None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            start = content[:80].decode("utf-8", "replace").replace("\n", " ")
            what = "an answer that is cut off or not JSON" if isinstance(error, ValueError) else "no chat completion"
            raise CallFailed(
                "broken", f"the server sent {what} ({content_type}, {len(content)} bytes: {start!r})", charged=True
            ) from None
        scored = None
        if tokens and request.choices is not None and request.token_ids is not None:
            tokens, scored = of_choices(tokens, request.token_ids)
        constraint = None
        if request.choices is not None or request.schema is not None:
            constraint = self.constraint
            if request.choices is not None and text.lstrip()[:1] == "{":
                text, tokens = unwrap_choice(text, tokens)
        return Reply(
            text=text,
            finish_reason=finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            model=str(data.get("model") or ""),
            logprobs=tokens,
            choice_logprobs=scored,
            constraint=constraint,
        )

    def adapt(self, request: Request, text: str) -> str | None:
        """Take another way after a 400 that names a parameter; returns a line that says so, or None."""
        low = text.lower()
        if "max_completion_tokens" in low and request.max_tokens is not None and "max_tokens" not in self.refused:
            return self._refuse("max_tokens", "takes max_completion_tokens, not max_tokens")
        if not _REFUSES.search(text):
            return None
        if request.logprobs and "logprobs" in low and "logprobs" not in self.refused:
            return self._refuse("logprobs", "gives no log-probabilities")
        for name in ("temperature", "top_p", "seed", "stop"):
            given = getattr(request, name) is not None and name not in self.refused
            if given and re.search(rf"\b{name}\b", low):
                return self._refuse(name, f"does not take {name}")
        if request.choices is not None or request.schema is not None:
            names = _FIELDS.get(self.constraint, ())
            if any(name in low for name in names):
                before, self.constraint = self.constraint, _NEXT[self.constraint]
                self.epoch += 1
                how = "in words only" if self.constraint == "prompt" else f"by {self.constraint}"
                return f"the server does not take {before}: replies are now constrained {how}"
        return None

    def _refuse(self, name: str, what: str) -> str:
        self.refused |= {name}
        self.epoch += 1
        return f"the server {what}"


def choice_schema(choices: tuple[str, ...]) -> dict[str, Any]:
    """A schema for an object that holds one of `choices`: servers that take schemas want an object."""
    return {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": choices}},
        "required": ["choice"],
        "additionalProperties": False,
    }


def _strict(schema: Any) -> Any:
    """A copy in which every object is closed and needs all its properties: strict mode refuses others."""
    if isinstance(schema, Mapping):
        copy = {name: _strict(value) for name, value in schema.items()}
        if isinstance(copy.get("properties"), dict) and copy.get("type", "object") == "object":
            copy.setdefault("type", "object")
            copy["additionalProperties"] = False
            copy["required"] = list(copy["properties"])
        return copy
    if isinstance(schema, (list, tuple)):
        return [_strict(value) for value in schema]
    return schema


def read_tokens(content: list[dict[str, Any]]) -> tuple[TokenLogprob, ...]:
    """Log-probabilities in the form of the OpenAI protocol."""
    return tuple(
        TokenLogprob(
            one["token"],
            float(one["logprob"]),
            tuple((top["token"], float(top["logprob"])) for top in one.get("top_logprobs") or ()),
        )
        for one in content
    )


def of_choices(
    tokens: tuple[TokenLogprob, ...], ids: Mapping[str, int]
) -> tuple[tuple[TokenLogprob, ...] | None, dict[str, float] | None]:
    """Read tokens that vLLM reports by id: the log-probability of every choice that has one, or the tokens by name."""
    names = {f"token_id:{token}": choice for choice, token in ids.items()}
    named = tuple(
        TokenLogprob(names.get(token, token), logprob, tuple((names.get(one, one), value) for one, value in top))
        for token, logprob, top in tokens
    )
    for token in named:
        scores = dict(token.top)
        if ids.keys() <= scores.keys():
            return None, {choice: scores[choice] for choice in ids}
    return named, None


def unwrap_choice(text: str, tokens: tuple[TokenLogprob, ...] | None) -> tuple[str, tuple[TokenLogprob, ...] | None]:
    """Take a choice out of its JSON object, and drop the tokens before it."""
    try:
        choice = orjson.loads(text)["choice"]
    except (ValueError, KeyError, TypeError):
        return text, tokens
    if not isinstance(choice, str):
        return text, tokens
    if tokens:
        key = text.find('"choice"')
        start = text.find('"', text.find(":", key)) + 1
        at = 0
        for index, token in enumerate(tokens):
            at += len(token.token)
            if at > start:
                tokens = tokens[index:]
                break
    return choice, tokens
