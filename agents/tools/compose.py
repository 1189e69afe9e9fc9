"""Queries that need several tools, composed of queries that need one each.

People mostly ask for one thing at a time, so usage data is mostly of one tool, and a classifier trained on
it learns that there is always exactly one. Joining two queries costs nothing, and what the joined query
needs is known: the tools of both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from labelspace.agents.tools.usage import Usage

JOINS = (" and ", ", and also ", ". ", ". Also, ", ". Then ", ", then ", " as well as ", "? ")


def compose(usages: Sequence[Usage], *, rounds: int = 1, share: float = 0.3, seed: int = 0) -> list[Usage]:
    """Pass over the usages several times, in a new order each time, and join some with another.

    Args:
        usages: Queries with the tools that they need.
        rounds: How often each usage comes.
        share: How many of them are joined with a usage of another tool; its tool is drawn first, so that
            rare tools are joined as often as common ones.
        seed: Of the order and the pairs.
    """
    draw = random.Random(seed)
    by_tool: dict[str, list[Usage]] = {}
    for usage in usages:
        for tool in usage.tools:
            by_tool.setdefault(tool, []).append(usage)
    tools = sorted(by_tool)
    made: list[Usage] = []
    for _ in range(rounds):
        order = list(usages)
        draw.shuffle(order)
        for usage in order:
            others = [] if draw.random() >= share else [tool for tool in _some(draw, tools) if tool not in usage.tools]
            made.append(join(usage, draw.choice(by_tool[others[0]]), draw=draw) if others else usage)
    return made


def join(one: Usage, two: Usage, *, draw: random.Random) -> Usage:
    """One query out of two, in either order; it needs the tools of both."""
    first, second = (one.query, two.query) if draw.random() < 0.5 else (two.query, one.query)
    glue = draw.choice(JOINS)
    second = second.strip()
    if not glue.startswith(("?", ". ")) and draw.random() < 0.8:
        second = second[:1].lower() + second[1:]
    return Usage(first.strip().rstrip(".?!") + glue + second, tuple(dict.fromkeys((*one.tools, *two.tools))))


def _some(draw: random.Random, tools: Sequence[str]) -> list[str]:
    """A few tools at random: enough that one of them is new."""
    return [draw.choice(tools) for _ in range(8)]
