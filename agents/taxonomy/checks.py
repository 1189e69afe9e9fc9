"""Guardrails of a taxonomy: what its labels must be like before they are believed.

All that is wrong is said at once, because each time of asking costs a call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from labelspace.agents.clustering.stopwords import DROPPED
from labelspace.agents.replies import fold
from labelspace.agents.taxonomy.language import foreign
from labelspace.llm import ReplyError

_CATCH_ALL = re.compile(
    r"(others?|misc(ellaneous)?|general|various|unknown|uncategori[sz]ed|none)"
    r"( (issues|topics|questions|inquir(y|ies)|requests|documents|things|matters|feedback|comments|problems))?"
)
"""Names, folded, of labels for what fits nowhere: dropped, because assignment has a bucket for that."""
_SLACK = 1.5
"""So many times the words asked for are let pass: models count badly."""
_CHARACTERS_A_WORD = 12
"""Bounds the length of names and descriptions in languages written without blanks."""
_SAME_WORDS = 0.9
"""Share of the telling words of two descriptions, of all that either has, from which on they say the same."""
_GLUE = frozenset(("a", "an", "and", "of", "or", "the"))
"""Words that change nothing between the others; "to" and "from", "not" and "without" do."""
_TELLING = 4
"""Fewer telling words can agree by chance."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a taxonomy and its texts may be."""

    max_labels: int
    name_words: int
    description_words: int
    other: str = ""
    """Name of the bucket that is offered at assignment only."""
    language: str = ""
    """The language of names and descriptions; "" for any."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A label on its way."""

    name: str
    description: str
    continues: tuple[str, ...] = ()
    """Names of earlier labels that it stays, renames or merges."""
    documents: tuple[int, ...] = ()
    """Positions, from 0, of documents in the batch that fit it best."""
    why: str = ""
    """Why it is new or changed, where that was asked for."""
    recheck: bool = False
    """Whether documents that carry the labels it continues may no longer belong to it."""


def check_labels(drafts: Sequence[Draft], limits: Limits) -> list[str]:
    """What is wrong with labels as a whole: too many, too alike, in another language."""
    problems = []
    if not drafts:
        problems.append("there is no label")
    if len(drafts) > limits.max_labels:
        problems.append(
            f"there are {len(drafts)} labels, and at most {limits.max_labels} are wanted: merge the nearest"
        )
    named = [(draft, _name_words(draft.name), _telling(draft.description)) for draft in drafts]
    for (one, name, said), (two, other_name, other_said) in combinations(named, 2):
        if fold(one.name) == fold(two.name):
            continue  # said by `check_texts`
        if name and name == other_name:
            problems.append(f"the names {one.name!r} and {two.name!r} mean the same")
        elif min(len(said), len(other_said)) >= _TELLING and len(said & other_said) >= _SAME_WORDS * len(
            said | other_said
        ):
            problems.append(f"{one.name!r} and {two.name!r} have the same description: merge them or draw a line")
    texts = [text for draft in drafts for text in (draft.name, draft.description)]
    if limits.language and (found := foreign(texts, limits.language)):
        problems.append(f"names and descriptions must be in {limits.language}, and these are in {found}")
    return problems


def check_texts(entries: Sequence[dict[str, Any]], limits: Limits) -> tuple[list[Draft], list[str]]:
    """Names and descriptions, and what is wrong with each."""
    drafts, problems = [], []
    seen: dict[str, str] = {}
    for place, entry in enumerate(entries, start=1):
        name, description = plain_text(entry.get("name")), plain_text(entry.get("description"))
        drafts.append(Draft(name, description))
        if not fold(name):
            problems.append(f"label {place} has no name")
            continue
        if fold(name) in seen:
            problems.append(f"the name {name!r} is there twice")
        seen[fold(name)] = name
        if not description:
            problems.append(f"{name!r} has no description")
        for what, text, words in (
            ("name", name, limits.name_words),
            ("description", description, limits.description_words),
        ):
            if (length := len(text.split())) > math.ceil(_SLACK * words):
                problems.append(f"the {what} of {name!r:.80} has {length} words, and at most {words} are wanted")
            elif len(text) > _SLACK * words * _CHARACTERS_A_WORD:
                problems.append(f"the {what} of {name!r:.80} is too long: at most {words} words are wanted")
    return drafts, problems


def catches_all(name: str, limits: Limits) -> bool:
    """Whether a label of this name would say nothing of its texts."""
    return _CATCH_ALL.fullmatch(fold(name)) is not None or fold(name) == fold(limits.other) != ""


def plain_text(value: Any) -> str:
    """Text on one line; what is no text counts as missing."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return " ".join(value.split()) if isinstance(value, str) else ""


def refuse(problems: Sequence[str], advice: str) -> None:
    """Raise where there are problems.

    Raises:
        ReplyError: It says what the first twenty are, and the advice.
    """
    if problems:
        raise ReplyError(f"This must be corrected: {'; '.join(problems[:20])}. {advice}")


def _name_words(name: str) -> frozenset[str]:
    """Words of a name in any order, singular and plural alike."""
    return frozenset(_stem(word) for word in re.findall(r"\w+", fold(name)) if word not in _GLUE)


def _telling(description: str) -> frozenset[str]:
    words = re.findall(r"\w+", description.casefold())
    return frozenset(_stem(word) for word in words if word not in DROPPED | _GLUE)


def _stem(word: str) -> str:
    for end, put in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(end) and len(word) > len(end) + 2 and not word.endswith("ss"):
            return word[: -len(end)] + put
    return word
