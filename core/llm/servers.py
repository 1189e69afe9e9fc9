"""What answers at an address, from what it says about itself, and how it is best asked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from labelspace.errors import ModelError


def only_model(models: Any, address: str) -> str | None:
    """The model of a server that has one, from its list of models; None where there is no list.

    Raises:
        ModelError: It has several, or none.
    """
    try:
        names = [str(model["id"]) for model in models["data"]]
    except (TypeError, KeyError):
        return None
    if len(names) != 1:
        raise ModelError(f"{address} has {len(names)} models; name one: {address}#{' or #'.join(names[:8])}")
    return names[0]


async def kind_of(models: Any, version: Callable[[], Awaitable[Any]]) -> str | None:
    """The server's name and version, from its list of models and, for vLLM, its version; None where it is away."""
    if models is None:
        return None
    owners = {str(model.get("owned_by")) for model in models.get("data", ())} if isinstance(models, dict) else set()
    if "vllm" in owners:
        answer = await version()
        if isinstance(answer, dict) and isinstance(answer.get("version"), str):
            return f"vllm {answer['version']}"
    return "openai-compatible"


def way_of(server: str) -> str:
    """How a server is best asked to constrain replies."""
    match = re.match(r"vllm v?(\d+)\.(\d+)", server)
    # vLLM built from a checkout may call itself 0.1.dev: response_format works on every version.
    if match is None or "0.1.dev" in server:
        return "json_schema"
    return "structured_outputs" if (int(match[1]), int(match[2])) >= (0, 12) else "guided"
