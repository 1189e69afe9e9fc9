"""The one Jinja environment: sandboxed, strict, and careful about what is written into a message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from labelspace.errors import PromptError
from labelspace.prompts.fence import break_marks, fence, fence_each, fence_lines, one_line, quote

FENCES = {"fence": fence, "fence_each": fence_each, "fence_lines": fence_lines}
GLOBALS = ("namespace", "range")


def plain(value: Any, name: str) -> Any:
    """Copy text, numbers, lists and mappings; an object could do whatever its methods can.

    Raises:
        PromptError: The value of the variable `name` holds anything else.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, name) for item in value]
    raise PromptError(f"the variable {name!r} of a prompt must be plain data, not a {type(value).__name__}")


def write(value: Any) -> Any:
    """Decide what may stand in a message: text without control marks, and numbers."""
    if isinstance(value, str):
        return break_marks(value)
    if isinstance(value, StrictUndefined) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise PromptError(f"{value!r} would be written into the prompt; write a text or a number, or use `tojson`")


def _to_json(value: Any, indent: int | None = None) -> str:
    """As `json.dumps`; Jinja's own filter escapes for HTML, which a model would have to undo."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _json_lines(values: Iterable[Any]) -> str:
    """Each value as JSON on a line of its own."""
    return "\n".join(_to_json(value) for value in values)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=write, keep_trailing_newline=True, autoescape=False
    )
    environment.globals = {name: environment.globals[name] for name in GLOBALS}
    environment.filters.update(FENCES, one_line=one_line, quote=quote, tojson=_to_json, json_lines=_json_lines)
    return environment


ENVIRONMENT = _environment()
