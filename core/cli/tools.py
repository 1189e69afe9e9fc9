"""`labelspace tools`: the right few tools out of many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from labelspace.cli.options import cache_option, embedder_option, prompts_option, seed_option


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
SOURCE is a file of function schemas (JSON, JSONL), an OpenAPI document (JSON, YAML), a label space (YAML),
the address of an MCP server (http://host/mcp), mcp:COMMAND for one on stdio, or python:MODULE for the
public functions of a module.

\b
Example:
  labelspace tools import sample:support --out tools.jsonl""",
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", default="-", show_default=True, metavar="FILE", help="Where to write the tools, one a line.")
def import_(sources: tuple[str, ...], out: str) -> None:
    """Read tools from where they are, and say what will make trouble."""
    from labelspace.agents.tools.sources import import_tools
    from labelspace.agents.tools.toolset import ToolSet
    from labelspace.progress import note

    tools = ToolSet(tool for source in sources for tool in import_tools(source))
    tools.save(out)
    for remark in tools.remarks():
        note(f"remark: {remark}")
    note(f"{len(tools):,} tools, about {tools.tokens:,} tokens in a prompt")


@command.command(
    epilog="""\b
Every reply is kept in the journal: after a stop, the same command goes on from there.

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
    from labelspace.progress import note

    toolset = ToolSet.load(tools)
    before = [] if known is None else read_usages(known, toolset.space)
    writer = UsageWriter(
        toolset,
        model,
        embedder=embedder,
        language=language,
        prompts=prompts,
        journal=journal or f"{out}.journal.sqlite",
        seed=seed,
        engine={"budget": budget, "progress": True},
    )
    count = write_usages(out, [*before, *writer.write(each=each, known=before)])
    tally = writer.tally
    dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(tally.dropped.items())) or "none"
    note(f"{count:,} usages; {tally.written:,} written, {tally.accepted:,} accepted; dropped: {dropped}")
    if tally.lacking:
        note(f"{len(tally.lacking):,} tools have fewer than {each}: {', '.join(list(tally.lacking)[:10])}")


@command.command(
    epilog="""\b
USAGE is a file of queries with their tools ({"query", "tools"}, or any labelled records). Without it, tools
are found by their descriptions. Part of it is held out to weigh the stages and to choose how many tools to take.

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
    "--stage", "stages", multiple=True, metavar="NAME", help="A stage, may be repeated; the best if not given."
)
@click.option("--coverage", default=0.95, show_default=True, help="Rate at which all needed tools are to be taken.")
@click.option("--false-alarms", default=0.05, show_default=True, help="Rate at which a tool is missed as 'none fits'.")
@click.option("--tune", metavar="BASE", help="Also fine-tune this encoder (folder or Hub name).")
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
    coverage: float,
    false_alarms: float,
    tune: str | None,
    embedder: str,
    cache: bool,
    seed: int,
) -> None:
    """Train a retriever for TOOLS on USAGE."""
    from labelspace.agents.tools.choose import ToolChooser
    from labelspace.agents.tools.store import save_retriever
    from labelspace.agents.tools.toolset import ToolSet
    from labelspace.agents.tools.train import BEST, split_usages, train_retriever
    from labelspace.agents.tools.usage import Usage, read_usages
    from labelspace.embed import cache_folder, fit_embedder, load_embedder
    from labelspace.errors import DataError
    from labelspace.progress import note

    toolset = ToolSet.load(tools)
    usages: list[Usage] = [] if usage is None else read_usages(usage, toolset.space)
    usages, held = split_usages(usages) if dev is None else (usages, read_usages(dev, toolset.space))
    texts = [*(item.query for item in usages), *(tool.text for tool in toolset)]
    embeds = fit_embedder(load_embedder(embedder, cache=cache_folder() if cache else None), texts)
    scorers: dict[str, Any] = {}
    if tune is not None:
        scorers["tuned"] = _tune(tune, toolset, usages, Path(out) / "tuned", seed)
    if not usages:
        stages = stages or ("descriptions",)
    retriever = train_retriever(toolset, usages, held, embeds, stages=stages or BEST, scorers=scorers)
    chooser = None
    try:
        chooser = ToolChooser.of(retriever, held, coverage=coverage, false_alarms=false_alarms) if held else None
    except DataError as error:
        note(f"remark: how many tools to take is left to you: {error}")
    card = {"usages": len(usages), "held_out": len(held), "seed": seed, "tuned": tune}
    save_retriever(out, retriever, toolset, embeds, chooser=chooser, card=card)
    note(f"{out}: {retriever.name} over {len(toolset):,} tools, trained on {len(usages):,} usages")


