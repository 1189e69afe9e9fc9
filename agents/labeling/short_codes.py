"""Short codes for labels: such as are one token of the model's tokenizer, where that can be found out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from labelspace.errors import ConfigError
from labelspace.llm import ChatModel

_TOGETHER = 16
_LETTERS = list(ascii_uppercase)
_PAIRS = ["".join(pair) for pair in product(ascii_uppercase, repeat=2)]
_NUMBERS = [str(number) for number in range(100, 1000)]
_SIGNS = [*ascii_uppercase, *ascii_lowercase, *digits]


async def choose_codes(
    model: ChatModel, memory: dict[str, str], count: int
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Choose `count` different codes.

    Args:
        model: Its `tokenize`, if it has one, decides what is one token.
        memory: Facts about the run: what was chosen once is taken again, as the prompts depend on it.
        count: How many are needed.

    Returns:
        The codes, and the id of the one token of each where that is known.

    Raises:
        ConfigError: There are not so many.
    """
    place = f"codes {getattr(model, 'address', '')}#{model.name} {count}"
    if place in memory:
        codes, ids = json.loads(memory[place])
        return tuple(codes), None if ids is None else tuple(ids)
    tokenize = getattr(model, "tokenize", None)
    line = await tokenize("\n") if tokenize is not None else None
    if tokenize is None or line is None:
        codes, ids = _unchecked(count), None
    else:
        codes, ids = await _checked(tokenize, line, count, model.name)
    memory[place] = json.dumps([codes, ids])
    return tuple(codes), None if ids is None else tuple(ids)


def _unchecked(count: int) -> list[str]:
    """Letters are one token everywhere; numbers of three digits are with OpenAI's tokenizers and Llama 3's."""
    for family in (_LETTERS, _SIGNS, _NUMBERS):
        if count <= len(family):
            return family[:count]
    raise ConfigError(_too_many(count, len(_NUMBERS), "there are codes"))


async def _checked(
    tokenize: Callable[[str], Awaitable[list[int] | None]], line: list[int], count: int, name: str
) -> tuple[list[str], list[int]]:
    """The first kind of code of which there are enough that are one token; a mixture of all where there is none."""
    known: dict[str, int] = {}
    for family in (_LETTERS, _PAIRS, _NUMBERS):
        if family is _LETTERS and count > len(_LETTERS):
            continue
        found = await _single(tokenize, line, family)
        known.update(found)
        if len(found) >= count:
            codes = list(found)[:count]
            return codes, [found[code] for code in codes]
    known = {**await _single(tokenize, line, _SIGNS), **known}
    if len(known) < count:
        raise ConfigError(_too_many(count, len(known), f"codes are one token for {name}"))
    codes = list(known)[:count]
    return codes, [known[code] for code in codes]


async def _single(
    tokenize: Callable[[str], Awaitable[list[int] | None]], line: list[int], family: list[str]
) -> dict[str, int]:
    """Those of a family that are one token at the beginning of a line, where a reply begins, with their ids."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    for start in range(0, len(family), _TOGETHER):
        codes = family[start : start + _TOGETHER]
        for code, ids in zip(codes, await asyncio.gather(*(tokenize("\n" + code) for code in codes)), strict=True):
            if ids is not None and ids[: len(line)] == line and len(ids) == len(line) + 1 and ids[-1] not in seen:
                seen.add(ids[-1])
                found[code] = ids[-1]
    return found


def _too_many(count: int, most: Any, what: str) -> str:
    return (
        f"{count} labels are too many for one token: only {most} {what}; ask for them by name (leave out "
        "one_token), or label in two steps, groups first"
    )
