"""How good a ranking of tools is, how long it takes, and what it saves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.retriever import Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.errors import DataError
from labelspace.metrics.intervals import wilson


def recall_at(ranked: Sequence[str], needed: Iterable[str], k: int) -> float:
    """Share of the needed tools among the first k. With more needed than k it cannot reach 1."""
    wanted = set(needed)
    return len(wanted & set(ranked[:k])) / len(wanted)


def ndcg_at(ranked: Sequence[str], needed: Iterable[str], k: int) -> float:
    """Gain of each needed tool among the first k, 1 / log2(1 + rank), over the highest that is possible."""
    wanted = set(needed)
    gain = sum(1 / np.log2(2 + i) for i, name in enumerate(ranked[:k]) if name in wanted)
    return float(gain / sum(1 / np.log2(2 + i) for i in range(min(k, len(wanted)))))


def complete_at(ranked: Sequence[str], needed: Iterable[str], k: int) -> float:
    """1 where all needed tools are among the first k, else 0."""
    return float(set(needed) <= set(ranked[:k]))


MEASURES = {"recall": recall_at, "ndcg": ndcg_at, "complete": complete_at}


@dataclass(frozen=True)
class RetrievalReport:
    """What a retriever did on queries whose tools are known."""

    retriever: str
    queries: int
    scores: Mapping[str, float]
    """`recall@5` and the like, means over the queries."""
    milliseconds: float
    """Median time of one query alone, its embedding included."""
    tokens: int
    """Tokens of all tools in a prompt, roughly."""
    tokens_at: Mapping[int, float] = field(default_factory=dict)
    """Tokens of the k tools found, roughly; mean over the queries."""
    unknown: int = 0
    """Needed tools that the tool set does not have: they count as missed."""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "retriever": self.retriever,
            "queries": self.queries,
            **{name: round(value, 4) for name, value in self.scores.items()},
            "milliseconds": round(self.milliseconds, 3),
            "tokens": self.tokens,
            "tokens_at": {str(k): round(value, 1) for k, value in self.tokens_at.items()},
            "unknown": self.unknown,
        }

    def text(self) -> str:
        """Lines for a terminal."""
        ks = list(self.tokens_at)
        lines = [f"{self.retriever}: {self.queries:,} queries, {self.milliseconds:.2f} ms a query (median)", ""]
        lines.append(f"{'':10}" + "".join(f"{'@' + str(k):>8}" for k in ks))
        for name in MEASURES:
            lines.append(f"{name:10}" + "".join(f"{self.scores[f'{name}@{k}']:8.3f}" for k in ks))
        saved = (f"{1 - self.tokens_at[k] / max(self.tokens, 1):8.1%}" for k in ks)
        lines.append(f"{'saved':10}" + "".join(saved))
        lines += ["", f"saved: prompt tokens not spent on the other tools; all tools take about {self.tokens:,} tokens"]
        if self.unknown:
            lines.append(f"{self.unknown:,} needed tools are not in the tool set; they count as missed")
        return "\n".join(lines)


def evaluate_retriever(
    retriever: Retriever, usages: Sequence[Usage], tools: ToolSet, *, ks: Sequence[int] = (1, 3, 5, 10), timed: int = 50
) -> RetrievalReport:
    """Measure a retriever.

    Args:
        retriever: What to measure.
        usages: Queries with their tools; those that need none are left out.
        tools: The tools, for what their schemas take in a prompt.
        ks: How many tools are shown to the agent.
        timed: Queries that are asked once more, one by one, for the time.

    Raises:
        DataError: No query needs a tool.
    """
    asked = [usage for usage in usages if usage.tools]
    if not asked:
        raise DataError(
            "no query needs a tool, so there is no ranking to measure",
            advice="--choose measures how often it is said that no tool fits",
        )
    queries = [usage.query for usage in asked]
    rankings = [[name for name, _ in ranking] for ranking in retriever.search(queries, max(ks))]
    scores = {
        f"{name}@{k}": float(np.mean([measure(r, u.tools, k) for r, u in zip(rankings, asked, strict=True)]))
        for name, measure in MEASURES.items()
        for k in ks
    }
    weight = {tool.name: tool.tokens for tool in tools}
    taken = {k: float(np.mean([sum(weight[name] for name in r[:k]) for r in rankings])) for k in ks}
    return RetrievalReport(
        retriever.name,
        len(asked),
        scores,
        median_milliseconds(retriever, queries[:timed]),
        sum(weight.values()),
        taken,
        sum(name not in weight for usage in asked for name in usage.tools),
    )


def median_milliseconds(retriever: Retriever, queries: Sequence[str], *, k: int = 5) -> float:
    """Median time of one query, asked alone; the first one warms up."""
    retriever.search(queries[:1], k)
    times = []
    for query in queries:
        started = time.perf_counter()
        retriever.search([query], k)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))


@dataclass(frozen=True)
class ChoiceReport:
    """What a chooser did: are all needed tools in its sets, how large are they, does it say where none fits?"""

    coverage: float
    """Promised."""
    false_alarms: float
    """Promised, at most."""
    asked: int
    """Queries that need a tool."""
    complete: int
    """Those of them whose set has all that they need."""
    alarms: int
    """Those of them of which it was said that no tool fits."""
    size: float
    """Tools in a set, mean over the queries that need one."""
    irrelevant: int = 0
    """Queries that need no tool."""
    recognised: int = 0
    """Those of them of which it was said that no tool fits."""

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; rates with their 95 % intervals (Wilson)."""
        return {
            "promised": {"coverage": self.coverage, "false_alarms": self.false_alarms},
            "complete": _rate(self.complete, self.asked),
            "false_alarms": _rate(self.alarms, self.asked),
            "size": round(self.size, 3) if self.asked else None,
            "recognised": _rate(self.recognised, self.irrelevant),
        }

    def text(self) -> str:
        """Lines for a terminal."""
        lines = []
        if self.asked:
            lines += [
                f"as many as are needed: {self.size:.2f} tools on average, for {self.asked:,} queries that need any",
                f"  all needed tools taken  {_shown(self.complete, self.asked)}, promised at least {self.coverage:.1%}",
                f"  said that none fits     {_shown(self.alarms, self.asked)}, promised at most "
                f"{self.false_alarms:.1%}",
            ]
        if self.irrelevant:
            lines += [
                f"no tool needed: {self.irrelevant:,} queries",
                f"  said that none fits     {_shown(self.recognised, self.irrelevant)}",
            ]
        return "\n".join(lines)


def evaluate_chooser(chooser: ToolChooser, usages: Sequence[Usage]) -> ChoiceReport:
    """Measure a chooser on usages, also those that need no tool."""
    chosen = chooser.choose([usage.query for usage in usages])
    asked = [(set(usage.tools), taken) for usage, taken in zip(usages, chosen, strict=True) if usage.tools]
    none = [taken for usage, taken in zip(usages, chosen, strict=True) if not usage.tools]
    return ChoiceReport(
        chooser.thresholds.coverage,
        chooser.thresholds.false_alarms,
        len(asked),
        sum(needed <= set(taken) for needed, taken in asked),
        sum(not taken for _, taken in asked),
        float(np.mean([len(taken) for _, taken in asked])) if asked else 0.0,
        len(none),
        sum(not taken for taken in none),
    )


def _rate(part: int, whole: int) -> dict[str, Any] | None:
    if not whole:
        return None
    low, high = wilson(part, whole)
    return {"rate": round(part / whole, 4), "low": round(low, 4), "high": round(high, 4), "of": whole}


def _shown(part: int, whole: int) -> str:
    if not whole:
        return "-"
    low, high = wilson(part, whole)
    return f"{part / whole:.1%} ({low:.1%} to {high:.1%})"
