"""Tools of MCP servers, over stdio or HTTP, through the official client."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.errors import ConfigError, MissingExtra
from labelspace.llm import run

PAGES = 1_000
"""A server that never ends its list must not hang us."""


def from_mcp(server: str | Sequence[str], *, name: str = "", timeout: float = 60.0) -> ToolSet:
    """List the tools of a server.

    Args:
        server: The address of a streamable HTTP server (`http://host/mcp`), or the command that starts one
            on stdio, as a line or as its parts.
        name: Of the tool set; the server's own if not given.
        timeout: Seconds to wait for an answer.

    Raises:
        ConfigError: The server can't be started or reached, or it offers no tools.
        MissingExtra: The MCP client is not installed.
    """
    return run(list_tools(server, name=name, timeout=timeout))


async def list_tools(server: str | Sequence[str], *, name: str = "", timeout: float = 60.0) -> ToolSet:
    """As `from_mcp`, for asynchronous callers."""
    try:
        from mcp import Client
    except ImportError as error:
        raise MissingExtra("mcp", "mcp") from error
    shown = server if isinstance(server, str) else shlex.join(server)
    tools: list[Tool] = []
    try:
        async with Client(_target(server), read_timeout_seconds=timeout) as client:
            called = client.server_info.name if client.server_info is not None else ""
            cursor = None
            for _ in range(PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += [Tool(t.name, (t.description or "").strip(), dict(t.input_schema)) for t in page.tools]
                cursor = page.next_cursor
                if not cursor:
                    break
    except Exception as error:
        first = next(iter(_leaves(error)))
        problem = " ".join(str(first).split()) or type(first).__name__
        raise ConfigError(f"the MCP server {shown!r} can't be asked for its tools: {problem}") from error
    if not tools:
        raise ConfigError(f"the MCP server {shown!r} offers no tools")
    return ToolSet(tools, name=name or called or "mcp")


def _target(server: str | Sequence[str]) -> Any:
    """What the client connects to: an address as it is, a command as a process to start."""
    from mcp import StdioServerParameters

    if isinstance(server, str):
        if server.startswith(("http://", "https://")):
            return server
        server = shlex.split(server)
    if not server:
        raise ConfigError("an MCP server is an address (http://host/mcp) or the command that starts one")
    return StdioServerParameters(command=server[0], args=list(server[1:]))


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of errors, which anyio makes of one that passes a task group."""
    inner = getattr(error, "exceptions", None)
    return [error] if inner is None else [leaf for part in inner for leaf in _leaves(part)]
