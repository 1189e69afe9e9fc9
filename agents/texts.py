"""Shortening texts that are too long to be sent whole, and finding what was copied from one."""

from __future__ import annotations

import re

GAP = "\n[...]\n"
QUOTED_WORDS = 8
"""So many words in a row of a document make a quotation."""


def cut_middle(text: str, limit: int) -> str:
    """At most about `limit` characters of a text: two thirds from its beginning, one from its end.

    What a message is about stands where it begins; what its writer wants in the end, often where it ends.
    """
    if len(text) <= limit:
        return text
    tail = limit // 3
    return text[: limit - tail].rstrip() + GAP + text[len(text) - tail :].lstrip()


def quotation(text: str, document: str, *, words: int = QUOTED_WORDS) -> str:
    """The first run of so many words that a text shares with a document; "" where there is none."""
    said, source = (re.findall(r"\w+", one.casefold()) for one in (text, document))
    runs = {tuple(source[at : at + words]) for at in range(len(source) - words + 1)}
    places = range(len(said) - words + 1)
    return next((" ".join(said[at : at + words]) for at in places if tuple(said[at : at + words]) in runs), "")
