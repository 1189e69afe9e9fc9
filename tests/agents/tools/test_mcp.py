"""MCP: our client lists the tools of a real server, and a real client calls our server, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import json
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
from click.testing import CliRunner, Result
from mcp import Client, StdioServerParameters

from labelspace.agents.tools import Tool, ToolSet, save_retriever
from labelspace.agents.tools.access import Access
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.mcp_server import http_app, make_server
from labelspace.agents.tools.mcp_source import from_mcp
from labelspace.cli.tools import command
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
def served(app: Any, *, lifespan: str = "on") -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine, in a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan=lifespan))
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


KEY = "s3cret-of-the-shop"


def imported(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["import", *arguments])


def test_a_server_with_a_key_gives_its_tools_to_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", f"{KEY}\n")  # as `$(cat FILE)` does not leave it, but an editor does
    monkeypatch.setenv("OTHER_KEY", "another-key")
    monkeypatch.setenv("SHOP_HEADER", f"Bearer {KEY}")
    out = tmp_path / "tools.jsonl"
    app = http_app(make_server(BM25(TOOLS), TOOLS), host="127.0.0.1", api_key=KEY)
    with served(app) as url:
        for given in (["--key-env", "SHOP_KEY"], ["--header", "authorization=SHOP_HEADER"]):
            result = imported(url, "--out", str(out), *given)
            assert result.exit_code == 0, result.exception
            assert ToolSet.load(out).names == ("find_tools",)
            assert KEY not in out.read_text() + result.output
        for given, said in (
            ([], "it asks for a key (HTTP 401): name the variable that holds it, with --key-env or --header"),
            (["--key-env", "OTHER_KEY"], "it refuses the key that was sent (HTTP 401)"),
        ):
            result = imported(url, *given)
            assert isinstance(result.exception, ConfigError)
            assert str(result.exception) == f"the MCP server {url!r} can't be asked for its tools: {said}"
            assert result.exception.__context__ is None, "nothing that may hold the key is shown with --debug"


def test_a_document_is_had_from_an_address_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    texts = {
        "/api.yaml": "openapi: 3.1.0\ninfo: {title: Pets}\npaths:\n  /pets:\n    get: {operationId: listPets}\n",
        "/v3/docs?of=a": '{"tools": [{"name": "add"}]}',
        "/broken.json": f'{{"key": "{KEY}", ',
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"] + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        given = dict(scope["headers"]).get(b"x-api-key", b"").decode()
        asked.append(path)
        status = 401 if not given else 302 if path == "/moved.json" else 200 if path in texts else 404
        headers = [(b"location", b"http://127.0.0.2:1/api.json")] if status == 302 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": texts.get(path, f"{given}?").encode()})

    monkeypatch.setenv("SHOP_KEY", KEY)
    key = ("--header", "X-Api-Key=SHOP_KEY")
    with served(app, lifespan="off") as url:
        base = url.removesuffix("/mcp")
        assert json.loads(imported(f"{base}/api.yaml", *key).stdout)["name"] == "listPets"
        assert json.loads(imported(f"openapi:{base}/v3/docs?of=a", *key).stdout)["name"] == "add"
        for path, given, said in (
            ("/api.yaml", (), "the document can't be had: it asks for a key (HTTP 401): name the variable"),
            ("/moved.json", key, "it sends us to http://127.0.0.2:1/api.json, where no key is sent; name that address"),
            ("/none.json", key, "the document can't be had: HTTP 404"),
            ("/broken.json", key, "neither JSON nor YAML: "),
        ):
            result = imported(f"{base}{path}", *given)
            assert f"{base}{path}: " in str(result.exception)
            assert said in str(result.exception)
            assert KEY not in str(result.exception)
    assert len(asked) == 6
    assert "the document can't be had: " in str(imported("http://127.0.0.1:1/api.json").exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://a/mcp", "--key-env", "NO_SUCH_KEY"), "the environment variable NO_SUCH_KEY is not set"),
        (("http://a/mcp", "--key-env", "sk-typed"), "the environment variable is not set; give the name of the one"),
        (("http://a/mcp", "--header", "X-Key: typed"), "a header is given as NAME=VARIABLE"),
        (("http://a/mcp", "--header", "A=SHOP_KEY", "--header", "a=SHOP_KEY"), "the header 'a' is given twice"),
        (("http://a/mcp", "http://b/mcp", "--key-env", "SHOP_KEY"), "the server at one address, and these are 2"),
        (("tools.jsonl", "--key-env", "SHOP_KEY"), "the server at one address, and none is given"),
        (("http://a/mcp", "--env", "SHOP_KEY"), "one server that is started by mcp:COMMAND, and none is given"),
        (("http://a/mcp", "--key-env", "TORN_KEY"), "TORN_KEY holds what can't be sent: a line break, or no ASCII"),
    ],
)
def test_a_key_that_can_not_be_sent_is_not_shown(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.setenv("TORN_KEY", f"{KEY}\nX: y")
    found = str(imported(*arguments).exception)
    assert said in found
    assert not any(secret in found for secret in (KEY, "typed"))


def test_a_command_gets_the_variables_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "peer.py"
    path.write_text(PEER.replace('"peer"', 'os.environ.get("SHOP_KEY", "none")').replace("\n", "import os\n", 1))
    monkeypatch.setenv("SHOP_KEY", KEY)
    started = [sys.executable, str(path)]
    assert from_mcp(started).name == "none"
    assert from_mcp(started, access=Access.of(environment=["SHOP_KEY"])).name == KEY


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
