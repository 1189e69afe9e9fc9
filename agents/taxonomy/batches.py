"""Cutting documents into batches."""

from __future__ import annotations

from collections.abc import Sequence

_TOGETHER, _CHARACTERS = 10, 12_000
"""Long documents in one request, and their characters."""


def is_long(text: str, words: int) -> bool:
    """Whether a text has more words, or, where words are not set apart, as many characters as so many have."""
    return len(text) > 12 * words or len(text.split()) > words


def even_batches(count: int, size: int) -> list[range]:
    """Cut `count` places into as few batches of at most `size` as can be, all about equally large."""
    batches = -(-count // size)
    return [range(count * place // batches, count * (place + 1) // batches) for place in range(batches)]


def batches_by_size(texts: Sequence[str]) -> list[range]:
    """Cut texts into batches of a few thousand characters, one text at least."""
    batches, start, size = [], 0, 0
    for place, text in enumerate(texts):
        if place > start and (size + len(text) > _CHARACTERS or place - start == _TOGETHER):
            batches.append(range(start, place))
            start, size = place, 0
        size += len(text)
    return [*batches, range(start, len(texts))] if texts else []
