"""What partitions have cost, what each may still cost, and the figures of all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labelspace.agents.labeling.ray_worker import Partition
from labelspace.llm.budget import Cap
from labelspace.llm.journal import Journal, Spent

_NOT_ADDED = ("concurrency", "price", "seconds", "rows_per_second", "model", "address", "server")


def spent_on(partition: Partition) -> Spent:
    """What a partition's journal has cost so far."""
    total, path = Spent(), partition.path("journal.sqlite")
    if path.exists():
        journal = Journal(path)
        for account in journal.spent.values():
            total.add(account)
        journal.close()
    return total


def share_of(cap: Cap, spent: Iterable[Spent], parts: int) -> Cap:
    """An equal part of what is left of a budget."""
    total = Spent()
    for one in spent:
        total.add(one)
    tokens, parts = total.prompt_tokens + total.completion_tokens, max(parts, 1)
    return Cap(
        money=None if cap.money is None else max(cap.money - total.money, 0.0) / parts,
        tokens=None if cap.tokens is None else max(cap.tokens - tokens, 0) // parts,
        calls=None if cap.calls is None else max(cap.calls - total.calls, 0) // parts,
    )


def with_spent(share: Cap, spent: Spent) -> Cap:
    """A journal's own budget: what it has cost, and its share of what is left."""
    return Cap(
        money=None if share.money is None else share.money + spent.money,
        tokens=None if share.tokens is None else share.tokens + spent.prompt_tokens + spent.completion_tokens,
        calls=None if share.calls is None else share.calls + spent.calls,
    )


def add_up(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add figures up, and keep the first of what is no figure."""
    for name, value in more.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            if not isinstance(known, dict):
                known = total[name] = {}
            add_up(known, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name not in _NOT_ADDED:
            total[name] = (known or 0) + value
        elif name not in total and name not in ("seconds", "rows_per_second", "path"):
            total[name] = value
