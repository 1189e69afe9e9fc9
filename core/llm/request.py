"""What is asked of a model and what comes back: plain values that know neither prompt nor server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypedDict, TypeVar

from labelspace.errors import ModelError

Item = TypeVar("Item")
Value = TypeVar("Value")
Kind = Literal["busy", "broken", "rejected", "context_length", "content_filter", "adapted"]
SHOWN_OF_A_REPLY = 2_000
"""Characters of an unreadable reply that are shown back to the model."""


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


class ReplyError(ValueError):
    """A reply does not say what was asked; the message is shown to the model when it is asked again."""


class Unreadable(ModelError):
    """A model did not say what was asked, also after it was shown what was wrong."""


class Stopped(ModelError):
    """Too many rows failed: going on would be money for nothing. What is paid is kept."""


class TokenLogprob(NamedTuple):
    """One generated token, with the likeliest tokens at its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """(token, natural logarithm of its probability), likeliest first."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: the messages, what the reply must look like, and the sampling parameters.

    At most one of `choices` and `schema` is given. What a server cannot enforce is left to the
    parser; `Reply.constraint` says which it was.
    """

    messages: tuple[Message, ...] | list[Message]
    choices: tuple[str, ...] | None = None
    """The reply is exactly one of these."""
    schema: Mapping[str, Any] | None = None
    """The reply is JSON that this JSON schema accepts."""
    logprobs: int = 0
    """How many alternatives to report at each token; 0 for no log-probabilities."""
    temperature: float | None = 0.0
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    token_ids: Mapping[str, int] | None = None
    """The one token of each of `choices`, or of some of them: a server that can then scores exactly these."""

    def __post_init__(self) -> None:
        """Refuse two constraints at once."""
        if self.choices is not None and self.schema is not None:
            raise ValueError("a request is constrained by choices or by a schema, not by both")
        if self.choices is not None and not self.choices:
            raise ValueError("a request with choices needs at least one")

    def repaired(self, text: str, error: str) -> Request:
        """Ask again, showing the unreadable reply and what was wrong with it."""
        shown = text[:SHOWN_OF_A_REPLY]
        return replace(
            self,
            messages=[*self.messages, {"role": "assistant", "content": shown}, {"role": "user", "content": error}],
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered."""

    text: str
    """The answer itself: for `choices` the choice, for `schema` the JSON, unwrapped from any tool call."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    choice_logprobs: Mapping[str, float] | None = None
    """Exact log-probability of every choice (of those in `token_ids`, if these are fewer), where the model can tell."""
    constraint: str | None = None
    """How the reply was held to its form: structured_outputs, guided, json_schema, tool, scored or prompt
    (asked for in words only); None where nothing was asked."""
    reused: bool = False
    """Whether it was read from the journal and cost nothing now."""
    discount: float = 1.0
    """What part of the usual price it cost."""


class CallFailed(Exception):
    """One call did not bring a reply. Never reaches a user: the engine retries, or sets the row aside."""

    def __init__(
        self, kind: Kind, reason: str, *, retry_after: float | None = None, charged: bool = False, slow: bool = False
    ) -> None:
        """Say what happened.

        Args:
            kind: busy (the server's state, not the row's fault), broken (may pass), rejected,
                context_length, content_filter (final for this request), adapted (the client now
                asks in another form; ask again at once).
            reason: One line for the user.
            retry_after: Seconds that the server asked everybody to wait.
            charged: Whether the provider may have charged for it.
            slow: Whether it says that the server is overloaded (pushback or a timeout).
        """
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason
        self.retry_after = retry_after
        self.charged = charged
        self.slow = slow


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of one item of `Engine.map`."""

    item: Item
    value: Value | None = None
    """What `parse` returned; None where it failed."""
    status: Literal["ok", "failed"] = "ok"
    reason: str | None = None
    """Why it failed; where it is ok, a remark (the text was shortened to fit)."""
    code: str | None = None
    """The reason for a program: unreadable, rejected, context_length, content_filter, unreachable."""
    raw: str | None = None
    """The last reply as it came, where it could not be read."""
    reply: Reply | None = None


class ChatModel(Protocol):
    """Anything that answers requests: an HTTP server, LangChain, a model in this process, a batch API."""

    @property
    def name(self) -> str:
        """What it is called in prices, provenance and messages."""
        ...

    async def start(self, memory: dict[str, str]) -> None:
        """Get ready: find out the model's name and what the server can do.

        Args:
            memory: What an earlier run on the same journal learned; what is added is kept at once.
        """
        ...

    def encode(self, request: Request) -> bytes:
        """Everything that shapes the reply, canonically: the journal's key is its hash."""
        ...

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            CallFailed: This call brought no reply.
            ModelError: No call will (bad key, unknown model).
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
