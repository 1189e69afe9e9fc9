"""`labelspace tools train`: a fused retriever, and how many tools to take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from labelspace.cli.options import cache_option, embedder_option, seed_option
from labelspace.cli.tools_tuned import TRIPLETS, Tuned, with_several
from labelspace.cli.tools_use import usage_options

VECTORS = ("tool2vec", "tool2vec-dot", "descriptions")
"""Stages that search through an index."""


@click.command(
    epilog="""\b
USAGE is a file of queries with their tools ({"query", "tools"}, or any labelled records). Without it, tools
are found by their descriptions. Part of it is held out to weigh the stages and to choose how many tools to take.
What --tune, --triplets and --refine train is kept in OUT: the same command finds it there.

\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools train tools.jsonl sample:support --out retriever""",
)
@click.argument("tools", metavar="TOOLS")
@click.argument("usage", required=False, metavar="[USAGE]")
@click.option("--dev", metavar="FILE", help="Held-out usages; a fifth of USAGE if not given.")
@click.option("--out", required=True, metavar="FOLDER", help="Folder of the retriever.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME",
    help="A stage, may be repeated; the best if not given. One of: bm25, bm25-usage, descriptions, tool2vec, "
    "tool2vec-dot, neighbours, nearest, wording, wording-mlc, mlc, mlc-bce.",
)
@click.option(
    "--index",
    type=click.Choice(["exact", "approximate"]),
    default="exact",
    show_default=True,
    help="How tool2vec or descriptions, as the only stage, searches: the graph is for hundreds of thousands of tools.",
)
@click.option(
    "--coverage",
    default=0.9,
    show_default=True,
    help="Rate at which --choose has all needed tools, false alarms counted as misses.",
)
@click.option(
    "--false-alarms",
    default=0.05,
    show_default=True,
    help="Highest rate at which --choose says of a query that needs a tool that none fits.",
)
@click.option("--parts", is_flag=True, help="Look up each part of a query by itself too: for needs of several tools.")
@click.option("--tune", metavar="BASE", help="Also fine-tune this encoder (folder or Hub name) to score tools.")
@click.option("--triplets", metavar="BASE", help="Fine-tune this encoder with hard triplets, to embed by it.")
@click.option(
    "--refine", metavar="BASE", help="Fine-tune this small encoder to rank what the stages find (ToolRefiner)."
)
@usage_options
@embedder_option
@cache_option
@seed_option
def train(
    *,
    tools: str,
    usage: str | None,
    dev: str | None,
    out: str,
    stages: tuple[str, ...],
    index: str,
    coverage: float,
    false_alarms: float,
    parts: bool,
    tune: str | None,
    triplets: str | None,
    refine: str | None,
    text_column: str | None,
    label_column: str | None,
    embedder: str,
    cache: bool,
    seed: int,
) -> None:
    """Train a retriever for TOOLS on USAGE."""
    from labelspace.agents.tools.choose import check_promise
    from labelspace.agents.tools.clauses import Clauses
    from labelspace.agents.tools.refine import Refined
    from labelspace.agents.tools.store import save_retriever
    from labelspace.agents.tools.toolset import ToolSet
    from labelspace.agents.tools.train import check_stage, split_usages, train_retriever
    from labelspace.agents.tools.usage import Usage, read_usages
    from labelspace.embed import cache_folder, fit_embedder, load_embedder
    from labelspace.errors import ConfigError, DataError
    from labelspace.progress import note

    check_promise(coverage, false_alarms)
    toolset = ToolSet.load(tools)
    columns = {"text_column": text_column, "label_column": label_column}
    usages: list[Usage] = [] if usage is None else read_usages(usage, toolset.space, **columns)
    usages, held = split_usages(usages) if dev is None else (usages, read_usages(dev, toolset.space, **columns))
    stages = stages or _usual(toolset, usages)
    for name in stages:
        check_stage(name, usages)
    several = len(stages) + (tune is not None) > 1
    if index != "exact" and (several or stages[0] not in VECTORS):
        raise ConfigError(f"an {index} index searches by one stage; give --stage {' or --stage '.join(VECTORS)} alone")
    # What the stages were weighted by can't also say how often they are right.
    weighed = several or parts or refine is not None
    if weighed and not any(usage.tools for usage in held):
        raise DataError(
            f"stages, --parts and --refine are weighed by held-out usages, and of {len(usages)} none is held out",
            advice="give more, or --dev, or a single --stage",
        )
    texts = [*(item.query for item in usages), *(tool.text for tool in toolset)]
    tuned = Tuned(toolset, usages, Path(out), seed=seed)
    embeds: Any
    if triplets is not None:
        embeds = tuned.encoder(triplets)
    else:
        embeds = fit_embedder(load_embedder(embedder, cache=cache_folder() if cache else None), texts)
    scorers = {} if tune is None else {"tuned": tuned.scorer(tune)}
    weighing, judging = (held[::2], held[1::2]) if weighed else ([], held)
    if parts:
        weighing = with_several(weighing, seed=seed)
    retriever = train_retriever(toolset, usages, weighing, embeds, stages=stages, scorers=scorers, index=index)
    if refine is not None:
        retriever = Refined.of(retriever, tuned.refiner(refine, embeds), weighing)
    if parts:
        retriever = Clauses.of(retriever, weighing)
    chooser = _chooser(retriever, judging, coverage=coverage, false_alarms=false_alarms)
    card: dict[str, Any] = {"usages": len(usages), "held_out": len(held), "seed": seed}
    card |= {"tuned": tune, "triplets": triplets, "refined": refine, "parts": parts}
    trained = None if triplets is None else TRIPLETS
    save_retriever(out, retriever, toolset, embeds, chooser=chooser, card=card, trained=trained)
    note(f"{out}: {retriever.name} over {len(toolset):,} tools, trained on {len(usages):,} usages")


def _usual(tools: Any, usages: Sequence[Any]) -> tuple[str, ...]:
    """The stages where none is named: the best, unless their tables of queries by tools would not fit in memory."""
    from labelspace.agents.tools.index import MANY
    from labelspace.agents.tools.train import BEST
    from labelspace.progress import note

    if not usages:
        return ("descriptions",)
    if len(tools) < MANY:
        return BEST
    note(f"remark: {len(tools):,} tools are found by tool2vec alone; name more with --stage, as far as memory goes")
    return ("tool2vec",)


def _chooser(retriever: Any, held: Sequence[Any], *, coverage: float, false_alarms: float) -> Any:
    """What says how many tools to take; None where there is too little to say it by."""
    from labelspace.agents.tools.choose import ToolChooser
    from labelspace.errors import DataError
    from labelspace.progress import note

    if not held:
        note("remark: without held-out usages, how many tools to take is left to you")
        return None
    try:
        return ToolChooser.of(retriever, held, coverage=coverage, false_alarms=false_alarms)
    except DataError as error:
        note(f"remark: how many tools to take is left to you: {error}")
        return None
