"""`labelspace tools search`, `evaluate` and `serve`: what a trained retriever is for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from labelspace.cli.options import Command


def usage_options(command: Command) -> Command:
    """Add the options that name the columns of a file of usages."""
    for name, what in (("label", "tools"), ("text", "queries")):
        command = click.option(
            f"--{name}-column", metavar="NAME", help=f"Column that holds the {what}; guessed if not given."
        )(command)
    return command


def _load(folder: str, *, choose: bool = False) -> tuple[Any, Any, Any]:
    """A retriever, its tools and its chooser; what was fine-tuned for it is loaded here.

    Raises:
        ConfigError: There is no retriever, or none that knows how many tools to take where that is asked for.
    """
    from labelspace.agents.tools.store import load_retriever
    from labelspace.embed import cache_folder
    from labelspace.errors import ConfigError

    def tuned(path: Path) -> Any:
        from labelspace.finetune.tools.load import load_trained

        return load_trained(path)

    found = load_retriever(folder, load=tuned, cache=cache_folder())
    if choose and found[2] is None:
        raise ConfigError(f"{folder}: does not know how many tools to take; train it with more held-out usages")
    return found


@click.command(
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

    finder, tools, chooser = _load(retriever, choose=choose)
    lines = queries or (line.rstrip("\n") for line in sys.stdin)
    for query in lines:
        found = find(chooser if choose else finder, tools, query, limit=len(tools) if choose else count)
        rows = [{key: row[key] for key in ("name", "score", "description")} for row in found]
        click.echo(json.dumps({"query": query, "tools": rows}, ensure_ascii=False))


@click.command(
    epilog="""\b
Example:
  labelspace tools import sample:support --out tools.jsonl
  labelspace tools train tools.jsonl --out retriever
  labelspace tools evaluate retriever sample:support""",
)
@click.argument("retriever", metavar="RETRIEVER")
@click.argument("usage", metavar="USAGE")
@click.option("-k", "counts", multiple=True, type=click.IntRange(1), help="Tools shown; may be repeated. [1, 3, 5, 10]")
@click.option("--choose", is_flag=True, help="Also measure sets of as many tools as are needed, and 'none fits'.")
@usage_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    *,
    retriever: str,
    usage: str,
    counts: tuple[int, ...],
    choose: bool,
    text_column: str | None,
    label_column: str | None,
    as_json: bool,
) -> None:
    """Measure a retriever on USAGE: recall, NDCG, completeness, time, prompt tokens saved."""
    import json

    from labelspace.agents.tools.measures import evaluate_chooser, evaluate_retriever
    from labelspace.agents.tools.usage import read_usages

    finder, tools, chooser = _load(retriever, choose=choose)
    usages = read_usages(usage, text_column=text_column, label_column=label_column)
    parts: list[Any] = []
    if not choose or any(usage.tools for usage in usages):
        parts.append(evaluate_retriever(finder, usages, tools, ks=counts or (1, 3, 5, 10)))
    data = parts[0].to_data() if parts else {}
    if choose:
        parts.append(evaluate_chooser(chooser, usages))
        data["choose"] = parts[-1].to_data()
    click.echo(json.dumps(data, indent=1) if as_json else "\n\n".join(part.text() for part in parts))


@click.command(
    epilog="""\b
Serves on stdio, as MCP clients start it: {"command": "labelspace", "args": ["tools", "serve", "/path/retriever"]}.
With --http it serves on a port, to this machine only unless --host says otherwise; LABELSPACE_API_KEY, if set, is
asked of every caller as a bearer token.

\b
Example:
  labelspace tools serve --help""",
)
@click.argument("retriever", metavar="RETRIEVER")
@click.option("--http", is_flag=True, help="Serve over HTTP, at /mcp.")
@click.option("--host", metavar="HOST", help="With --http: address to listen on; 127.0.0.1 if not given.")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT", help="With --http: port to listen on; 8001 if not given."
)
@click.option("-k", "count", default=5, show_default=True, type=click.IntRange(1), help="Tools to return.")
@click.option("--choose", is_flag=True, help="Return as many as are needed, and none where no tool fits.")
def serve(*, retriever: str, http: bool, host: str | None, port: int | None, count: int, choose: bool) -> None:
    """Offer find_tools to agents as an MCP server."""
    import os

    from labelspace.agents.tools.mcp_server import make_server, serve_http
    from labelspace.progress import note

    if not http and (host or port):
        raise click.UsageError("--host and --port are for serving over HTTP; add --http")
    host, port = host or "127.0.0.1", port or 8001
    finder, tools, chooser = _load(retriever, choose=choose)
    server = make_server(chooser if choose else finder, tools, k=count)
    if not http:
        if sys.stdin.isatty():
            note(f"find_tools over {len(tools):,} tools on stdio, for an MCP client to start; --http serves on a port")
        server.run("stdio")
        return
    key = os.environ.get("LABELSPACE_API_KEY") or None
    if key is None and host not in ("127.0.0.1", "localhost", "::1"):
        note("remark: anybody who reaches this port can ask; set LABELSPACE_API_KEY")
    note(f"find_tools over {len(tools):,} tools at http://{host}:{port}/mcp")
    serve_http(server, host=host, port=port, api_key=key)
