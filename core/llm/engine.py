"""The labeling engine: bounded work in flight, ordered results, and no reply paid twice.

An item goes this way: its request is made and hashed; what the journal has is read from there,
through the whole chain of repairs; what is missing goes to a worker, which sends it, waits until the
reply is committed, and reads it. Results leave in the order in which the items came.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from labelspace.errors import ConfigError, ModelError
from labelspace.llm.budget import Budget, Cap
from labelspace.llm.calls import Caller
from labelspace.llm.connect import connect
from labelspace.llm.estimate import Estimate, estimate
from labelspace.llm.journal import Journal
from labelspace.llm.limits import Concurrency
from labelspace.llm.prices import Price, find_price
from labelspace.llm.request import ChatModel, Item, Outcome, Reply, Request, Unreadable, Value
from labelspace.llm.rows import Row, Task
from labelspace.llm.source import Source
from labelspace.llm.stats import Stats
from labelspace.llm.workers import Workers
from labelspace.progress import Progress

_READ = 256
"""Items read and looked up together."""


class Engine:
    """Asks a model, each question once.

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
            max_errors: Failed rows that are borne; one more stops the run.
            retry_failed: Ask again the rows that an earlier run on this journal gave up.
            progress: Show the progress of each `map` on stderr.
            look_ahead: Rows read ahead of the next result.
        """
        if min(retries, repairs) < 0 or patience < 0:
            raise ConfigError(f"retries, repairs and patience are 0 or more, not {retries}, {repairs}, {patience}")
        self.model = connect(model) if isinstance(model, str) else model
        self.stats = Stats()
        # A batch API wants thousands of requests at once, and there is nothing to find out.
        together = getattr(self.model, "together", None) if concurrency == "auto" else None
        self.concurrency = Concurrency(together or concurrency)
        self.price: Price | None = None
        self._path, self._cap, self._prices = journal, Cap.parse(budget), prices
        self._settings = {"retries": retries, "patience": patience, "rpm": rpm, "tpm": tpm}
        self._bounds = {"repairs": repairs, "max_errors": max_errors, "retry_failed": retry_failed}
        self._shows, self._look_ahead = progress, look_ahead
        self._remarked = 0.0

    # -- opening and closing -----------------------------------------------------------------

    async def __aenter__(self) -> Engine:
        """Open the journal and meet the model.

        Raises:
            JournalError: The journal is in use, damaged or cannot be written.
            ModelError: The model is not to be had.
            ConfigError: A budget in money for a model without a known price.
        """
        self.journal = Journal(self._path)
        try:
            await self.model.start(self.journal.about)
            self.price = find_price(self.model.name, table=self._prices)
            self._caller = Caller(
                self.model,
                self.journal,
                self.stats,
                concurrency=self.concurrency,
                price=self.price,
                budget=self._make_budget(),
                **cast("Any", self._settings),
            )
            self._workers = Workers(self._caller, **cast("Any", self._bounds))
        except BaseException:
            await self._close()
            raise
        return self

    def _make_budget(self) -> Budget | None:
        if self._cap is None:
            return None
        if self._cap.money is not None and self.price is None:
            raise ConfigError(
                f"the price of {self.model.name!r} is not known, so a budget in money cannot be kept; add it to a "
                "table of prices (LABELSPACE_PRICES), or give the budget in tokens or calls"
            )
        return Budget(self._cap, self.journal.total)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let calls in flight end, commit their replies, close."""
        self._caller.stopped = True
        try:
            await self._workers.let_end(None)
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            await self.model.close()
        finally:
            self.journal.close()

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
        answers = self.map(
            [request], lambda item: item, lambda reply, _: parse(reply), purpose=purpose, version=version, shown=False
        )
        async for outcome in answers:
            if outcome.status == "ok":
                return cast("Value", outcome.value)
            error = Unreadable if outcome.code == "unreadable" else ModelError
            raise error(f"{self.model.name}: {outcome.reason}")
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
        """Ask about each item; yields one outcome for each, in order, once it and all before it are there.

        A row that fails is an outcome, not an exception.

        Args:
            items: Read as needed, never held. An iterable that is no list is read in a thread.
            make_request: Makes the request for an item.
            parse: Reads a reply; raises `ReplyError` where it does not say what was asked.
            purpose: What it is for; title of the progress bar, and kept in the journal.
            version: Version of the prompt; likewise kept.
            shorten: Makes a shorter request where the server says that an item is too long for it:
                gets the item and 1, 2, 3, ... for ever shorter ones, returns None to give up.
            total: How many items there are, where that is known and `items` does not tell.
            shown: Whether progress is shown, where the engine shows it at all.

        Raises:
            ModelError: The model can't be used, or too many rows failed. Replies are kept.
            BudgetExceeded: The budget is spent. Replies are kept.
            JournalError: The journal can't be written.
        """
        task: Task[Item, Value] = Task(parse, shorten, f"{purpose}/{version}" if version else purpose)
        source = Source(items)
        window: deque[Row[Item, Value]] = deque()
        coming: asyncio.Future[list[Item]] | None = None
        error: Exception | None = None
        most = min(_READ, self.concurrency.limit)  # the first calls start before more is read
        self._workers.tasks.add(task)
        try:
            with Progress(purpose, total=total or source.total, shown=self._shows and shown) as bar:
                while True:
                    while window and (outcome := window[0].outcome) is not None:
                        window.popleft()
                        self._count(outcome, bar)
                        yield outcome
                    if self._workers.fatal is not None:
                        raise self._workers.fatal
                    ahead = self._look_ahead or _ahead(self.concurrency.limit)
                    enough = max(_READ, 4 * self.concurrency.limit)
                    room = min(most, ahead - len(window), enough - task.left)
                    task.low = enough - most // 2
                    if coming is None and not source.ended and 2 * room >= min(most, ahead):
                        coming = asyncio.ensure_future(source.take(room))
                        await asyncio.sleep(0)
                    if coming is not None and (coming.done() or not window):
                        try:
                            taken = await coming
                        except Exception as failure:  # raised below, after what was read before it
                            taken, error = [], failure
                        coming, most = None, _READ
                        self._workers.admit(task, taken, make_request, window)
                    elif window:
                        await self._first_of(task, window, coming)
                    elif error is not None:
                        raise error
                    elif source.ended:
                        return
        finally:
            task.stopped = True
            self._workers.tasks.discard(task)
            source.close()
            if coming is not None:
                coming.cancel()
            if window:
                await self._workers.abandon(task)

    def known(
        self,
        items: Iterable[Item],
        make_request: Callable[[Item], Request],
        parse: Callable[[Reply, Item], Value],
        *,
        shorten: Callable[[Item, int], Request | None] | None = None,
    ) -> Iterator[Outcome[Item, Value] | None]:
        """What the journal alone tells of each item: its outcome, or None where something would have to be asked.

        For the rows that are left when a run has stopped early. Nothing is sent; arguments as for `map`.
        """
        task: Task[Item, Value] = Task(parse, shorten, "")
        silent, left = Progress("", shown=False), iter(items)
        while taken := list(islice(left, _READ)):
            rows = [Row(task, item, make_request(item)) for item in taken]
            for row in rows:
                row.hash(self.model, self._caller.form)
            found = self.journal.find([row.key for row in rows])
            for row in rows:
                self._workers.replay(row, found.get(row.key))
                if row.outcome is not None:
                    self._count(row.outcome, silent)
                yield row.outcome

    def estimate(self, items: Iterable[Item], make_request: Callable[[Item], Request]) -> Estimate:
        """What `map` over these items would ask and cost; nothing is sent."""
        return estimate(self.model, self.journal, items, make_request, price=self.price)

    def to_data(self) -> dict[str, Any]:
        """Everything that a run.json needs to know; no key is in it."""
        spent = self.journal.total
        dialect = getattr(self.model, "dialect", None)
        return {
            "model": self.model.name,
            "address": getattr(self.model, "address", None),
            "server": getattr(self.model, "server", None),
            "constraint": getattr(dialect, "constraint", None),
            "concurrency": "auto" if self.concurrency.adapts else self.concurrency.limit,
            "budget": None if self._cap is None else str(self._cap),
            "price": None if self.price is None else {"input": self.price.prompt, "output": self.price.completion},
            **self.stats.to_data(),
            "journal": {
                "path": None if self._path is None else str(self._path),
                "calls": spent.calls,
                "prompt_tokens": spent.prompt_tokens,
                "completion_tokens": spent.completion_tokens,
                "usd": round(spent.money, 6),
            },
        }

    async def _first_of(
        self, task: Task[Any, Any], window: deque[Row[Any, Any]], coming: asyncio.Future[Any] | None
    ) -> None:
        """Wait for the first row of the window, or for something to read."""
        if window[0].outcome is not None:
            return
        task.awaited = window[0]
        task.waiter = asyncio.get_running_loop().create_future()
        if coming is not None:
            coming.add_done_callback(lambda _: task.wake())
        try:
            await task.waiter
        finally:
            task.awaited = task.waiter = None

    def _count(self, outcome: Outcome[Any, Any], bar: Progress) -> None:
        self.stats.count(outcome)
        if bar.shown:
            now, remark = time.monotonic(), None
            if now - self._remarked > 0.5:
                self._remarked = now
                remark = self.stats.remark(priced=self.price is not None)
            bar.advance(1, remark=remark)


def _ahead(limit: int) -> int:
    """Rows to hold: enough to keep all calls busy while the first of them is slow, and no more."""
    return max(1024, min(16 * limit, limit + 16_384))