def _tune(base: str, tools: Any, usages: list[Any], folder: Path, seed: int) -> Any:
    from labelspace.agents.tools.compose import compose
    from labelspace.errors import DataError
    from labelspace.finetune.tools_mlc import DEFAULTS, ToolMLC

    if not usages:
        raise DataError("there is no usage to fine-tune an encoder on")
    seen = compose(usages, rounds=DEFAULTS.epochs, seed=seed)
    model = ToolMLC(base, training=DEFAULTS.model_copy(update={"epochs": 1, "seed": seed}))
    texts = [tool.text for tool in tools]
    model.fit([u.query for u in seen], [u.tools for u in seen], classes=tools.names, texts=texts, folder=folder)
    model.save(folder)
    return model


def _load(folder: str, cache: bool = True) -> tuple[Any, Any, Any]:
    """A retriever, its tools and its chooser; the fine-tuned stage, if there is one, is loaded here."""
    from labelspace.agents.tools.store import load_retriever
    from labelspace.embed import cache_folder

    def tuned(path: Path) -> Any:
        from labelspace.finetune.tools_mlc import ToolMLC

        return ToolMLC.load(path)

    return load_retriever(folder, load=tuned, cache=cache_folder() if cache else None)


@command.command(
    epilog="""\b
Writes one line a query: {"query", "tools": [{"name", "score", "description"}]}. With --choose as many tools as
are needed at the rate that the retriever was trained for, and none where no tool fits.

\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools train tools.jsonl sample:support --out retriever
  labelspace tools search retriever "where is my parcel\"""",
)
@click.argument("retriever", metavar="RETRIEVER")
@click.argument("queries", nargs=-1, metavar="[QUERY]...")
@click.option("-k", "count", default=5, show_default=True, type=click.IntRange(1), help="Tools to show.")
@click.option("--choose", is_flag=True, help="Take as many as are needed instead.")
def search(retriever: str, queries: tuple[str, ...], count: int, choose: bool) -> None:
    """Find tools for queries; without a QUERY, for the lines of standard input."""
    import json

    from labelspace.agents.tools.mcp_server import find
    from labelspace.errors import ConfigError

    finder, tools, chooser = _load(retriever)
    if choose and chooser is None:
        raise ConfigError(f"{retriever}: does not know how many tools to take; train it with held-out usages")
    lines = queries or (line.rstrip("\n") for line in sys.stdin)
    for query in lines:
        found = find(chooser if choose else finder, tools, query, limit=len(tools) if choose else count)
        rows = [{key: row[key] for key in ("name", "score", "description")} for row in found]
        click.echo(json.dumps({"query": query, "tools": rows}, ensure_ascii=False))


@command.command(
    epilog="""\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools train tools.jsonl --out retriever
  labelspace tools evaluate retriever sample:support""",
)
@click.argument("retriever", metavar="RETRIEVER")
@click.argument("usage", metavar="USAGE")
@click.option("-k", "counts", multiple=True, type=click.IntRange(1), help="Tools shown; may be repeated. [1, 3, 5, 10]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(retriever: str, usage: str, counts: tuple[int, ...], as_json: bool) -> None:
    """Measure a retriever on USAGE: recall, NDCG, completeness, time, prompt tokens saved."""
    import json

    from labelspace.agents.tools.measures import evaluate_retriever
    from labelspace.agents.tools.usage import read_usages

    finder, tools, _ = _load(retriever)
    report = evaluate_retriever(finder, read_usages(usage), tools, ks=counts or (1, 3, 5, 10))
    click.echo(json.dumps(report.to_data(), indent=1) if as_json else report.text())


@command.command(
    epilog="""\b
Serves on stdio, as MCP clients start it; with --http on a port. It listens to this machine only unless --host
says otherwise; LABELSPACE_API_KEY, if set, is asked of every caller as a bearer token.

\b
Example:
  labelspace tools serve --help""",
)
@click.argument("retriever", metavar="RETRIEVER")
@click.option("--http", is_flag=True, help="Serve over HTTP, at /mcp.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8001, show_default=True, help="Port to listen on.")
@click.option("-k", "count", default=5, show_default=True, type=click.IntRange(1), help="Tools to return.")
@click.option("--choose", is_flag=True, help="Return as many as are needed, and none where no tool fits.")
def serve(*, retriever: str, http: bool, host: str, port: int, count: int, choose: bool) -> None:
    """Offer find_tools to agents as an MCP server."""
    import os

    from labelspace.agents.tools.mcp_server import make_server, serve_http
    from labelspace.errors import ConfigError
    from labelspace.progress import note

    finder, tools, chooser = _load(retriever)
    if choose and chooser is None:
        raise ConfigError(f"{retriever}: does not know how many tools to take; train it with held-out usages")
    server = make_server(chooser if choose else finder, tools, k=count)
    if not http:
        server.run("stdio")
        return
    key = os.environ.get("LABELSPACE_API_KEY") or None
    if key is None and host not in ("127.0.0.1", "localhost", "::1"):
        note("remark: anybody who reaches this port can ask; set LABELSPACE_API_KEY")
    note(f"find_tools over {len(tools):,} tools at http://{host}:{port}/mcp")
    serve_http(server, host=host, port=port, api_key=key)
