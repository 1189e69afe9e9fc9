"""Tool sets from where tools already are: OpenAI schemas, LangChain tools, Python functions."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml

from labelspace.agents.tools.access import Access, address_in
from labelspace.agents.tools.document import fetch_document
from labelspace.agents.tools.document_yaml import load_yaml
from labelspace.agents.tools.toolset import Tool, ToolSet, as_tool
from labelspace.errors import ConfigError, DataError, MissingExtra, SpaceError
from labelspace.space import LabelSpace

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def from_openai(schemas: Iterable[Mapping[str, Any]], *, name: str = "tools") -> ToolSet:
    """Tools from function schemas, as `tools` of a chat request has them; bare `functions` too.

    Raises:
        SpaceError: An entry is no function, or two have the same name.
    """
    return ToolSet((as_tool(schema) for schema in schemas), name=name)


def from_langchain(tools: Iterable[Any], *, name: str = "tools") -> ToolSet:
    """Tools from LangChain's, in any form that `create_agent` takes: tool objects, functions, schemas.

    Raises:
        SpaceError: LangChain can't make a tool of something.
        MissingExtra: LangChain is not installed.
    """
    try:
        from langchain_core.utils.function_calling import convert_to_openai_tool
    except ImportError as error:
        raise MissingExtra("langchain", "llm") from error

    def read(tool: Any) -> Tool:
        try:
            return as_tool(convert_to_openai_tool(tool))
        except (ValueError, TypeError) as error:
            raise SpaceError(f"LangChain can't make a tool of {str(tool)[:80]!r}: {error}") from error

    return ToolSet((read(tool) for tool in tools), name=name)


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
    if get_origin(hint) in (Union, UnionType):  # X | None: what it is when it is given
        given = [kind for kind in get_args(hint) if kind is not type(None)]
        hint = given[0] if len(given) == 1 else None
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


def import_all(sources: Sequence[str], access: Access | None = None) -> ToolSet:
    """Tools of several sources as one set; see `import_tools`.

    Raises:
        ConfigError: There is a key, and it is not plain which source it is for.
        SpaceError: Two of them have a tool of the same name.
    """
    if access is not None:
        access.check(sources)
    if len(sources) == 1:
        return import_tools(sources[0], access)
    found: dict[str, tuple[str, Tool]] = {}
    for source in sources:
        for tool in import_tools(source, access):
            if tool.name in found:
                raise SpaceError(
                    f"{found[tool.name][0]} and {source} both have a tool named {tool.name!r}; rename or drop one"
                )
            found[tool.name] = (source, tool)
    return ToolSet(tool for _, tool in found.values())


def import_tools(source: str, access: Access | None = None) -> ToolSet:
    """Tools from what a user names on the command line.

    Args:
        source: A .jsonl file of tools, or - for standard input; a .json or .yaml file or address with function
            schemas, an OpenAPI document or a label space, `openapi:` before it if its name ends otherwise;
            `sample:support`; the address of an MCP server; `mcp:COMMAND`; `python:MODULE`.
        access: What a server asks for.

    Raises:
        DataError: A file can't be read.
        SpaceError: What is there are no tools.
        ConfigError: The module or server can't be used.
    """
    from labelspace.agents.tools.mcp_source import from_mcp

    if address := address_in(source):
        if source != address or urlsplit(address).path.endswith((".json", ".yaml", ".yml")):
            return _of_data(fetch_document(address, access), address)
        return from_mcp(address, access=access)
    kind, sign, rest = source.partition(":")
    if sign and kind == "mcp":
        return from_mcp(rest, access=access)
    if sign and kind == "openapi":
        return _of_file(Path(rest))
    if sign and kind == "python":
        return _of_module(rest)
    if source == "sample:support":
        from importlib.resources import files

        text = (files("labelspace") / "sample" / "support.space.yaml").read_text(encoding="utf-8")
        return from_space(LabelSpace.from_data(yaml.safe_load(text)))
    if source == "-" or source.endswith((".jsonl", ".jsonl.gz")):
        return ToolSet.load(source)
    return _of_file(Path(source))


def _of_file(path: Path) -> ToolSet:
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix == ".json" else load_yaml(text)  # JSON is YAML too
    except FileNotFoundError:
        raise DataError("no such file of tools", path=str(path)) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"can't be read: {' '.join(str(error).split())}", path=str(path)) from error
    return _of_data(data, str(path))


def _of_data(data: Any, shown: str) -> ToolSet:
    """Tools from parsed data, named as the file that it is from."""
    try:
        if isinstance(data, Mapping) and "labels" in data:
            return from_space(LabelSpace.from_data(data))
        return from_data(data, name=Path(urlsplit(shown).path).stem)
    except SpaceError as error:
        raise DataError(str(error), path=shown) from error


def from_space(space: LabelSpace) -> ToolSet:
    """The leaves of a label space as tools: what a text can be given is what can be called."""
    return ToolSet((Tool(name, space[name].description) for name in space.leaves), name=space.name)


def _of_module(name: str) -> ToolSet:
    """The public functions that a module defines."""
    if not name:
        raise ConfigError("python: needs the name of a module, as in python:my_package.tools")
    try:
        module = import_module(name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ConfigError(f"the module {name!r} can't be imported: {type(error).__name__}: {error}") from error
    found = [
        value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and not key.startswith("_") and value.__module__ == module.__name__
    ]
    if not found:
        raise ConfigError(f"the module {name!r} defines no public functions")
    return from_functions(found, name=name)
