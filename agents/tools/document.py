"""An OpenAPI document from an address."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import yaml

from labelspace.agents.tools.access import Access
from labelspace.agents.tools.document_yaml import load_yaml
from labelspace.errors import ConfigError, DataError
from labelspace.llm import run
from labelspace.llm.bounded import TooLong, read_bounded

LARGEST = 64 * 1024 * 1024
"""Bytes of a document: the largest that are published have a third of that."""


def fetch_document(address: str, access: Access | None = None, *, timeout: float = 60.0) -> Any:
    """Get a document in JSON or YAML and parse it.

    Args:
        address: Where it is.
        access: Headers that are sent. With these no redirect is followed: it could lead to another server.
        timeout: Seconds to wait.

    Raises:
        ConfigError: The server can't be reached, or does not give the document.
        DataError: What it gives is neither JSON nor YAML.
    """
    access = access or Access()
    text = run(_get(address, access, timeout=timeout))
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") else load_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(
            f"neither JSON nor YAML: {access.hide(' '.join(str(error).split()))[:200]}", path=address
        ) from None


async def _get(address: str, access: Access, *, timeout: float) -> str:
    import aiohttp

    limit = aiohttp.ClientTimeout(total=timeout)
    problem, content = "", b""
    try:
        async with (
            aiohttp.ClientSession(headers=access.headers, timeout=limit, trust_env=True) as session,
            session.get(address, allow_redirects=not access.headers) as reply,
        ):
            if reply.status in (401, 403):
                problem = access.refused(reply.status)
            elif 300 <= reply.status < 400:
                problem = f"it sends us to {reply.headers.get('Location')}, where no key is sent; name that address"
            elif reply.status != 200:
                problem = f"HTTP {reply.status}"
            else:
                content = await read_bounded(reply, LARGEST)
    except TooLong:
        problem = f"the document is larger than {LARGEST // 1024**2} MB"
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
    if problem:
        raise ConfigError(f"{address}: the document can't be had: {access.hide(problem)}")
    return content.decode("utf-8-sig", errors="replace")
