"""An MCP server with one tool, `find_tools`: an agent that knows no tool yet asks for those it needs."""

from __future__ import annotations

import hmac
from inspect import cleandoc
from typing import Any

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.retriever import Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.errors import MissingExtra

MOST = 50
"""Tools that one call can ask for."""
LONGEST = 10_000
"""Characters of a query: what is longer is a document, and would keep others waiting."""


def make_server(finder: Retriever | ToolChooser, tools: ToolSet, *, k: int = 5) -> Any:
    """A server of the official MCP package; run it with `.run("stdio")`, or `serve_http`.

    Args:
        finder: A retriever; or a chooser, whose answer can be that no tool fits.
        tools: Its tools: their descriptions and schemas are returned.
        k: Tools returned where the caller does not say.

    Raises:
        MissingExtra: The MCP package is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise MissingExtra("mcp", "mcp") from error
    server = MCPServer(
        name=f"labelspace tools: {tools.name}",
        instructions="Call find_tools with what is to be done; it returns the tools that fit, best first.",
        log_level="WARNING",
    )

    def find_tools(query: str, limit: int = k) -> dict[str, Any]:
        """Find the tools that fit what is to be done, best first, with their parameters.

        Args:
            query: What is to be done, in a sentence.
            limit: At most so many tools.
        """
        if len(query) > LONGEST:
            raise ToolError(f"say what is to be done in a sentence or two; this has {len(query):,} characters")
        return {"tools": find(finder, tools, query, limit=max(1, min(limit, MOST)))}

    server.add_tool(find_tools, description=cleandoc(find_tools.__doc__ or ""))
    return server


def find(finder: Retriever | ToolChooser, tools: ToolSet, query: str, *, limit: int) -> list[dict[str, Any]]:
    """Tools for a query as plain data; none for a blank query, or where a chooser says that none fits."""
    if not query.strip():
        return []
    if isinstance(finder, ToolChooser):
        prediction = next(iter(finder.predict([query])))
        ranking = [(name, prediction.scores[name]) for name in prediction.labels[:limit]]
    else:
        ranking = finder.search([query], limit)[0]
    found = []
    for name, score in ranking:
        tool = tools[name]
        schema = dict(tool.parameters) or {"type": "object", "properties": {}}
        found.append(
            {"name": name, "description": tool.description, "inputSchema": schema, "score": round(float(score), 4)}
        )
    return found


def http_app(server: Any, *, host: str, api_key: str | None = None) -> Any:
    """The server as an ASGI application at `/mcp`; with a key, callers must send it as a bearer token."""
    app = server.streamable_http_app(host=host, stateless_http=True)
    if api_key is None:
        return app
    expected = f"Bearer {api_key}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, expected):
                headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b"a valid API key is needed\n"})
                return
        await app(scope, receive, send)

    return guarded


def serve_http(server: Any, *, host: str = "127.0.0.1", port: int = 8001, api_key: str | None = None) -> None:
    """Serve over streamable HTTP until stopped."""
    import uvicorn

    uvicorn.run(http_app(server, host=host, api_key=api_key), host=host, port=port, log_level="warning")
