"""Guardrails of taxonomy discovery: what a model's taxonomy must be like before it is believed.

All that is wrong with a reply is said at once, because each time of asking costs a call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labelspace.agents.replies import fold, match_label, read_object
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


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _NUMBER, _PLACE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_NAMED = {"name": _TEXT, "description": _TEXT}
SUMMARIES = _object(summaries=_list(_object(document=_PLACE, summary=_TEXT)))
TAXONOMY = _object(labels=_list(_object(**_NAMED, documents=_list(_PLACE))))
_JUDGED = {"score": _NUMBER, "explanation": _TEXT, "suggestions": _TEXT}
_CHANGED = {**_NAMED, "from": _list(_TEXT)}
UPDATE = _object(**_JUDGED, labels=_list(_object(**_CHANGED, documents=_list(_PLACE))))
REVIEW = _object(**_JUDGED, labels=_list(_object(**_CHANGED)))
GROUPS = _object(groups=_list(_object(**_NAMED, labels=_list(_TEXT))))


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a taxonomy and its texts may be."""

    max_labels: int
    name_words: int
    description_words: int
    other: str = ""
    """Name of the bucket that is offered at assignment only."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A label on its way."""

    name: str
    description: str
    continues: tuple[str, ...] = ()
    """Names of earlier labels that it stays, renames or merges."""
    documents: tuple[int, ...] = ()
    """Positions, from 0, of documents in the batch that fit it best."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A taxonomy with what the model thought of the one before."""

    labels: tuple[Draft, ...]
    score: float
    """How well the one before fitted, 0 to 100."""
    explanation: str
    suggestions: str


def read_summaries(text: str, count: int, max_words: int) -> list[str]:
    """The summaries of `count` documents, in order.

    Raises:
        ReplyError: One is missing, empty or far too long.
    """
    found: dict[int, str] = {}
    for entry in _entries(read_object(text, ("summaries",)), "summaries"):
        number, summary = entry.get("document"), entry.get("summary")
        if isinstance(number, int) and isinstance(summary, str) and summary.strip():
            found.setdefault(number, " ".join(summary.split()))
    problems = [f"document {number} has no summary" for number in range(1, count + 1) if number not in found]
    # Twice the words still save most of the tokens; only what is no summary at all is sent back.
    problems += [
        f"the summary of document {number} has {_length(summary)} words"
        for number, summary in found.items()
        if 1 <= number <= count and _length(summary) > 2 * max_words
    ]
    _refuse(problems, f"Give one summary of at most {max_words} words for each of the {count} documents.")
    return [found[number] for number in range(1, count + 1)]


def read_taxonomy(text: str, limits: Limits, *, documents: int = 0) -> tuple[Draft, ...]:
    """The labels of a first taxonomy.

    Args:
        text: The reply.
        limits: What to hold it to.
        documents: How many documents the batch had.

    Raises:
        ReplyError: It breaks a limit.
    """
    return _drafts(read_object(text, ("labels",)), limits, documents, known=())


