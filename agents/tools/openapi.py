"""A tool for each operation of an OpenAPI 3 (or Swagger 2) document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.errors import SpaceError

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DEEPEST = 6
"""Levels of references that are followed: a schema may contain itself."""


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
        item = _resolve(document, given)
        shared = item.get("parameters", [])
        for method in _METHODS:
            operation = item.get(method)
            if not isinstance(operation, Mapping):
                continue
            called = operation.get("operationId") or f"{method}{path}"
            said = [operation.get("summary"), operation.get("description")]
            text = ". ".join(dict.fromkeys(str(part).strip().rstrip(".") for part in said if part))
            yield Tool(
                re.sub(r"_{2,}|[^A-Za-z0-9_.-]+", "_", str(called)).strip("_"),
                text or f"{method.upper()} {path}",
                _parameters(document, [*shared, *operation.get("parameters", [])], operation.get("requestBody")),
            )


def _parameters(document: Mapping[str, Any], given: list[Any], body: Any) -> dict[str, Any]:
    """One JSON schema of path, query and header parameters and the JSON body."""
    properties: dict[str, Any] = {}
    needed: list[str] = []
    for entry in given:
        parameter = _resolve(document, entry)
        called = str(parameter.get("name", ""))
        schema = parameter.get("schema") or {key: parameter[key] for key in ("type", "enum") if key in parameter}
        properties[called] = _inline(document, schema)
        if parameter.get("description"):
            properties[called] = {**properties[called], "description": parameter["description"]}
        if parameter.get("required") and called not in needed:
            needed.append(called)
    if body is not None:
        content = _resolve(document, body).get("content", {})
        schema = next((part.get("schema", {}) for kind, part in content.items() if "json" in kind), {})
        schema = _inline(document, schema)
        if schema.get("type") == "object" or "properties" in schema:
            properties |= schema.get("properties", {})
            needed += [called for called in schema.get("required", []) if called not in needed]
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


def _inline(document: Mapping[str, Any], schema: Any, depth: int = 0) -> dict[str, Any]:
    """A schema with its references replaced by what they stand for, down to a depth."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {}
    found: dict[str, Any] = dict(_resolve(document, schema))
    if isinstance(found.get("properties"), Mapping):
        found["properties"] = {key: _inline(document, part, depth + 1) for key, part in found["properties"].items()}
    if "items" in found:
        found["items"] = _inline(document, found["items"], depth + 1)
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(found.get(key), list):
            found[key] = [_inline(document, part, depth + 1) for part in found[key]]
    return found
