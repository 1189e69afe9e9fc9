"""How fast to ask: calls in flight, requests and tokens a minute, and everybody's wait after a pushback."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Literal

from labelspace.errors import ConfigError

HIGHEST = 512
"""Calls in flight that `auto` never passes."""
_FIRST = 16
_GAIN = 1.05
_EPOCH = 0.25
_PROBE_EVERY = 12


class Concurrency:
    """How many calls may be in flight.

    A fixed number stays. `auto` doubles for as long as the rate of finished calls gains from it, then
    climbs by steps of an eighth, goes back where a step brought nothing, tries again now and then,
    and halves at a pushback or a timeout.
    """

    def __init__(self, setting: int | Literal["auto"]) -> None:
        """Take a number or "auto"."""
        if setting != "auto" and (not isinstance(setting, int) or setting < 1):
            raise ConfigError(f"concurrency is a number from 1 or 'auto', not {setting!r}")
        self.adapts = setting == "auto"
        self.limit = _FIRST if setting == "auto" else int(setting)
        self.highest = self.limit
        self._since = time.monotonic()
        self._done = 0
        self._full = False
        self._best = 0.0
        self._before = self.limit
        self._doubling = True
        self._holding = 0
        self._halved = 0.0

    def finished(self, in_flight: int) -> None:
        """Count a finished call; at the end of an epoch the limit may change."""
        if not self.adapts:
            return
        self._done += 1
        self._full = self._full or in_flight + 1 >= self.limit
        if self._done < 2 * self.limit:
            return
        now = time.monotonic()
        if now - self._since < _EPOCH:
            return
        rate, full = self._done / (now - self._since), self._full
        self._since, self._done, self._full = now, 0, False
        if full:  # otherwise the caller has too little work for the limit to matter
            self._adjust(rate)

    def _adjust(self, rate: float) -> None:
        if self._holding:
            self._holding -= 1
            self._best = 0.8 * self._best + 0.2 * rate
            if not self._holding:
                self._step()
        elif rate > self._best * _GAIN:
            self._best = rate
            self._step()
        else:
            self.limit, self._doubling, self._holding = self._before, False, _PROBE_EVERY

    def _step(self) -> None:
        self._before = self.limit
        self.limit = min(HIGHEST, self.limit * 2 if self._doubling else self.limit + max(1, self.limit // 8))
        self.highest = max(self.highest, self.limit)

    def pushed_back(self) -> None:
        """The server is overloaded: halve, at most once in the time that calls need to notice."""
        now = time.monotonic()
        if self.adapts and now - self._halved > 1.0:
            self._halved = now
            self.limit = self._before = max(1, self.limit // 2)
            self._best, self._doubling, self._holding = 0.0, False, 2
            self._since, self._done, self._full = now, 0, False


class Pace:
    """At most so many units a minute, evenly spread."""

    def __init__(self, per_minute: float, what: str) -> None:
        """Take a rate above zero."""
        if per_minute <= 0:
            raise ConfigError(f"{what} is a number above 0, not {per_minute}")
        self._seconds = 60.0 / per_minute
        self._next = 0.0

    async def take(self, units: float) -> None:
        """Wait for the turn of `units`."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + units * self._seconds
        if turn > now:
            await asyncio.sleep(turn - now)

    def correct(self, units: float) -> None:
        """Take note that `units` more (or less) were used than taken."""
        self._next += units * self._seconds


class Pause:
    """A wait that the server asked for, obeyed by everybody."""

    def __init__(self) -> None:
        """Start without one."""
        self.until = 0.0

    def ask(self, seconds: float) -> None:
        """Nobody sends for so many seconds."""
        self.until = max(self.until, time.monotonic() + seconds)

    async def over(self) -> None:
        """Wait for the end of the pause; those who waited do not all start at once."""
        while (left := self.until - time.monotonic()) > 0:
            await asyncio.sleep(left * random.uniform(1.0, 1.1))


def backoff(tries: int, *, longest: float = 30.0) -> float:
    """Seconds to wait after `tries` earlier waits: doubling from a quarter of a second, with jitter."""
    return float(min(longest, 0.25 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))