def read_judgement(text: str, limits: Limits, *, known: Sequence[str], documents: int = 0) -> Judgement:
    """The judgement of a taxonomy, and the one that replaces it.

    Args:
        text: The reply.
        limits: What to hold it to.
        known: Names of the labels that were judged.
        documents: How many documents the batch had.

    Raises:
        ReplyError: It breaks a limit, has no score, or has lost most of the labels that were there.
    """
    data = read_object(text, ("score", "labels"))
    labels = _drafts(data, limits, documents, known)
    continued = {name for draft in labels for name in draft.continues}
    lost = [name for name in known if name not in continued]
    if len(lost) > max(2, len(known) // 2):
        raise ReplyError(
            f"The taxonomy must be whole, but {_listed(lost)} are gone. Repeat every label that stays, "
            'and name under "from" those that a label renames or merges.'
        )
    return Judgement(labels, _score(data["score"]), _text(data.get("explanation")), _text(data.get("suggestions")))


def read_groups(text: str, limits: Limits, *, names: tuple[str, ...], max_groups: int) -> list[tuple[Draft, list[str]]]:
    """The groups of a taxonomy, each with the names of its labels.

    Raises:
        ReplyError: A label is in none or in two, or the groups break a limit.
    """
    entries = _entries(read_object(text, ("groups",)), "groups")
    drafts, problems = _texts(entries, limits)
    groups: list[tuple[Draft, list[str]]] = []
    home: dict[str, str] = {}
    for draft, entry in zip(drafts, entries, strict=True):
        inside = []
        given = entry.get("labels")
        for name in given if isinstance(given, list) else []:
            try:
                label = match_label(str(name), names)
            except ReplyError:
                problems.append(f"{name!r:.80} is not a label")
                continue
            if label in home:
                problems.append(f"the label {label!r} is in the groups {home[label]!r} and {draft.name!r}")
                continue
            home[label] = draft.name
            inside.append(label)
        if inside:
            groups.append((draft, inside))
    if missing := [name for name in names if name not in home]:
        problems.append(f"{_listed(missing)} are in no group")
    taken = {fold(name) for name in names}
    for draft, _ in groups:
        if fold(draft.name) in taken:
            problems.append(f"the group {draft.name!r} has the name of a label")
        if catches_all(draft.name, limits):
            problems.append(f"the name {draft.name!r} says nothing of its labels")
    if not 2 <= len(groups) <= max_groups:
        problems.append(f"there are {len(groups)} groups with labels")
    _refuse(problems, f"Give two to {max_groups} groups, with every label in exactly one of them.")
    return groups


# -- pieces ----------------------------------------------------------------------------------------


def catches_all(name: str, limits: Limits) -> bool:
    """Whether a label of this name would say nothing of its texts."""
    return _CATCH_ALL.fullmatch(fold(name)) is not None or fold(name) == fold(limits.other) != ""


def _drafts(data: dict[str, Any], limits: Limits, documents: int, known: Sequence[str]) -> tuple[Draft, ...]:
    entries = _entries(data, "labels")
    drafts, problems = _texts(entries, limits)
    by_fold = {fold(name): name for name in known}
    labels = []
    for draft, entry in zip(drafts, entries, strict=True):
        if catches_all(draft.name, limits):
            continue
        sources = [entry["from"]] if isinstance(entry.get("from"), str) else entry.get("from") or []
        sources = [draft.name, *sources] if isinstance(sources, list) else [draft.name]
        numbers = entry.get("documents")
        labels.append(
            Draft(
                draft.name,
                draft.description,
                tuple(dict.fromkeys(by_fold[fold(name)] for name in map(str, sources) if fold(name) in by_fold)),
                # Numbers serve as examples only: a wrong one is not worth another call.
                tuple(
                    number - 1
                    for number in (numbers if isinstance(numbers, list) else [])
                    if isinstance(number, int) and 1 <= number <= documents
                ),
            )
        )
    if not labels:
        problems.append("there is no label")
    if len(labels) > limits.max_labels:
        problems.append(
            f"there are {len(labels)} labels, and at most {limits.max_labels} are wanted: merge the nearest"
        )
    _refuse(problems, "Answer with the whole corrected JSON object.")
    return tuple(labels)


def _texts(entries: list[dict[str, Any]], limits: Limits) -> tuple[list[Draft], list[str]]:
    """Names and descriptions, and what is wrong with them."""
    drafts, problems = [], []
    seen: dict[str, str] = {}
    for place, entry in enumerate(entries, start=1):
        name, description = _text(entry.get("name")), _text(entry.get("description"))
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
            if _length(text) > math.ceil(_SLACK * words):
                problems.append(f"the {what} of {name!r:.80} has {_length(text)} words, and at most {words} are wanted")
            elif len(text) > _SLACK * words * _CHARACTERS_A_WORD:
                problems.append(f"the {what} of {name!r:.80} is too long: at most {words} words are wanted")
    return drafts, problems


def _entries(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = data[key]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ReplyError(f'"{key}" must be a list of JSON objects. Answer with the whole corrected JSON object.')
    return entries


def _text(value: Any) -> str:
    """Text on one line; what is no text counts as missing."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _score(value: Any) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*100|%)?\s*", str(value))
    if match is None or float(match[1]) > 100:
        raise ReplyError(f'"score" must be a number from 0 to 100, not {value!r:.40}.')
    return float(match[1])


def _length(text: str) -> int:
    return len(text.split())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _refuse(problems: list[str], advice: str) -> None:
    if problems:
        raise ReplyError(f"This must be corrected: {'; '.join(problems[:20])}. {advice}")
