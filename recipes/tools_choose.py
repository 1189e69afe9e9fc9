"""How many tools? Sets that hold all needed tools at a promised rate, and "no tool fits", on MetaTool.

    labelspace run tools_choose data=metatool embedder=my-minilm

Stages over a frozen encoder are trained on train and weighted on half of dev; the other half sets the thresholds, test
shows what became of the promises. For "no tool fits" some tools are taken out of the tool set, and all usages that
need them out of training: their queries in test are queries that no tool fits.

all-MiniLM-L6-v2, 179 of 199 tools, 907 usages set the thresholds; test has 3,654 queries that need a tool and 455 that
none fits; 95 % intervals over these queries (the promise itself is one over draws of the held-out usages, too):

    coverage  false alarms   all needed tools taken   said that none fits   tools a set   none fits, recognised
        0.80      0.10       84.4% (83.2 to 85.5)     10.3% (9.4 to 11.4)      0.98        69.0% (64.6 to 73.1)
        0.80      0.05       84.5% (83.2 to 85.6)     5.6% (4.9 to 6.3)        0.94        50.5% (46.0 to 55.1)
        0.90      0.05       91.2% (90.2 to 92.0)     5.6% (4.9 to 6.3)        1.38        50.5% (46.0 to 55.1)
        0.95      0.02       94.8% (94.0 to 95.4)     3.0% (2.5 to 3.6)        1.86        29.7% (25.7 to 34.0)

By how much the best score stands out says "none fits" as well as the score itself on dev, and better for short queries
of the sample; the table was made once with each, and no figure but the last (35.2) differed by more than its interval.
"""

from __future__ import annotations

import random
from pathlib import Path

import click

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.measures import ChoiceReport, evaluate_chooser
from labelspace.agents.tools.retriever import LastSeen
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.train import train_retriever
from labelspace.agents.tools.usage import Usage, read_usages
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder


class ToolsChooseConfig(Config):
    """What `labelspace run tools_choose` reads."""

    data: Path = Path("metatool")
    """Folder with the tools, train, dev and test."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model."""
    stages: tuple[str, ...] = ("nearest", "mlc")
    """Stages that are fused."""
    taken_out: int = 20
    """Tools that are taken out of the set, so that no tool fits their queries."""
    promises: tuple[tuple[float, float], ...] = ((0.8, 0.05), (0.9, 0.05), (0.95, 0.02), (0.8, 0.1))
    """Pairs of coverage and false alarms."""
    seed: int = 0
    """Draws the tools that are taken out."""


def main(config: ToolsChooseConfig) -> list[ChoiceReport]:
    """Train, promise, and see."""
    tools = ToolSet.load(config.data / "tools.jsonl.gz")
    out = set(random.Random(config.seed).sample(tools.names, config.taken_out))
    left = ToolSet([tool for tool in tools if tool.name not in out], name=tools.name)
    parts = {name: read_usages(config.data / f"{name}.jsonl.gz", tools.space) for name in ("train", "dev", "test")}
    known = {name: [u for u in usages if not out & set(u.tools)] for name, usages in parts.items()}
    none = [Usage(usage.query, ()) for usage in parts["test"] if set(usage.tools) <= out]
    embedder = LastSeen(load_embedder(config.embedder, cache=cache_folder()))
    retriever = train_retriever(left, known["train"], known["dev"][::2], embedder, stages=config.stages)
    click.echo(f"{len(left)} tools; {len(known['dev'][1::2]):,} usages set the thresholds")
    reports = []
    for coverage, false_alarms in config.promises:
        chooser = ToolChooser.of(retriever, known["dev"][1::2], coverage=coverage, false_alarms=false_alarms)
        reports.append(evaluate_chooser(chooser, [*known["test"], *none]))
        click.echo(reports[-1].text())
    return reports
