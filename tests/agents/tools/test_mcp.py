"""MCP: our client lists the tools of a real server, and a real client calls our server, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

import uvicorn
from mcp import Client, StdioServerParameters

from labelspace.agents.tools import Tool, ToolSet, save_retriever
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.mcp_server import http_app, make_server
from labelspace.agents.tools.mcp_source import from_mcp
from labelspace.embed import fit_embedder, load_embedder
from labelspace.errors import ConfigError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = ToolSet([Tool("weather", "Forecast of rain and sun.", CITY), Tool("refund", "Pay money back.")], name="shop")

PEER = '''
from mcp.server import MCPServer
server = MCPServer("peer", log_level="ERROR")
@server.tool()
def add(one: int, two: int) -> int:
    """Add two numbers."""
    return one + two
@server.tool()
def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper()
server.run("stdio")
'''


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine, in a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def test_tools_of_a_server_on_stdio(tmp_path: Path) -> None:
    path = tmp_path / "peer.py"
    path.write_text(PEER)
    tools = from_mcp([sys.executable, str(path)])
    assert tools.name == "peer"
    assert [(tool.name, tool.description) for tool in tools] == [
        ("add", "Add two numbers."),
        ("shout", "Say it loudly."),
    ]
    assert set(tools["add"].parameters["properties"]) == {"one", "two"}


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ([sys.executable, "-c", "raise SystemExit(3)"], "can't be asked for its tools: "),
        (["no-such-command-anywhere"], "can't be asked for its tools: "),
        ("", "an MCP server is an address"),
    ],
)
def test_a_server_that_is_none_is_named(server: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        from_mcp(server, timeout=10)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "query"),
    ({"query": 3}, "query"),
    ({"query": "rain", "limit": "many"}, "limit"),
    ({"query": "rain " * 3000}, "say what is to be done in a sentence or two; this has 15,000 characters"),
]


def test_our_server_finds_tools_over_http_for_a_real_client() -> None:
    async def ask(url: str) -> tuple[list[str], Any, Any]:
        async with Client(url) as client:
            listed = await client.list_tools()
            found = await client.call_tool("find_tools", {"query": "will there be rain", "limit": 1})
            nothing = await client.call_tool("find_tools", {"query": "  "})
            for bad, problem in BAD:
                refused = await client.call_tool("find_tools", bad)
                assert refused.is_error
                assert problem in refused.content[0].text
            for odd in (-3, 10**30):
                assert not (await client.call_tool("find_tools", {"query": "rain", "limit": odd})).is_error
            return [tool.name for tool in listed.tools], found.structured_content, nothing.structured_content

    with served(http_app(make_server(BM25(TOOLS), TOOLS), host="127.0.0.1")) as url:
        names, found, nothing = asyncio.run(ask(url))
        listed = from_mcp(url)
    assert names == ["find_tools"]
    assert found["tools"][0]["name"] == "weather"
    assert found["tools"][0]["inputSchema"] == CITY
    assert len(found["tools"]) == 1
    assert nothing == {"tools": []}
    assert listed.names == ("find_tools",)


def test_a_server_with_a_key_refuses_who_has_none() -> None:
    app = http_app(make_server(BM25(TOOLS), TOOLS), host="127.0.0.1", api_key="secret")
    with served(app) as url, pytest.raises(ConfigError, match="can't be asked for its tools"):
        from_mcp(url, timeout=10)


def test_the_command_serves_on_stdio(tmp_path: Path) -> None:
    embedder = fit_embedder(load_embedder("tfidf"), [tool.text for tool in TOOLS])
    save_retriever(tmp_path / "r", BM25(TOOLS), TOOLS, embedder)

    async def ask() -> Any:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-c", f"from labelspace.cli.tools import command; command(['serve', {str(tmp_path / 'r')!r}])"],
        )
        async with Client(command, read_timeout_seconds=60) as client:
            return (await client.call_tool("find_tools", {"query": "money back"})).structured_content

    assert next(tool["name"] for tool in asyncio.run(ask())["tools"]) == "refund"
