"""Tool sets from where tools already are: OpenAI schemas, LangChain tools, Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from labelspace.agents.tools.toolset import Tool, ToolSet, as_tool
from labelspace.errors import SpaceError

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def from_openai(schemas: Iterable[Mapping[str, Any]], *, name: str = "tools") -> ToolSet:
    """Tools from function schemas, as `tools` of a chat request has them; bare `functions` too.

    Raises:
        SpaceError: An entry is no function, or two have the same name.
    """
    return ToolSet((as_tool(schema) for schema in schemas), name=name)


def from_langchain(tools: Iterable[Any], *, name: str = "tools") -> ToolSet:
    """Tools from LangChain's, in any form that `create_agent` takes: tool objects, functions, schemas."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    return ToolSet((as_tool(convert_to_openai_tool(tool)) for tool in tools), name=name)


def from_functions(functions: Iterable[Callable[..., Any]], *, name: str = "tools") -> ToolSet:
    """Tools from Python functions: the name, the docstring before its sections, and the signature.

    Raises:
        SpaceError: Something is no function with a name.
    """
    return ToolSet((_of_function(function) for function in functions), name=name)


def _of_function(function: Callable[..., Any]) -> Tool:
    called = getattr(function, "__name__", "")
    if not callable(function) or not called or called == "<lambda>":
        raise SpaceError(f"{function!r} is no function with a name, so it can't be a tool")
    try:
        signature = inspect.signature(function, eval_str=False)
        hints = inspect.get_annotations(function, eval_str=False)
    except (ValueError, TypeError) as error:
        raise SpaceError(f"{called!r} has no signature that can be read, so it can't be a tool: {error}") from error
    properties, needed = {}, []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in ("self", "cls"):
            continue
        properties[parameter.name] = _schema_of(hints.get(parameter.name))
        if parameter.default is parameter.empty:
            needed.append(parameter.name)
    summary, _, _ = (inspect.getdoc(function) or "").partition("\n\n")
    rest = (inspect.getdoc(function) or "").split("\n\n")[1:]
    for paragraph in rest:
        if paragraph.split("\n", 1)[0].rstrip().endswith(":"):  # Args:, Returns:, Example:
            break
        summary += " " + paragraph
    schema = {"type": "object", "properties": properties, "required": needed}
    return Tool(called, " ".join(summary.split()), schema)


def _schema_of(hint: Any) -> dict[str, Any]:
    """The plain type of an annotation, which may be a string; {} where it is not a simple one."""
    if isinstance(hint, str):
        bare = hint.split("[")[0].removesuffix(" | None").strip()
        hint = {kind.__name__: kind for kind in _TYPES}.get(bare)
    hint = getattr(hint, "__origin__", hint)
    return {"type": _TYPES[hint]} if hint in _TYPES else {}


def from_data(data: Any, *, name: str = "") -> ToolSet:
    """Tools from parsed JSON or YAML: a list of schemas, `{"tools": [...]}`, or an OpenAPI document.

    Raises:
        SpaceError: It is none of these.
    """
    from labelspace.agents.tools.openapi import from_openapi

    if isinstance(data, Mapping) and ("openapi" in data or "swagger" in data):
        return from_openapi(data, name=name)
    if isinstance(data, Mapping):
        data = next((data[key] for key in ("tools", "functions") if isinstance(data.get(key), list)), [data])
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise SpaceError("tools come as a list of function schemas, as {'tools': [...]}, or as an OpenAPI document")
    return from_openai(data, name=name or "tools")
