"""A tool for each operation of an OpenAPI 3 (or Swagger 2) document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.errors import SpaceError

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DEEPEST = 6
"""Levels of a schema that are read."""
_MOST = 2_000
"""Parts of the schemas of one operation that are read: what refers to each other all around grows without end."""


def from_openapi(document: Mapping[str, Any], *, name: str = "") -> ToolSet:
    """Read the operations.

    Args:
        document: The parsed document; its references must be inside it.
        name: Of the tool set; the title if not given.

    Raises:
        SpaceError: The document has no operations, or refers to something that it does not have.
    """
    paths = document.get("paths")
    if not isinstance(paths, Mapping) or not paths:
        raise SpaceError("the OpenAPI document has no 'paths', so there is nothing to call")
    info = document.get("info")
    title = info.get("title", "") if isinstance(info, Mapping) else ""
    return ToolSet(_operations(document, paths), name=name or str(title) or "tools")


def _operations(document: Mapping[str, Any], paths: Mapping[str, Any]) -> Iterator[Tool]:
    for path, given in paths.items():
        item = _resolve(document, given or {})
        shared = _list(item.get("parameters"))
        for method in _METHODS:
            operation = item.get(method)
            if not isinstance(operation, Mapping):
                continue
            called = _named(str(operation.get("operationId") or "")) or _named(f"{method}{path}")
            said = [operation.get("summary"), operation.get("description")]
            text = ". ".join(dict.fromkeys(str(part).strip().rstrip(".") for part in said if part))
            yield Tool(
                called,
                text or f"{method.upper()} {path}",
                _parameters(document, [*shared, *_list(operation.get("parameters"))], operation.get("requestBody")),
            )


def _named(called: str) -> str:
    """A name without blanks and signs; letters of any script stay, so that names stay apart."""
    return re.sub(r"_{2,}|[^\w.-]+", "_", called).strip("_")


def _list(given: Any) -> list[Any]:
    """A list as it is; nothing where a document leaves one out, or empty, which YAML reads as null."""
    return given if isinstance(given, list) else []


def _parameters(document: Mapping[str, Any], given: list[Any], body: Any) -> dict[str, Any]:
    """One JSON schema of path, query and header parameters and the JSON body."""
    properties: dict[str, Any] = {}
    needed: list[str] = []
    left = iter(range(_MOST))
    for entry in given:
        parameter = _resolve(document, entry)
        called = str(parameter.get("name", ""))
        schema = parameter.get("schema") or {key: parameter[key] for key in ("type", "enum") if key in parameter}
        properties[called] = _inline(document, schema, left)
        if parameter.get("description"):
            properties[called] = {**properties[called], "description": parameter["description"]}
        if parameter.get("required") and called not in needed:
            needed.append(called)
    if body is not None:
        content = _resolve(document, body).get("content") or {}
        part = next((_resolve(document, part or {}) for kind, part in content.items() if "json" in kind), {})
        schema = _inline(document, part.get("schema"), left)
        if schema.get("type") == "object" or "properties" in schema:
            found = schema.get("properties")
            properties |= found if isinstance(found, dict) else {}
            needed += [called for called in _list(schema.get("required")) if called not in needed]
        elif schema:
            properties["body"] = schema
    return {"type": "object", "properties": properties, "required": needed}


def _resolve(document: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    """Follow the reference of a node, if it is one."""
    for _ in range(_DEEPEST):
        if not isinstance(node, Mapping):
            raise SpaceError(f"the OpenAPI document has {str(node)[:60]!r} where an object must be")
        reference = node.get("$ref")
        if reference is None:
            return node
        at: Any = document
        if not str(reference).startswith("#/"):
            raise SpaceError(f"the OpenAPI document refers to {reference!r} outside of itself; bundle it first")
        for part in str(reference)[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(at, Mapping) or key not in at:
                raise SpaceError(f"the OpenAPI document refers to {reference!r}, which it does not have")
            at = at[key]
        node = at
    raise SpaceError("references of the OpenAPI document go round in a circle")


def _inline(
    document: Mapping[str, Any], schema: Any, left: Iterator[int], within: tuple[Any, ...] = (), depth: int = 0
) -> dict[str, Any]:
    """A schema with its references replaced by what they stand for; {} where it would contain itself.

    Args:
        document: What references are looked up in.
        schema: The schema, or a reference.
        left: One is taken for each part that is read.
        within: References that this part is in.
        depth: Levels above it.
    """
    if not isinstance(schema, Mapping) or depth > _DEEPEST or next(left, None) is None:
        return {}
    if (reference := schema.get("$ref")) is not None:
        if reference in within:
            return {}
        within = (*within, reference)
    found: dict[str, Any] = dict(_resolve(document, schema))

    def read(part: Any) -> dict[str, Any]:
        return _inline(document, part, left, within, depth + 1)

    if isinstance(found.get("properties"), Mapping):
        found["properties"] = {key: read(part) for key, part in found["properties"].items()}
    if "items" in found:
        found["items"] = read(found["items"])
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(found.get(key), list):
            found[key] = [read(part) for part in found[key]]
    return found
