"""Where a run stands: figures for the progress line and for run.json."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from labelspace.llm.journal import Spent
from labelspace.llm.request import Outcome


@dataclass
class Stats:
    """Counted since the engine was opened."""

    rows: int = 0
    ok: int = 0
    failed: int = 0
    reused: int = 0
    """Rows that needed no call."""
    calls: int = 0
    """Requests sent."""
    replies: int = 0
    """Replies that came."""
    reused_replies: int = 0
    retries: int = 0
    """Requests sent again because the one before brought no reply."""
    repairs: int = 0
    """Requests sent again because the reply could not be read."""
    shortened: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    spent: Spent = field(default_factory=Spent)
    faults: dict[str, int] = field(default_factory=dict)
    """How often each kind of fault was met."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed rows by code."""
    constraints: dict[str, int] = field(default_factory=dict)
    """Replies by the way they were held to their form."""
    failed_live: int = 0
    """Failed rows that were asked about in this run."""
    started: float = field(default_factory=time.monotonic)

    def count(self, outcome: Outcome[Any, Any]) -> None:
        """Count a row that has come to its end."""
        self.rows += 1
        if outcome.status == "ok":
            self.ok += 1
        else:
            self.failed += 1
            code = outcome.code or "failed"
            self.failures[code] = self.failures.get(code, 0) + 1

    def to_data(self) -> dict[str, Any]:
        """Plain data for run.json."""
        seconds = time.monotonic() - self.started
        spent = self.spent
        return {
            "rows": self.rows,
            "ok": self.ok,
            "failed": self.failed,
            "failed_now": self.failed_live,
            "reused": self.reused,
            "calls": self.calls,
            "replies": self.replies,
            "reused_replies": self.reused_replies,
            "retries": self.retries,
            "repairs": self.repairs,
            "shortened": self.shortened,
            "most_in_flight": self.most_in_flight,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "usd": round(spent.money, 6),
            "faults": dict(self.faults),
            "failures": dict(self.failures),
            "constraints": dict(self.constraints),
            "seconds": round(seconds, 3),
            "rows_per_second": round(self.rows / seconds, 2) if seconds > 0 else 0.0,
        }

    def remark(self, *, priced: bool) -> str:
        """The live figures behind a progress bar."""
        parts = [f"{self.in_flight} in flight"]
        for count, name in (
            (self.reused, "reused"),
            (self.retries + self.repairs, "asked again"),
            (self.failed, "failed"),
        ):
            if count:
                parts.append(f"{count:,} {name}")
        if priced:
            parts.append(f"${self.spent.money:.4f}")
        elif tokens := self.spent.prompt_tokens + self.spent.completion_tokens:
            parts.append(f"{tokens:,} tokens")
        return ", ".join(parts)
