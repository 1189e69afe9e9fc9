"""Requests for two tools each, that a language model wrote from names and descriptions: what `tools_table` learns from.

People who ask for two things at once are rare in usage data, and two queries joined by us are not what they say. The
model saw sets of tools (four near each other, the others at random, so that it finds what goes together), and no query
of the benchmark. One half of the pairs of tools is learnt from, the other half weighs and measures.
"""

from __future__ import annotations

import json
from pathlib import Path

from labelspace.agents.tools.synthesis import UsageWriter
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.llm.recorded import RecordedModel
from labelspace.progress import note
from labelspace.records import derive_id

SHOWN, NEEDED, TOGETHER, EACH, BATCH = 10, 2, 4, 1, 100
"""Tools that are shown, tools of a request, requests of a call, usages that every tool shall have, calls at once."""


def pairs(
    tools: ToolSet, replies: Path | None, company: Path, *, model: str | None = None
) -> tuple[list[Usage], list[Usage]]:
    """Requests to learn from, and of other pairs of tools, to weigh and measure by; none without replies."""
    if replies is None and model is None:
        return [], []
    writer = UsageWriter(
        tools,
        model or RecordedModel(replies or ""),
        company=json.loads(company.read_text(encoding="utf-8")),
        shown=SHOWN,
        counts=(NEEDED,),
        together=TOGETHER,
        batch=BATCH,
        patience=1,
    )
    written = list(writer.write(each=EACH))
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(writer.tally.dropped.items())) or "none"
    halves: tuple[list[Usage], list[Usage]] = ([], [])
    for usage in written:
        halves[int(derive_id(" + ".join(sorted(usage.tools))), 16) % 2].append(usage)
    needed = {name for usage in written for name in usage.tools}
    note(
        f"{len(written)} written requests for two of {len(needed)} tools: {len(halves[0])} to learn from, "
        f"{len(halves[1])} to measure by; dropped: {dropped}"
    )
    return halves
