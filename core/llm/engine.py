"""The labeling engine: bounded work in flight, ordered results, and no reply paid twice.

An item goes this way: its request is made and hashed; what the journal has is read from there, through
the whole chain of repairs; what is missing goes to a worker, which sends it, waits until the reply
is committed, and reads it. Results leave in the order in which the items came.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, cast

from labelspace.errors import ConfigError, ModelError
from labelspace.llm.budget import REPLY_CAP, Budget, Cap
from labelspace.llm.connect import connect
from labelspace.llm.entries import Failure, key_of, pack, unpack
from labelspace.llm.journal import Journal, Spent
from labelspace.llm.limits import Concurrency, Pace, Pause, backoff
from labelspace.llm.prices import find_price
from labelspace.llm.request import CallFailed, ChatModel, Item, Outcome, Reply, Request, Value
from labelspace.llm.source import Source
from labelspace.llm.stats import Stats
from labelspace.progress import Progress

START_FAILURES = 20
"""So many rows failed at the start, and none done: the run stops."""
ROW_OF_FAILURES = 100
"""So many rows failed one after the other, at any time: the run stops."""
_SECOND_LOOKS = 3
"""Tries again at a request that was refused as malformed: some servers say 400 when they mean 500."""
_SHORTENINGS = 8
_GRACE = 30.0
"""Seconds that calls in flight get to end when a run is stopped."""
_CODES: dict[str, str] = {"busy": "unreachable", "broken": "unreachable"}


class Unreadable(ModelError):
    """A model did not say what was asked, also after being shown what was wrong."""


class _Task(Generic[Item, Value]):
    """What the items of one `map` have in common."""

    def __init__(
        self,
        parse: Callable[[Reply, Item], Value],
        shorten: Callable[[Item, int], Request | None] | None,
        purpose: str,
    ) -> None:
        self.parse = parse
        self.shorten = shorten
        self.purpose = purpose
        self.stopped = False
        self.head: _Job[Item, Value] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.running = 0
        self.failed_in_row = 0
        self.done_live = 0


class _Job(Generic[Item, Value]):
    """One item on its way to its outcome."""

    __slots__ = ("attempt", "base", "fresh", "item", "key", "live", "outcome", "request", "shortened", "task")

    def __init__(self, task: _Task[Item, Value], item: Item, request: Request) -> None:
        self.task = task
        self.item = item
        self.base = request
        self.request = request
        self.attempt = 0
        self.shortened = 0
        self.key = b""
        self.live = False
        self.fresh = False
        self.outcome: Outcome[Item, Value] | None = None


class Engine:
    """Asks a model, once for each question.

    async with Engine("http://127.0.0.1:8000/v1#name", journal="run/journal.sqlite") as engine:
        async for outcome in engine.map(records, make_request, parse, purpose="label"):
            ...
    """

    def __init__(
        self,
        model: str | ChatModel,
        *,
        journal: Path | str | None = None,
        concurrency: int | Literal["auto"] = "auto",
        retries: int = 5,
        repairs: int = 2,
        patience: float = 300.0,
        budget: str | Cap | None = None,
        prices: Path | str | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        max_errors: int | None = None,
        retry_failed: bool = False,
        progress: bool = False,
        look_ahead: int | None = None,
    ) -> None:
        """Say how to ask; nothing is opened before `async with`.

        Args:
            model: A model string (see `connect`) or a model.
            journal: SQLite file that keeps every reply; None keeps them in memory only.
            concurrency: Calls in flight, or "auto" to find out what the server can take.
            retries: Tries again at a call that broke (500, reset, timeout).
            repairs: Times that the model is shown an unreadable reply and what was wrong with it.
            patience: Seconds to go on trying where the server pushes back or is away.
            budget: The most that this journal may cost: `5 USD`, `200k tokens`, `1000 calls`.
            prices: A table of prices that comes before the user's own.
            rpm: Requests a minute.
            tpm: Tokens a minute.
            max_errors: Failed rows after which the run stops.
            retry_failed: Ask again the rows that an earlier run on this journal gave up.
            progress: Show progress of each `map` on stderr.
            look_ahead: Items read ahead of the next result; by default a few times the calls in flight.
        """
        if min(retries, repairs) < 0 or patience < 0:
            raise ConfigError(f"retries, repairs and patience are 0 or more, not {retries}, {repairs}, {patience}")
        self.model = connect(model) if isinstance(model, str) else model
        self.stats = Stats()
        self.concurrency = Concurrency(concurrency)
        self._journal_path = journal
        self._journal: Journal | None = None
        self._retries, self._repairs, self._patience = retries, repairs, patience
        self._cap, self._prices = Cap.parse(budget), prices
        self._budget: Budget | None = None
        self._rpm = Pace(rpm, "rpm") if rpm is not None else None
        self._tpm = Pace(tpm, "tpm") if tpm is not None else None
        self._pause = Pause()
        self._max_errors = max_errors
        self._retry_failed = retry_failed
        self._shows = progress
        self._look_ahead = look_ahead
        self._todo: deque[_Job[Any, Any]] = deque()
        self._claims: dict[bytes, list[asyncio.Future[None]] | None] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._tasks: set[_Task[Any, Any]] = set()
        self._fatal: BaseException | None = None
        self._memory: dict[str, str] = {}
        self._last_success = 0.0
        self._remarked = 0.0

    # -- opening and closing -----------------------------------------------------------------

    async def __aenter__(self) -> Engine:
        """Open the journal and meet the model.

        Raises:
            JournalError: The journal is in use, damaged or cannot be written.
            ModelError: The model is not to be had.
            ConfigError: A budget in money for a model without a known price.
        """
        self._journal = Journal(self._journal_path)
        try:
            self._memory = dict(self._journal.about)
            await self.model.start(self._memory)
            self._keep_memory()
            self.price = find_price(self.model.name, table=self._prices)
            if self._cap is not None:
                if self._cap.money is not None and self.price is None:
                    raise ConfigError(
                        f"the price of {self.model.name!r} is not known, so a budget in money cannot be kept; add it to "
                        "a table of prices (LABELSPACE_PRICES), or give the budget in tokens or calls"
                    )
                spent = Spent()
                for account in self._journal.spent.values():
                    spent.add(account)
                self._budget = Budget(self._cap, spent)
        except BaseException:
            await self._close()
            raise
        return self

    def _keep_memory(self) -> None:
        assert self._journal is not None
        for name, value in self._memory.items():
            if self._journal.about.get(name) != value:
                self._journal.remember(name, value)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let calls in flight end, commit their replies, close."""
        self._todo.clear()
        await self._drain()
        await self._close()

    async def _close(self) -> None:
        await self.model.close()
        if self._journal is not None:
            await self._journal.close()
            self._journal = None

    async def _drain(self) -> None:
        """Wait for the calls in flight, which are paid; cancel those that take too long."""
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=_GRACE)
            for worker in late:
                worker.cancel()
            if late:
                await asyncio.wait(late)

    # -- asking ------------------------------------------------------------------------------

    async def ask(
        self, request: Request, parse: Callable[[Reply], Value], *, purpose: str = "ask", version: str = ""
    ) -> Value:
        """Ask one thing, with journal, retries and repairs.

        Args:
            request: What to ask.
            parse: Reads the reply; raises `ReplyError` where it does not say what was asked.
            purpose: What it is for; kept in the journal beside the reply.
            version: Version of the prompt; likewise.

        Raises:
            Unreadable: No reply could be read.
            ModelError: No reply came.
            BudgetExceeded: It does not fit the budget.
        """
        async for outcome in self.map(
            [request], lambda item: item, lambda reply, _: parse(reply), purpose=purpose, version=version, shown=False
        ):
            if outcome.status == "ok":
                return cast("Value", outcome.value)
            kind = Unreadable if outcome.code == "unreadable" else ModelError
            raise kind(f"{self.model.name}: {outcome.reason}")
        raise AssertionError("map yields one outcome for each item")

    async def map(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        make_request: Callable[[Item], Request],
        parse: Callable[[Reply, Item], Value],
        *,
        purpose: str = "map",
        version: str = "",
        shorten: Callable[[Item, int], Request | None] | None = None,
        total: int | None = None,
        shown: bool = True,
    ) -> AsyncIterator[Outcome[Item, Value]]:
        """Ask about each item; yields one outcome for each, in order, as soon as it and all before it are there.

        A row that fails is an outcome, not an exception.

        Args:
            items: Read as needed, never held; a plain iterable that is no list is read in a thread.
            make_request: Makes the request for an item.
            parse: Reads a reply; raises `ReplyError` where it does not say what was asked.
            purpose: What it is for; the title of the progress bar, kept in the journal.
            version: Version of the prompt; likewise kept.
            shorten: Makes a shorter request after the server has said that an item is too long for it:
                gets the item and 1, 2, 3, ... for ever shorter ones, returns None to give up.
            total: How many items there are, where it is known and `items` does not tell.
            shown: Whether progress is shown, where the engine shows it at all.

        Raises:
            ModelError: The model can't be used, or too many rows failed. Replies are kept.
            BudgetExceeded: The budget is spent. Replies are kept.
            JournalError: The journal can't be written.
        """
        task: _Task[Item, Value] = _Task(parse, shorten, f"{purpose}/{version}" if version else purpose)
        source = Source(items)
        window: deque[_Job[Item, Value]] = deque()
        self._tasks.add(task)
        wants: asyncio.Task[list[Item]] | None = None
        bar = Progress(purpose, total=total if total is not None else source.total, shown=self._shows and shown)
        broken: BaseException | None = None
        try:
            with bar:
                while True:
                    # 1. hand out what is done
                    while window and window[0].outcome is not None:
                        outcome = window.popleft().outcome
                        self._count(task, outcome, bar)
                        yield outcome
                    if self._fatal is not None:
                        raise self._fatal
                    # 2. read more
                    room = self._ahead() - len(window)
                    if wants is None and broken is None and not source.ended and room * 2 >= self._ahead():
                        wants = asyncio.ensure_future(source.take(room))
                        await asyncio.sleep(0)
                    if wants is not None and (wants.done() or not window):
                        try:
                            taken = await wants
                        except Exception as error:
                            taken, broken = [], error
                        wants = None
                        self._admit(task, taken, make_request, window)
                        continue
                    if not window:
                        if broken is not None:
                            raise broken
                        if source.ended and wants is None:
                            return
                        continue
                    # 3. wait for the first of the window, or for something to read
                    if window[0].outcome is None:
                        await self._wait(task, window[0], wants)
        finally:
            task.stopped = True
            self._tasks.discard(task)
            source.close()
            if wants is not None:
                wants.cancel()
            if window:
                self._todo = deque(job for job in self._todo if job.task is not task)
                await self._let_end(task)

    def _ahead(self) -> int:
        return self._look_ahead or max(256, 8 * self.concurrency.limit)

    async def _wait(self, task: _Task[Any, Any], head: _Job[Any, Any], wants: asyncio.Task[Any] | None) -> None:
        waiter = task.waiter = asyncio.get_running_loop().create_future()
        task.head = head
        wake = None
        if wants is not None:

            def wake(_: object) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            wants.add_done_callback(wake)
        try:
            await waiter
        finally:
            task.head = task.waiter = None
            if wants is not None and wake is not None:
                wants.remove_done_callback(wake)

    async def _let_end(self, task: _Task[Any, Any]) -> None:
        """Let this task's calls in flight end: they are paid."""
        end = time.monotonic() + _GRACE
        while task.running and self._workers and time.monotonic() < end:
            await asyncio.wait(self._workers, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)

    # -- from items to jobs ------------------------------------------------------------------

    def _admit(
        self,
        task: _Task[Item, Value],
        items: list[Item],
        make_request: Callable[[Item], Request],
        window: deque[_Job[Item, Value]],
    ) -> None:
        """Make jobs of items: replay what the journal has, hand the rest to the workers."""
        assert self._journal is not None
        jobs = []
        for item in items:
            job = _Job(task, item, make_request(item))
            self._set_key(job)
            jobs.append(job)
        claims = self._claims
        found = self._journal.find([job.key for job in jobs])
        for job in jobs:
            window.append(job)
            if job.key in found and job.key not in claims:
                self._replay(job, found[job.key])
                if job.outcome is not None:
                    continue
            # Claimed from here to its commit: the same question in another row waits for this one.
            if job.key not in claims:
                claims[job.key] = None
                job.live = True
            self._todo.append(job)
            self._hire()

    def _set_key(self, job: _Job[Any, Any]) -> None:
        try:
            job.key = key_of(self.model.encode(job.request), job.attempt)
        except (TypeError, ValueError, UnicodeEncodeError):
            # Half of a surrogate pair, from a broken decoder: no server takes it.
            messages = [
                {**message, "content": message["content"].encode("utf-8", "replace").decode()}
                for message in job.request.messages
            ]
            job.request = replace(job.request, messages=cast("Any", messages))
            job.key = key_of(self.model.encode(job.request), job.attempt)

    def _replay(self, job: _Job[Any, Any], data: bytes | None) -> None:
        """Take a job as far as the journal goes."""
        assert self._journal is not None
        while data is not None:
            entry = unpack(data)
            if isinstance(entry, Reply):
                self.stats.reused_replies += 1
            self._step(job, entry)
            if job.outcome is not None:
                if job.outcome.status == "failed" and self._retry_failed and not job.fresh:
                    self._start_over(job)
                    return
                self.stats.reused += 1
                return
            if job.key in self._claims:
                return
            data = self._journal.find([job.key]).get(job.key)

    def _start_over(self, job: _Job[Any, Any]) -> None:
        job.request, job.attempt, job.shortened, job.outcome, job.fresh = job.base, 0, 0, None, True
        self._set_key(job)

    def _step(self, job: _Job[Any, Any], entry: Reply | Failure) -> None:
        """Take in one answer: the job has its outcome then, or its next request."""
        task = job.task
        if isinstance(entry, Failure):
            if entry.kind == "context_length" and task.shorten is not None and job.shortened < _SHORTENINGS:
                job.shortened += 1
                if (shorter := task.shorten(job.item, job.shortened)) is not None:
                    job.request, job.attempt = shorter, 0
                    self._set_key(job)
                    return
            self._fail(job, entry.kind, entry.reason)
            return
        if entry.finish_reason == "content_filter":
            self._fail(job, "content_filter", "refused by the content filter", entry)
            return
        try:
            if not entry.text.strip():
                raise ValueError("the model sent an empty reply")  # noqa: TRY301
            value = task.parse(entry, job.item)
        except ValueError as error:
            self._repair(job, entry, error)
            return
        remark = "the text was shortened to fit the model's context" if job.shortened else None
        job.outcome = Outcome(job.item, value, "ok", remark, None, None, entry)

    def _repair(self, job: _Job[Any, Any], reply: Reply, error: ValueError) -> None:
        if job.attempt >= self._repairs:
            cut = " (the reply was cut off at max_tokens)" if reply.finish_reason == "length" else ""
            self._fail(job, "unreadable", f"{error}{cut}", reply)
            return
        first = job.request if job.attempt == 0 else None
        if first is not None and not job.shortened:
            first = job.base
        job.attempt += 1
        if reply.text.strip():
            start = self._first_request(job)
            job.request = start.repaired(reply.text, str(error))
        self._set_key(job)

    def _first_request(self, job: _Job[Any, Any]) -> Request:
        shorter = job.task.shorten(job.item, job.shortened) if job.shortened and job.task.shorten else None
        return shorter or job.base

    def _fail(self, job: _Job[Any, Any], kind: str, reason: str, reply: Reply | None = None) -> None:
        raw = None if reply is None else reply.text
        job.outcome = Outcome(job.item, None, "failed", reason, _CODES.get(kind, kind), raw, reply)

    def _count(self, task: _Task[Any, Any], outcome: Outcome[Any, Any], bar: Progress) -> None:
        stats = self.stats
        stats.rows += 1
        if outcome.status == "ok":
            stats.ok += 1
        else:
            stats.failed += 1
            code = outcome.code or "failed"
            stats.failures[code] = stats.failures.get(code, 0) + 1
        if bar.shown:
            now = time.monotonic()
            if now - self._remarked > 0.5:
                self._remarked = now
                bar.advance(1, remark=stats.remark(priced=self.price is not None))
            else:
                bar.advance(1)

    # -- the workers -------------------------------------------------------------------------

    def _hire(self) -> None:
        if len(self._workers) < self.concurrency.limit:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Take jobs until there are none, or fewer workers are wanted."""
        todo, concurrency = self._todo, self.concurrency
        while self._fatal is None and len(self._workers) <= concurrency.limit:
            todo = self._todo
            if not todo:
                return
            job = todo.popleft()
            job.task.running += 1
            try:
                await self._answer(job)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._stop(error)
            finally:
                job.task.running -= 1
            task = job.task
            if job is task.head or self._fatal is not None:
                waiter = task.waiter
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
            if concurrency.limit > len(self._workers) and self._todo:
                self._hire()

    def _stop(self, error: BaseException) -> None:
        """Stop everything: nothing more is sent, who waits is told."""
        if self._fatal is None:
            self._fatal = error
        for task in self._tasks:
            if task.waiter is not None and not task.waiter.done():
                task.waiter.set_result(None)

    async def _answer(self, job: _Job[Any, Any]) -> None:
        """Bring one job to its outcome."""
        assert self._journal is not None
        asked = False
        while job.outcome is None and not (job.task.stopped or self._fatal is not None):
            if not job.live and not await self._claim(job):
                continue
            key = job.key
            try:
                entry = await self._call(job)
            finally:
                job.live = False
                self._release(key)
            if entry is None:
                continue
            asked = True
            self._step(job, entry)
            if job.outcome is None and isinstance(entry, Reply):
                self.stats.repairs += 1
        if job.live:
            job.live = False
            self._release(job.key)
        if job.outcome is None:
            return
        if job.outcome.status == "ok" and job.shortened:
            self.stats.shortened += 1
        if not asked and job.outcome.reply is not None:
            self.stats.reused += 1
        self._watch(job.task, job.outcome)

    async def _claim(self, job: _Job[Any, Any]) -> bool:
        """Make sure that nobody else asks the same, and that the journal has not got it; then it is ours."""
        assert self._journal is not None
        key = job.key
        while key in self._claims:
            waiting = self._claims[key]
            if waiting is None:
                waiting = self._claims[key] = []
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
        if not job.fresh:
            data = self._journal.find([key]).get(key)
            if data is not None:
                entry = unpack(data)
                if isinstance(entry, Reply):
                    self.stats.reused_replies += 1
                self._step(job, entry)
                return False
        self._claims[key] = None
        job.live = True
        return True

    def _release(self, key: bytes) -> None:
        for turn in self._claims.pop(key, None) or ():
            if not turn.done():
                turn.set_result(None)

    def _watch(self, task: _Task[Any, Any], outcome: Outcome[Any, Any]) -> None:
        """The circuit breaker: stop where going on is money for nothing."""
        if outcome.status == "ok":
            task.failed_in_row = 0
            task.done_live += 1
            return
        task.failed_in_row += 1
        failed = self.stats.failures_live = self.stats.failures_live + 1
        if self._max_errors is not None and failed > self._max_errors:
            why = f"more than {self._max_errors} rows failed (max_errors)"
        elif task.done_live == 0 and task.failed_in_row >= START_FAILURES:
            why = f"the first {task.failed_in_row} rows all failed"
        elif task.failed_in_row >= ROW_OF_FAILURES:
            why = f"{task.failed_in_row} rows failed one after the other"
        else:
            return
        raise ModelError(f"stopped: {why}; the last: {outcome.reason}; every reply is kept")

    # -- one call ----------------------------------------------------------------------------

    async def _call(self, job: _Job[Any, Any]) -> Reply | Failure | None:
        """Send a job's request until there is an answer; None where it must be asked in another form.

        A reply is committed when this returns. The row's outcome is set where no answer came.
        """
        journal, stats = self._journal, self.stats
        assert journal is not None
        request, sent = job.request, 0
        since = time.monotonic()
        broken = refused = 0
        while True:
            if self._pause.until:
                await self._pause.over()
            if self._rpm is not None:
                await self._rpm.take(1)
            guess = 0.0
            if self._tpm is not None:
                guess = self._guess(request)
                await self._tpm.take(guess)
            most, capped = None, request
            if self._budget is not None:
                capped, most = self._most(request)
                await self._budget.reserve(most)
            if self._fatal is not None:
                if most is not None and self._budget is not None:
                    self._budget.settle(most, Spent())
                return None
            stats.calls += 1
            if sent:
                stats.retries += 1
            sent += 1
            stats.in_flight += 1
            stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
            real: Spent | None = None
            failure: CallFailed | None = None
            try:
                reply = await self.model.complete(capped)
                real = self._cost(reply, most)
            except CallFailed as error:
                failure = error
                if error.charged:
                    real = most or Spent(calls=1)
            finally:
                stats.in_flight -= 1
                if most is not None and self._budget is not None:
                    self._budget.settle(most, real or Spent())
            if real is not None:
                stats.spent.add(real)
                if self._tpm is not None:
                    self._tpm.correct(real.prompt_tokens + real.completion_tokens - guess)
            if failure is None:
                self.concurrency.finished(stats.in_flight)
                stats.replies += 1
                self._last_success = time.monotonic()
                if reply.constraint is not None:
                    stats.constraints[reply.constraint] = stats.constraints.get(reply.constraint, 0) + 1
                await journal.add(job.key, pack(reply), purpose=job.task.purpose, model=self.model.name, spent=real)
                return reply
            # From here on: no reply.
            stats.faults[failure.kind] = stats.faults.get(failure.kind, 0) + 1
            if real is not None:
                await journal.add(None, b"", purpose="", model=self.model.name, spent=real)
            if failure.slow:
                self.concurrency.pushed_back()
            if failure.retry_after is not None:
                self._pause.ask(min(failure.retry_after, self._patience))
            if failure.kind == "adapted":
                self._keep_memory()
                self._set_key_again(job)
                return None
            now = time.monotonic()
            if failure.kind == "busy":
                # Until the server was there once, it may never be: do not wait long for a wrong address.
                patience = self._patience if self._last_success else min(self._patience, 10.0)
                if now - since > patience:
                    if not self._last_success:
                        raise ModelError(f"{self.model.name}: {failure.reason}; is the server up?")
                    self._fail(job, "busy", f"{failure.reason}, for {now - since:.0f} s")
                    return None
                if failure.retry_after is None:
                    await asyncio.sleep(backoff(sent))
            elif failure.kind == "broken":
                broken += 1
                if broken > self._retries:
                    self._fail(job, "broken", f"{failure.reason}, {broken} times")
                    return None
                await asyncio.sleep(backoff(broken))
            elif failure.kind == "rejected" and refused < min(_SECOND_LOOKS, self._retries):
                refused += 1
                await asyncio.sleep(0.02 * refused)
            else:
                final = Failure(failure.kind, failure.reason)
                await journal.add(job.key, pack(final), purpose=job.task.purpose, model=self.model.name, spent=None)
                return final

    def _set_key_again(self, job: _Job[Any, Any]) -> None:
        self._set_key(job)

    def _guess(self, request: Request) -> float:
        """Tokens that a call may take, for the pace."""
        characters = sum(len(message["content"]) for message in request.messages)
        return characters / 4 + min(request.max_tokens or 256, 256)

    def _most(self, request: Request) -> tuple[Request, Spent]:
        """The most that a call can cost: a token is at least a byte, and a reply has a bound."""
        capped = request
        assert self._budget is not None
        cap = self._budget.cap
        if request.max_tokens is None and (cap.money is not None or cap.tokens is not None):
            capped = replace(request, max_tokens=REPLY_CAP)
        prompt, completion = len(self.model.encode(capped)) + 64, (capped.max_tokens or 0) + 16
        money = self.price.of(prompt, completion) if self.price is not None else 0.0
        return capped, Spent(1, prompt, completion, money)

    def _cost(self, reply: Reply, most: Spent | None) -> Spent:
        """What a reply did cost; where the server does not say, the most that it can have."""
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if prompt is None or completion is None:
            if most is not None:
                return most
            prompt, completion = prompt or 0, completion or 0
        money = self.price.of(prompt, completion) if self.price is not None else 0.0
        return Spent(1, prompt, completion, money)
