"""Tools of MCP servers, over stdio or HTTP, through the official client."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from labelspace.agents.tools.access import Access
from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.errors import ConfigError, MissingExtra
from labelspace.llm import run

PAGES = 1_000
"""A server that never ends its list must not hang us."""


def from_mcp(
    server: str | Sequence[str], *, name: str = "", access: Access | None = None, timeout: float = 60.0
) -> ToolSet:
    """List the tools of a server.

    Args:
        server: The address of a streamable HTTP server (`http://host/mcp`), or the command that starts one
            on stdio, as a line or as its parts.
        name: Of the tool set; the server's own if not given.
        access: Headers that an address gets, variables that a command gets.
        timeout: Seconds to wait for an answer.

    Raises:
        ConfigError: The server can't be started or reached, it asks for a key, or it offers no tools.
        MissingExtra: The MCP client is not installed.
    """
    return run(list_tools(server, name=name, access=access, timeout=timeout))


async def list_tools(
    server: str | Sequence[str], *, name: str = "", access: Access | None = None, timeout: float = 60.0
) -> ToolSet:
    """As `from_mcp`, for asynchronous callers."""
    try:
        from mcp import Client
    except ImportError as error:
        raise MissingExtra("mcp", "mcp") from error
    access = access or Access()
    shown = server if isinstance(server, str) else shlex.join(server)
    tools: list[Tool] = []
    refused: list[int] = []
    problem = ""
    try:
        async with (
            _target(server, access, refused) as target,
            Client(target, read_timeout_seconds=timeout) as client,
        ):
            called = client.server_info.name if client.server_info is not None else ""
            cursor = None
            for _ in range(PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += [Tool(t.name, (t.description or "").strip(), dict(t.input_schema)) for t in page.tools]
                cursor = page.next_cursor
                if not cursor:
                    break
    except ConfigError:
        raise
    except Exception as error:
        first = next(iter(_leaves(error)))
        problem = " ".join(str(first).split()) or type(first).__name__
        problem = access.refused(refused[0]) if refused else access.hide(problem)
    if problem:  # raised here, for what it would be raised from may hold what was sent
        raise ConfigError(f"the MCP server {shown!r} can't be asked for its tools: {problem}")
    if not tools:
        raise ConfigError(f"the MCP server {shown!r} offers no tools")
    return ToolSet(tools, name=name or called or "mcp")


@asynccontextmanager
async def _target(server: str | Sequence[str], access: Access, refused: list[int]) -> AsyncIterator[Any]:
    """What the client connects to: an address, or a command as a process to start.

    Args:
        server: See `from_mcp`.
        access: What is sent along.
        refused: Gets the status of each answer that asks for a key, which the client does not tell.
    """
    from mcp import StdioServerParameters
    from mcp.client.stdio import get_default_environment
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async def note(response: Any) -> None:
        if response.status_code in (401, 403):
            refused.append(response.status_code)

    if isinstance(server, str) and server.startswith(("http://", "https://")):
        async with create_mcp_http_client(headers=dict(access.headers)) as http:
            http.event_hooks = {"response": [note]}
            yield streamable_http_client(server, http_client=http)
        return
    parts = shlex.split(server) if isinstance(server, str) else list(server)
    if not parts:
        raise ConfigError("an MCP server is an address (http://host/mcp) or the command that starts one")
    variables = {**get_default_environment(), **access.environment}
    yield StdioServerParameters(command=parts[0], args=parts[1:], env=variables)


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of errors, which anyio makes of one that passes a task group."""
    inner = getattr(error, "exceptions", None)
    return [error] if inner is None else [leaf for part in inner for leaf in _leaves(part)]
