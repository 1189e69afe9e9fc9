"""One call: paced, within the budget, tried again where it broke, and committed before it counts as done."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from labelspace.errors import ModelError
from labelspace.llm.budget import REPLY_CAP, Budget
from labelspace.llm.entries import Failure, pack
from labelspace.llm.journal import Journal, Spent
from labelspace.llm.limits import Concurrency, Pace, Pause, backoff
from labelspace.llm.prices import Price
from labelspace.llm.request import CallFailed, ChatModel, Reply, Request
from labelspace.llm.stats import Stats

_SECOND_LOOKS = 3
"""Tries again at a request that was refused as malformed: some servers say 400 when they mean 500."""
_FIRST_PATIENCE = 10.0
"""Seconds to wait for a server that never answered and never asked to wait: its address may be wrong."""


class Caller:
    """Sends requests to one model for one journal."""

    def __init__(
        self,
        model: ChatModel,
        journal: Journal,
        stats: Stats,
        *,
        concurrency: Concurrency,
        retries: int,
        patience: float,
        rpm: float | None,
        tpm: float | None,
        price: Price | None,
        budget: Budget | None,
    ) -> None:
        """Take everything that governs a call."""
        self.model, self.journal, self.stats = model, journal, stats
        self.concurrency = concurrency
        self.price, self.budget = price, budget
        self.form = 0
        """Counts how often the client changed the form of its requests; keys of an older form are stale."""
        self.stopped = False
        """Nothing more is sent."""
        self.paying: set[asyncio.Task[None]] = set()
        """Workers whose call is sent and not yet committed: to cancel one is to lose money."""
        self._retries, self._patience = retries, patience
        self._rpm = Pace(rpm, "rpm") if rpm is not None else None
        self._tpm = Pace(tpm, "tpm") if tpm is not None else None
        self._pause = Pause()
        self._answered = 0.0

    async def call(self, request: Request, key: bytes, *, purpose: str, form: int) -> Reply | Failure | None:
        """Ask until there is an answer or no more patience.

        What can be had again for nothing (replies, final refusals) is in the journal when this
        returns; failures of kind busy or broken are not.

        Returns:
            The reply, or why there is none; None where nothing was asked: the engine is stopping,
            or the request has to be hashed anew because the client changed its form.

        Raises:
            ModelError: It would be the same for every request.
            BudgetExceeded: It does not fit the budget.
            JournalError: The reply could not be stored.
        """
        stats, since = self.stats, time.monotonic()
        tries = broken = refused = 0
        while True:
            most = await self._admit(request)
            if self.stopped or form != self.form:
                self._settle(most, None)
                return None
            if self.journal.ending is not None:
                self._settle(most, None)
                raise self.journal.ending
            stats.calls += 1
            stats.retries += tries > 0
            tries += 1
            sent = request if request.max_tokens is not None else self._capped(request)
            try:
                return await self._send(sent, key, purpose, most)
            except CallFailed as error:
                failure = error
            self._note(failure)
            if failure.kind == "adapted":
                return None
            if failure.kind == "busy":
                self._lose_patience(failure)
                waited = time.monotonic() - since
                if waited > self._patience:
                    return Failure("busy", f"{failure.reason}, for {waited:.0f} s")
                if failure.retry_after is None:
                    await asyncio.sleep(backoff(tries - 1))
            elif failure.kind == "broken":
                broken += 1
                if broken > self._retries:
                    return Failure("broken", f"{failure.reason}; tried {broken} times")
                await asyncio.sleep(backoff(broken - 1))
            elif failure.kind == "rejected" and refused < min(_SECOND_LOOKS, self._retries):
                refused += 1
                await asyncio.sleep(0.02 * refused)
            else:
                final = Failure(failure.kind, failure.reason)
                await self.journal.add(key, pack(final), purpose=purpose, model=self.model.name, spent=None)
                return final

    async def _admit(self, request: Request) -> Spent | None:
        """Wait for the turn of a request; returns what was set aside for it."""
        if self._pause.until:
            await self._pause.over()
        if self._rpm is not None:
            await self._rpm.take(1)
        if self._tpm is not None:
            await self._tpm.take(_guess(request))
        if self.budget is None or self.stopped:
            return None
        most = self._most(request)
        await self.budget.reserve(most)
        return most

    async def _send(self, request: Request, key: bytes, purpose: str, most: Spent | None) -> Reply:
        """Send once; a reply is committed when this returns."""
        stats, worker, real = self.stats, asyncio.current_task(), None
        if worker is not None:
            self.paying.add(worker)
        stats.in_flight += 1
        stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        try:
            try:
                reply = await self.model.complete(request)
                real = self._cost(reply, most)
            except CallFailed as error:
                if error.charged:
                    real = most or Spent(calls=1)
                raise
            finally:
                stats.in_flight -= 1
                self._settle(most, real)
                if real is not None:
                    stats.spent.add(real)
            if self._tpm is not None:
                self._tpm.correct(real.prompt_tokens + real.completion_tokens - _guess(request))
            self._answered = time.monotonic()
            self.concurrency.finished(stats.in_flight)
            stats.replies += 1
            if reply.constraint is not None:
                stats.constraints[reply.constraint] = stats.constraints.get(reply.constraint, 0) + 1
            await self.journal.add(key, pack(reply), purpose=purpose, model=self.model.name, spent=real)
        except CallFailed:
            if real is not None:
                # It may have been charged: the account must not forget it.
                await self.journal.add(None, b"", purpose=purpose, model=self.model.name, spent=real)
            raise
        else:
            return reply
        finally:
            if worker is not None:
                self.paying.discard(worker)

    def _note(self, failure: CallFailed) -> None:
        """Let everybody know what a failure means for them."""
        self.stats.faults[failure.kind] = self.stats.faults.get(failure.kind, 0) + 1
        if failure.slow:
            self.concurrency.pushed_back()
        if failure.kind == "adapted":
            self.form += 1
        if failure.retry_after is not None:
            if failure.retry_after > self._patience:
                raise ModelError(
                    f"{self.model.name}: the server asks to wait {failure.retry_after:.0f} s ({failure.reason}), "
                    f"longer than the patience of {self._patience:g} s; everything paid is kept: run the same then"
                )
            self._pause.ask(failure.retry_after)

    def _lose_patience(self, failure: CallFailed) -> None:
        """Stop for good where nobody gets an answer: that is no fault of the rows."""
        now = time.monotonic()
        if not self._answered:
            self._answered = -now  # the moment of the first try, until there is an answer
        away = now - abs(self._answered)
        # One that pushes back is there: a run that goes on where another used up the minute must wait it out.
        there = self._answered > 0 or failure.slow
        patience = self._patience if there else min(self._patience, _FIRST_PATIENCE)
        if away > patience:
            raise ModelError(
                f"{self.model.name}: no answer for {away:.0f} s ({failure.reason}); is the server up? "
                "Everything paid is kept, run the same again then"
            )

    # -- money -------------------------------------------------------------------------------

    def _capped(self, request: Request) -> Request:
        """Bound the reply where only a bound makes the budget certain."""
        cap = None if self.budget is None else self.budget.cap
        if cap is None or (cap.money is None and cap.tokens is None):
            return request
        return replace(request, max_tokens=REPLY_CAP)

    def _most(self, request: Request) -> Spent:
        """The most that a call can cost: a token is at least a byte, and a reply has a bound."""
        prompt = len(self.model.encode(request)) + 64
        completion = (request.max_tokens or REPLY_CAP) + 16
        return Spent(1, prompt, completion, self.price.of(prompt, completion) if self.price is not None else 0.0)

    def _cost(self, reply: Reply, most: Spent | None) -> Spent:
        """What a reply did cost; where the server does not say, the most that it can have."""
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if prompt is None or completion is None:
            if most is not None:
                return most
            prompt, completion = prompt or 0, completion or 0
        money = self.price.of(prompt, completion) * reply.discount if self.price is not None else 0.0
        return Spent(1, prompt, completion, money)

    def _settle(self, most: Spent | None, real: Spent | None) -> None:
        if most is not None and self.budget is not None:
            self.budget.settle(most, real or Spent())


def _guess(request: Request) -> float:
    """Tokens that a call may take, for the pace only."""
    characters = sum(len(message["content"]) for message in request.messages)
    return characters / 4 + min(request.max_tokens or 256, 256)
