"""Shortening texts that are too long to be sent whole."""

from __future__ import annotations

GAP = "\n[...]\n"


def cut_middle(text: str, limit: int) -> str:
    """At most about `limit` characters of a text: two thirds from its beginning, one from its end.

    What a message is about stands where it begins; what its writer wants in the end, often where it ends.
    """
    if len(text) <= limit:
        return text
    tail = limit // 3
    return text[: limit - tail].rstrip() + GAP + text[len(text) - tail :].lstrip()
