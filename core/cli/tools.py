"""`labelspace tools`: the right few tools out of many."""

from __future__ import annotations

from pathlib import Path

import click

from labelspace.cli.options import embedder_option, prompts_option, seed_option
from labelspace.cli.tools_train import train
from labelspace.cli.tools_use import evaluate, search, serve


@click.group(
    epilog="""\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools train tools.jsonl sample:support --out retriever
  labelspace tools search retriever "where is my parcel\""""
)
def command() -> None:
    """Find the tools that a query needs: import, generate usage, train, search, evaluate, serve."""


@command.command(
    "import",
    epilog="""\b
SOURCE is a file of function schemas (JSON, JSONL; - for lines of standard input), an OpenAPI document (JSON,
YAML; a file or an address, with openapi: before one that does not end in .json or .yaml), a label space (YAML),
the address of an MCP server (http://host/mcp), mcp:COMMAND for one on stdio, or python:MODULE for the public
functions of a module.

\b
A server that asks for a key gets the one in a variable: labelspace tools import https://host/mcp --key-env SHOP_KEY

\b
Example:
  labelspace tools import sample:support --out tools.jsonl""",
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", default="-", show_default=True, metavar="FILE", help="Where to write the tools, one a line.")
@click.option("--key-env", metavar="VARIABLE", help="Environment variable whose key is sent to an address, as bearer.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VARIABLE",
    help="Header for an address, and the environment variable that holds its value; may be repeated.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="VARIABLE",
    help="Environment variable that mcp:COMMAND gets; may be repeated. It gets few others.",
)
def import_(
    *, sources: tuple[str, ...], out: str, key_env: str | None, headers: tuple[str, ...], variables: tuple[str, ...]
) -> None:
    """Read tools from where they are, and say what will make trouble."""
    from labelspace.agents.tools.access import Access
    from labelspace.agents.tools.sources import import_all
    from labelspace.progress import note

    tools = import_all(sources, Access.of(key_env, headers=headers, environment=variables))
    tools.save(out)
    for remark in tools.remarks():
        note(f"remark: {remark}")
    note(f"{len(tools):,} tool{'' if len(tools) == 1 else 's'}, about {tools.tokens:,} tokens in a prompt")


@command.command(
    epilog="""\b
With a server at hand: labelspace tools generate tools.jsonl --model http://127.0.0.1:8000/v1#name --out usage.jsonl
Each request is written, polished and judged; TOOLS with few usages come first. Every reply is kept in the
journal: after a stop, the same command goes on from there. Where the budget is spent, or on Ctrl-C, OUT gets what
was done.

\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools generate --help""",
)
@click.argument("tools", metavar="TOOLS")
@click.option("--model", required=True, metavar="MODEL", help="http://host/v1#name, or provider:name.")
@click.option("--out", required=True, metavar="FILE", help="Where to write the usages.")
@click.option("--journal", metavar="FILE", help="Keeps every reply; OUT.journal.sqlite if not given.")
@click.option("--each", default=5, show_default=True, type=click.IntRange(1), help="Usages that every tool shall have.")
@click.option(
    "--needs", default="1,1,2", show_default=True, metavar="N,...", help="Tools that a request needs; drawn from these."
)
@click.option(
    "--together",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Requests that are written, polished and judged in one call.",
)
@click.option("--known", metavar="FILE", help="Usages that there are already: they count and are kept.")
@click.option("--language", default="English", show_default=True, help="Language to write in.")
@click.option("--budget", metavar="CAP", help="The most it may cost: '5 USD', '200k tokens', '1000 calls'.")
@embedder_option
@prompts_option
@seed_option
def generate(
    *,
    tools: str,
    model: str,
    out: str,
    journal: str | None,
    each: int,
    needs: str,
    together: int,
    known: str | None,
    language: str,
    budget: str | None,
    embedder: str,
    prompts: Path | None,
    seed: int,
) -> None:
    """Let a model write what people would ask of TOOLS."""
    from labelspace.agents.tools.synthesis import UsageWriter
    from labelspace.agents.tools.toolset import ToolSet
    from labelspace.agents.tools.usage import read_usages, write_usages
    from labelspace.errors import LabelspaceError
    from labelspace.progress import note

    toolset = ToolSet.load(tools)
    usages = [] if known is None else read_usages(known, toolset.space)
    before = tuple(usages)
    writer = UsageWriter(
        toolset,
        model,
        embedder=embedder,
        counts=_counts(needs),
        together=together,
        language=language,
        prompts=prompts,
        journal=journal or (None if out == "-" else f"{out}.journal.sqlite"),
        seed=seed,
        engine={"budget": budget, "progress": True},
    )
    try:
        for usage in writer.write(each=each, known=before):
            usages.append(usage)
    except (LabelspaceError, KeyboardInterrupt):
        if len(usages) > len(before):
            note(f"{out}: {write_usages(out, usages):,} usages are kept; the same command goes on")
        raise
    count, tally = write_usages(out, usages), writer.tally
    dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(tally.dropped.items())) or "none"
    note(f"{count:,} usages; {tally.written:,} written, {tally.accepted:,} accepted; dropped: {dropped}")
    if tally.lacking:
        note(f"{len(tally.lacking):,} tools have fewer than {each}: {', '.join(list(tally.lacking)[:10])}")


def _counts(needs: str) -> list[int]:
    counts = [int(part) if part.strip().isdigit() else 0 for part in needs.split(",")]
    if not all(counts):
        raise click.BadParameter(f"give numbers from 1, with commas between, not {needs!r}", param_hint="--needs")
    return counts


for verb in (train, search, evaluate, serve):
    command.add_command(verb)
