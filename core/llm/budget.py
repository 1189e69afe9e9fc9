"""A hard stop in money, tokens or calls: the worst case is reserved before sending, the truth settled after."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from labelspace.errors import BudgetExceeded, ConfigError
from labelspace.llm.journal import Spent

_PART = re.compile(
    r"(?P<sign>\$)?\s*(?P<number>\d+(?:[_,]\d{3})*(?:\.\d+)?)\s*(?P<scale>[kM])?\s*(?P<unit>usd|\$|dollars?|tokens?|calls?)?",
    re.I,
)
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6}
REPLY_CAP = 2048
"""Longest reply asked for, under a budget in money or tokens, where a request sets no `max_tokens`."""


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent; None where there is no limit."""

    money: float | None = None
    tokens: float | None = None
    calls: float | None = None

    @classmethod
    def parse(cls, text: str | Cap | None) -> Cap | None:
        """Read `5 USD`, `$0.50`, `200k tokens`, `1000 calls`, or several with commas between.

        Raises:
            ConfigError: It reads as none of these.
        """
        if text is None or isinstance(text, Cap):
            return text
        found: dict[str, float] = {}
        for part in re.split(r"[;,]\s+|[;+]", text.strip()):
            match = _PART.fullmatch(part.strip())
            unit = "" if match is None else (match["sign"] or match["unit"] or "").lower()
            if match is None or not unit:
                raise ConfigError(
                    f"a budget is money, tokens or calls: '5 USD', '200k tokens', '1000 calls'; not {text!r}"
                )
            name = "money" if unit[0] in "$ud" else "tokens" if unit[0] == "t" else "calls"
            number = float(re.sub("[_,]", "", match["number"]))
            found[name] = number * _SCALES[(match["scale"] or "").lower()]
        return cls(**found)

    def __str__(self) -> str:
        """As a user would write it."""
        parts = [] if self.money is None else [f"{self.money:g} USD"]
        parts += [] if self.tokens is None else [f"{self.tokens:,.0f} tokens"]
        parts += [] if self.calls is None else [f"{self.calls:,.0f} calls"]
        return ", ".join(parts)


@dataclass
class Budget:
    """What is spent on one journal, and what calls in flight may still cost."""

    cap: Cap
    spent: Spent
    """From the journal on: a run that was killed and goes on has one budget, not two."""
    reserved: Spent = field(default_factory=Spent)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def reserve(self, most: Spent) -> None:
        """Set aside the most that a call can cost; waits while calls in flight may give some back.

        Raises:
            BudgetExceeded: It does not fit, and nothing is in flight that could give back.
        """
        while not self._fits(most):
            if self.reserved.calls <= 0:
                raise BudgetExceeded(
                    f"the budget of {self.cap} is spent: {self.account()}, and the next call may cost "
                    f"{self._costs(most)}; everything paid is kept, raise the budget to go on"
                )
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.reserved.add(most)

    def _fits(self, most: Spent) -> bool:
        cap, spent, reserved = self.cap, self.spent, self.reserved
        tokens = sum(x.prompt_tokens + x.completion_tokens for x in (spent, reserved, most))
        return (
            (cap.calls is None or spent.calls + reserved.calls + most.calls <= cap.calls)
            and (cap.tokens is None or tokens <= cap.tokens)
            and (cap.money is None or spent.money + reserved.money + most.money <= cap.money + 1e-12)
        )

    def settle(self, most: Spent, real: Spent) -> None:
        """Replace a reservation by what the call did cost."""
        self.reserved.add(Spent(-most.calls, -most.prompt_tokens, -most.completion_tokens, -most.money))
        self.spent.add(real)
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def account(self) -> str:
        """What is spent, in the units of the cap."""
        return self._costs(self.spent)

    def _costs(self, spent: Spent) -> str:
        parts = [] if self.cap.money is None else [f"{spent.money:.4f} USD"]
        parts += [] if self.cap.tokens is None else [f"{spent.prompt_tokens + spent.completion_tokens:,} tokens"]
        parts += [] if self.cap.calls is None else [f"{spent.calls:,} calls"]
        return ", ".join(parts)
