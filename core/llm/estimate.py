"""What a run would ask, and cost, before a cent is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from labelspace.llm.budget import REPLY_CAP
from labelspace.llm.entries import key_of
from labelspace.llm.journal import Journal
from labelspace.llm.prices import Price
from labelspace.llm.request import ChatModel, Item, Request
from labelspace.llm.tokens import prompt_tokens, token_counter

_TOGETHER = 256
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls, tokens and money of a run in which every first reply can be read."""

    model: str
    rows: int
    calls: int
    """Calls to make: rows less those that the journal has, equal requests once."""
    reused: int
    prompt_tokens: int
    completion_tokens: int
    """What is to be expected."""
    most_completion_tokens: int
    """What the bounds on the replies allow."""
    how_counted: str
    price: Price | None
    examples: tuple[Request, ...]
    """The first requests, exactly as they would be sent."""
    discount: float = 1.0
    """What part of the price is asked: batch APIs give some off."""

    @property
    def money(self) -> float | None:
        """Dollars to be expected; None where the price is not known."""
        return self._priced(self.completion_tokens)

    @property
    def most_money(self) -> float | None:
        """Dollars if every reply is as long as it may be; None where the price is not known."""
        return self._priced(self.most_completion_tokens)

    def _priced(self, completion_tokens: int) -> float | None:
        return None if self.price is None else self.discount * self.price.of(self.prompt_tokens, completion_tokens)

    def to_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "rows": self.rows,
            "calls": self.calls,
            "reused": self.reused,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "most_completion_tokens": self.most_completion_tokens,
            "how_counted": self.how_counted,
            "discount": self.discount,
            "usd": None if self.money is None else round(self.money, 6),
            "most_usd": None if self.most_money is None else round(self.most_money, 6),
        }

    def lines(self) -> list[str]:
        """For a reader: calls, tokens, price."""
        reused = f" ({self.reused:,} rows need none: the journal has them, or another row asks the same)"
        tokens = (
            f"{self.prompt_tokens:,} tokens to read, about {self.completion_tokens:,} to write "
            f"(at most {self.most_completion_tokens:,}), {self.how_counted}"
        )
        money = f"the price of {self.model} is not known: add it to a table of prices (LABELSPACE_PRICES)"
        if self.money is not None and self.most_money is not None:
            money = f"about ${self.money:.4f}, at most ${self.most_money:.4f} if no reply has to be asked again"
            if self.discount != 1.0:
                money += f"; that is {self.discount:.0%} of the usual price, by the batch API"
        return [f"{self.rows:,} rows, {self.calls:,} calls{reused if self.reused else ''}", tokens, money]


def estimate(
    model: ChatModel,
    journal: Journal,
    items: Iterable[Item],
    make_request: Callable[[Item], Request],
    *,
    price: Price | None,
) -> Estimate:
    """Render and hash every request, and count what the journal has not got. Nothing is sent."""
    count, how = token_counter(model.name)
    rows = calls = prompt = expected = most = 0
    earlier = [spent for spent in journal.spent.values() if spent.calls]
    typical = (
        sum(spent.completion_tokens for spent in earlier) / sum(spent.calls for spent in earlier) if earlier else None
    )
    examples: list[Request] = []
    seen: set[bytes] = set()
    waiting: dict[bytes, Request] = {}

    def settle() -> None:
        nonlocal calls, prompt, expected, most
        found = journal.find(list(waiting))
        for key, request in waiting.items():
            if key in found:
                continue
            calls += 1
            contents = [message["content"] for message in request.messages]
            prompt += prompt_tokens(contents, count) + _form_tokens(model, request, count)
            bound = request.max_tokens or REPLY_CAP
            most += bound
            guess = typical if typical is not None else _usual(request, bound)
            expected += min(bound, round(guess))
        waiting.clear()

    for item in items:
        rows += 1
        request = make_request(item)
        if len(examples) < _EXAMPLES:
            examples.append(request)
        key = key_of(model.encode(request), 0)
        if key not in seen:
            seen.add(key)
            waiting[key] = request
            if len(waiting) >= _TOGETHER:
                settle()
    settle()
    discount: Callable[[int], float] | None = getattr(model, "discount", None)
    return Estimate(
        model=model.name,
        rows=rows,
        calls=calls,
        reused=rows - calls,
        prompt_tokens=prompt,
        completion_tokens=expected,
        most_completion_tokens=most,
        how_counted=how,
        price=price,
        examples=tuple(examples),
        discount=discount(calls) if discount is not None else 1.0,
    )


def _usual(request: Request, bound: int) -> float:
    """Tokens of a reply, where no earlier reply tells."""
    if request.choices is not None:
        return 2 + sum(len(choice) for choice in request.choices) / len(request.choices) / 4
    return bound / 4


def _form_tokens(model: ChatModel, request: Request, count: Callable[[str], int]) -> int:
    """Tokens of a schema, which is read as part of the prompt where it is sent as one."""
    way = getattr(getattr(model, "dialect", None), "constraint", None)
    if way not in ("json_schema", "tool") or (request.choices is None and request.schema is None):
        return 0
    return count(orjson.dumps(request.choices if request.choices is not None else request.schema).decode())
