"""Requests for two tools each, that a language model wrote: what `tools_table` learns from, and weighs by.

People who ask for two things at once are rare in usage data, and two queries joined by us are not what they say. The
model saw sets of tools and no query of the benchmark.

- To weigh and measure by: it saw names and descriptions, four tools near each other and the others at random, wrote
  four at once, polished and judged them.
- To learn from: it saw of each tool the words too that set its usage in `train` apart, some tools near each other and
  the others as often as they are used, and wrote eight at once, a third of them general. (All but two of the first
  kind passed polishing and judging, so that these were left as they are.) No two tools of the first kind's are paired.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelspace.agents.tools.bm25 import words
from labelspace.agents.tools.synthesis import UsageWriter
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.progress import note
from labelspace.recipes._recorded import model_or_replies

NEEDED, BATCH = 2, 200
"""Tools of a request, calls at once."""
PROMPTS = Path(__file__).parent / "pairs_prompts"
MEASURED = {"shown": 10, "together": 4, "batch": 100}
"""Tools that are shown and requests of a call, where they are to weigh and measure by."""
LEARNT = {
    "shown": 12,
    "together": 8,
    "batch": BATCH,
    "checked": False,
    "prompts": PROMPTS,
}
"""Where they are to learn from."""
EACH = 16
"""Requests to learn from that every tool shall have, if it takes no more calls than that."""
SAID = 6
"""Words of its usage that are shown with a tool."""


def pairs(
    tools: ToolSet,
    train: Sequence[Usage],
    replies: Path | None,
    *,
    model: str | None = None,
    timeout: float = 120.0,
) -> tuple[list[Usage], list[Usage]]:
    """Requests to learn from, and of other pairs of tools, to weigh and measure by; none without replies.

    Args:
        tools: The tools.
        train: Usages, whose words are shown.
        replies: Recorded replies; beside them lies, with the suffix `.company.json`, by whom each tool may be shown.
        model: Asked instead.
        timeout: Seconds to wait for it.
    """
    if replies is None:
        return [], []
    company = json.loads(replies.with_suffix(".company.json").read_text(encoding="utf-8"))

    def write(about: ToolSet, name: str, each: int, **settings: Any) -> list[Usage]:
        writer = UsageWriter(
            about,
            model_or_replies(model, replies, timeout=timeout),
            company=company[name],
            counts=(NEEDED,),
            patience=1,
            engine={"concurrency": BATCH, "patience": timeout},
            **settings,
        )
        written = list(writer.write(each=each))
        dropped = ", ".join(f"{count} {why}" for why, count in sorted(writer.tally.dropped.items())) or "none"
        note(f"{len(written):,} written requests for two tools, {name}; dropped: {dropped}")
        return written

    measured = write(tools, "measured", 1, **MEASURED)
    kept = {frozenset(usage.tools) for usage in measured}
    learnt = write(with_words(tools, train), "learnt", EACH, **LEARNT)
    return [usage for usage in learnt if frozenset(usage.tools) not in kept], measured


def with_words(tools: ToolSet, usages: Sequence[Usage]) -> ToolSet:
    """The same tools, each description followed by the words that the tool's usages have and others lack."""
    said = {name: Counter[str]() for name in tools.names}
    for usage in usages:
        for name in usage.tools:
            said[name].update(set(words(usage.query)))
    spread = Counter(word for counts in said.values() for word in counts)
    shown = []
    for tool in tools:
        worth = {word: count * math.log(len(tools) / spread[word]) for word, count in said[tool.name].items()}
        best = sorted(worth, key=lambda word: (-round(worth[word], 6), word))[:SAID]
        shown.append(replace(tool, description=f"{tool.description} (People say: {', '.join(best)})"))
    return ToolSet(shown, name=tools.name)
