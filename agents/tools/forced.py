"""Tools that a caller forces on the model: `tool_choice`, in the forms of LangChain and of the providers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def named_in(choice: Any, names: Collection[str]) -> set[str]:
    """Those of the names that a choice names: as a text, or anywhere in an object, as each provider has it."""
    return {text for text in _texts(choice) if text in names}


def must_call(choice: Any, names: Collection[str]) -> bool:
    """Whether the model has to call a tool: one that is named, or any."""
    said = {text.casefold() for text in _texts(choice)}
    if said & {"any", "required"}:
        return True
    return choice is True or (bool(named_in(choice, names)) and not said & {"auto", "none"})


def _texts(choice: Any) -> Iterator[str]:
    if isinstance(choice, str):
        yield choice
    elif isinstance(choice, Mapping):
        for part in choice.values():
            yield from _texts(part)
    elif isinstance(choice, (list, tuple)):
        for part in choice:
            yield from _texts(part)
