"""The workers of an engine: they bring rows to their outcomes, one question never asked twice."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from labelspace.llm.calls import Caller
from labelspace.llm.entries import unpack
from labelspace.llm.request import Item, Outcome, Reply, Request, Stopped, Value
from labelspace.llm.rows import Row, Task

FAILED_AT_START = 20
"""So many rows failed at the start, and none done: the run stops."""
FAILED_IN_ROW = 100
"""So many rows failed one after the other, at any time: the run stops."""
GRACE = 30.0
"""Seconds that calls in flight get to end when a run is stopped: they are paid."""


class Workers:
    """As many at work as calls may be in flight; they come with work and leave without."""

    def __init__(self, caller: Caller, *, repairs: int, max_errors: int | None, retry_failed: bool) -> None:
        """Take what sends calls, and when to give up."""
        self._caller, self._repairs = caller, repairs
        self._max_errors, self._retry_failed = max_errors, retry_failed
        self._todo: deque[Row[Any, Any]] = deque()
        self._claims: dict[bytes, list[asyncio.Future[None]] | None] = {}
        """Keys that are being asked, and who waits for their answers."""
        self._renewed: set[bytes] = set()
        """Keys that were asked again in this run: what the journal has is new."""
        self._workers: dict[asyncio.Task[None], Row[Any, Any] | None] = {}
        self._staff = 0
        self.tasks: set[Task[Any, Any]] = set()
        self.fatal: Exception | None = None
        """What ended it all; to be raised to whoever reads results."""

    def admit(
        self,
        task: Task[Item, Value],
        items: list[Item],
        make_request: Callable[[Item], Request],
        window: deque[Row[Item, Value]],
    ) -> None:
        """Make rows of items: replay what the journal has, hand the rest to the workers."""
        rows = []
        for item in items:
            row = Row(task, item, make_request(item))
            row.hash(self._caller.model, self._caller.form)
            rows.append(row)
        found = self._caller.journal.find([row.key for row in rows])
        for row in rows:
            window.append(row)
            if row.key not in self._claims:
                self.replay(row, found.get(row.key))
                if row.outcome is not None:
                    continue
                # From here to its commit the same question in another row waits for this one.
                if row.key not in self._claims:
                    self._claims[row.key] = None
                    row.claimed = True
            task.left += 1
            self._todo.append(row)
            self._hire()

    def replay(self, row: Row[Any, Any], data: bytes | None) -> None:
        """Take a row as far as the journal goes."""
        while data is not None:
            answer = unpack(data)
            self._caller.stats.reused_replies += isinstance(answer, Reply)
            row.advance(answer, self._repairs)
            if row.outcome is not None and not (row.outcome.status == "failed" and self._may_retry(row)):
                self._caller.stats.reused += 1
                return
            if row.outcome is not None:
                row.start_over()
                row.hash(self._caller.model, self._caller.form)
                return
            row.hash(self._caller.model, self._caller.form)
            data = None if row.key in self._claims else self._caller.journal.find([row.key]).get(row.key)

    def _may_retry(self, row: Row[Any, Any]) -> bool:
        return self._retry_failed and not row.fresh

    def _hire(self) -> None:
        if self._staff < self._caller.concurrency.limit and self.fatal is None:
            self._staff += 1
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers[worker] = None
            worker.add_done_callback(self._workers.pop)

    async def _work(self) -> None:
        """Answer rows until there are none, or fewer workers are wanted."""
        me = asyncio.current_task()
        assert me is not None
        try:
            while self._todo and self.fatal is None and self._staff <= self._caller.concurrency.limit:
                row = self._workers[me] = self._todo.popleft()
                await self._answer(row)
                row.task.left -= 1
                if row is row.task.awaited or row.task.left == row.task.low:
                    row.task.wake()
                if self._todo:
                    self._hire()
        except Exception as error:  # raised to whoever reads the results
            self._stop(error)
        finally:
            self._staff -= 1

    def _stop(self, error: Exception) -> None:
        """Send nothing more, and tell who waits."""
        self.fatal = self.fatal or error
        self._caller.stopped = True
        for task in self.tasks:
            task.wake()

    async def _answer(self, row: Row[Any, Any]) -> None:
        """Bring one row to its outcome."""
        task, caller, asked = row.task, self._caller, False
        try:
            while row.outcome is None and not (task.stopped or caller.stopped):
                if row.form != caller.form:
                    self._release(row)
                    row.hash(self._caller.model, caller.form)
                if not row.claimed and not await self._claim(row):
                    continue
                answer = await caller.call(row.request, row.key, purpose=task.purpose, form=row.form)
                if row.fresh:
                    self._renewed.add(row.key)
                self._release(row)
                if answer is None:
                    continue
                asked = True
                row.advance(answer, self._repairs)
                if row.outcome is None:
                    self._caller.stats.repairs += isinstance(answer, Reply)
                    row.hash(self._caller.model, caller.form)
        finally:
            self._release(row)
        if row.outcome is None:
            return
        if not asked:
            self._caller.stats.reused += 1
            return
        self._caller.stats.shortened += bool(row.shortened)
        self._watch(task, row.outcome)

    async def _claim(self, row: Row[Any, Any]) -> bool:
        """Make sure that nobody else asks the same and that the journal has not got it; then it is ours to ask."""
        key = row.key
        while key in self._claims:
            waiting = self._claims[key]
            if waiting is None:
                waiting = self._claims[key] = []
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
        if not row.fresh or key in self._renewed:
            data = self._caller.journal.find([key]).get(key)
            if data is not None:
                answer = unpack(data)
                self._caller.stats.reused_replies += isinstance(answer, Reply)
                row.advance(answer, self._repairs)
                if row.outcome is None:
                    row.hash(self._caller.model, self._caller.form)
                return False
        self._claims[key] = None
        row.claimed = True
        return True

    def _release(self, row: Row[Any, Any]) -> None:
        if row.claimed:
            row.claimed = False
            for turn in self._claims.pop(row.key, None) or ():
                if not turn.done():
                    turn.set_result(None)

    def _watch(self, task: Task[Any, Any], outcome: Outcome[Any, Any]) -> None:
        """The circuit breaker: stop where going on is money for nothing."""
        if outcome.status == "ok":
            task.failed_in_row = 0
            task.done += 1
            return
        task.failed_in_row += 1
        self._caller.stats.failed_live += 1
        if self._max_errors is not None and self._caller.stats.failed_live > self._max_errors:
            why = f"more than {self._max_errors} rows failed (max_errors)"
        elif task.done == 0 and task.failed_in_row >= FAILED_AT_START:
            why = f"the first {task.failed_in_row} rows all failed"
        elif task.failed_in_row >= FAILED_IN_ROW:
            why = f"{task.failed_in_row} rows failed one after the other"
        else:
            return
        raise Stopped(f"stopped: {why}; the last one: {outcome.reason}; everything paid is kept")

    # -- stopping ----------------------------------------------------------------------------

    async def abandon(self, task: Task[Any, Any]) -> None:
        """Give up what is left of a task, save what is in flight."""
        left = deque(row for row in self._todo if row.task is not task)
        for row in self._todo:
            if row.task is task and row.claimed:
                self._release(row)
        self._todo = left
        await self.let_end(task)

    async def let_end(self, task: Task[Any, Any] | None) -> None:
        """Wait for a task's calls in flight, which are paid; its workers that only wait are sent home."""
        end = time.monotonic() + GRACE
        while True:
            at_work = [worker for worker, row in self._workers.items() if task is None or (row and row.task is task)]
            if not at_work:
                break
            for worker in at_work:
                if worker not in self._caller.paying or time.monotonic() > end:
                    worker.cancel()
            await asyncio.wait(at_work, timeout=0.05)
        for _ in range(min(len(self._todo), self._caller.concurrency.limit)):
            self._hire()
