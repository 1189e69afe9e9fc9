"""From a model string to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelspace.errors import ConfigError
from labelspace.llm.request import ChatModel


def connect(
    model: str,
    *,
    api_key: str | None = None,
    timeout: float = 120.0,
    constraint: str = "auto",
    headers: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> ChatModel:
    """Make a model from its string; nothing is asked or loaded yet.

    Args:
        model: `http(s)://host/v1#name` for an OpenAI-compatible server (without a name, the only
            model that it lists), the same after `batch:` for its batch API, `run-batch:FOLDER#name` for
            the files of `vllm run-batch`, `provider:name` through LangChain, `hf:FOLDER` for
            transformers and `vllm:FOLDER` for vLLM in this process.
        api_key: For servers; by default LABELSPACE_API_KEY, then OPENAI_API_KEY.
        timeout: Seconds for one call.
        constraint: How a server is asked to hold replies to their form; "auto" finds out.
        headers: Further HTTP headers.
        parameters: Further parameters, handed on as they are.

    Raises:
        ConfigError: The string names no model.
        MissingExtra: What it needs is not installed.
    """
    head, colon, rest = model.partition(":")
    if head in ("http", "https"):
        from labelspace.llm.client import HTTPModel

        base_url, _, name = model.partition("#")
        return HTTPModel(
            base_url,
            name,
            api_key=api_key,
            timeout=timeout,
            constraint=constraint,
            headers=headers,
            parameters=parameters,
        )
    if head == "batch":
        from labelspace.llm.batches import BatchModel
        from labelspace.llm.client import HTTPModel

        direct = connect(
            rest, api_key=api_key, timeout=timeout, constraint=constraint, headers=headers, parameters=parameters
        )
        if isinstance(direct, HTTPModel):
            return BatchModel(direct)
        raise ConfigError(f"{model!r}: only servers have a batch API; write batch:https://host/v1#name")
    if head == "run-batch" and rest.partition("#")[2]:
        from labelspace.llm.batch_files import BatchFiles

        folder, _, name = rest.partition("#")
        way = "structured_outputs" if constraint == "auto" else constraint
        return BatchFiles(folder, name, constraint=way, parameters=parameters)
    if not colon or not rest or not head or rest.startswith("//"):
        raise ConfigError(
            f"{model!r} names no model; write http://host/v1#name for a server, provider:name for LangChain, "
            "hf:FOLDER or vllm:FOLDER for a model in this process"
        )
    if head == "hf":
        from labelspace.llm.local import TransformersModel

        return TransformersModel(rest, parameters=parameters)
    if head == "vllm":
        from labelspace.llm.local_vllm import VLLMModel

        return VLLMModel(rest, parameters=parameters)
    from labelspace.llm.langchain import LangChainModel

    return LangChainModel(model, api_key=api_key, timeout=timeout, parameters=parameters)
