"""Reading a model's replies about taxonomies: what breaks a guardrail is sent back with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from labelspace.agents.replies import fold, match_label, read_object
from labelspace.agents.taxonomy.checks import (
    Draft,
    Limits,
    catches_all,
    check_labels,
    check_texts,
    plain_text,
    refuse,
)
from labelspace.agents.texts import quotation
from labelspace.llm import ReplyError


@dataclass(frozen=True, slots=True)
class Judgement:
    """A taxonomy with what the model thought of the one before."""

    labels: tuple[Draft, ...]
    score: float
    """How well the one before fitted, 0 to 100."""
    explanation: str
    suggestions: str
    dropped: tuple[tuple[str, str], ...] = ()
    """Labels that nothing continues, with why, where that was asked for."""


def read_summaries(text: str, count: int, max_words: int, *, unquoted: Sequence[str] = ()) -> list[str]:
    """The summaries of `count` documents, in order.

    Args:
        text: The reply.
        count: How many documents there were.
        max_words: The words asked for.
        unquoted: The documents, where they may not be quoted.

    Raises:
        ReplyError: One is missing, empty, far too long, or quotes its document.
    """
    found: dict[int, str] = {}
    for entry in _entries(read_object(text, ("summaries",)), "summaries"):
        number, summary = entry.get("document"), entry.get("summary")
        if isinstance(number, int) and isinstance(summary, str) and summary.strip():
            found.setdefault(number, " ".join(summary.split()))
    problems = [f"document {number} has no summary" for number in range(1, count + 1) if number not in found]
    # Twice the words still save most of the tokens; only what is no summary at all is sent back.
    problems += [
        f"the summary of document {number} has {len(summary.split())} words"
        for number, summary in found.items()
        if 1 <= number <= count and len(summary.split()) > 2 * max_words
    ]
    for number, document in enumerate(unquoted, start=1):
        if quoted := quotation(found.get(number, ""), document):
            problems.append(f"the summary of document {number} repeats {quoted!r}: say it in your own words")
    refuse(problems, f"Give one summary of at most {max_words} words for each of the {count} documents.")
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


def read_judgement(
    text: str, limits: Limits, *, known: Sequence[str] | Sequence[Draft], documents: int = 0
) -> Judgement:
    """The judgement of a taxonomy, and the one that replaces it.

    Args:
        text: The reply.
        limits: What to hold it to.
        known: Names of the labels that were judged; the labels themselves where each change needs its reason.
        documents: How many documents the batch had.

    Raises:
        ReplyError: It breaks a limit, has no score, has lost most of the labels that were there, or
            changes something without a reason where one is wanted.
    """
    before = {label.name: label for label in known if isinstance(label, Draft)}
    names = [label.name if isinstance(label, Draft) else label for label in known]
    data = read_object(text, ("score", "labels"))
    labels = _drafts(data, limits, documents, names, reasons=bool(before))
    continued = {name for draft in labels for name in draft.continues}
    lost = [name for name in names if name not in continued]
    if len(lost) > max(2, len(names) // 2):
        raise ReplyError(
            f"The taxonomy must be whole, but {_listed(lost)} are gone. Repeat every label that stays, "
            'and name under "from" those that a label renames or merges.'
        )
    dropped: dict[str, str] = {}
    if before:
        given = _entries(data, "dropped") if "dropped" in data else []
        reasons = {fold(plain_text(entry.get("name"))): plain_text(entry.get("why")) for entry in given}
        problems = [
            f'{name!r} is gone without a reason: continue it, or list it under "dropped" with a "why"'
            for name in lost
            if not reasons.get(fold(name))
        ]
        problems += [
            f'{draft.name!r} is new or changed and needs a "why"'
            for draft in labels
            if not draft.why and _is_changed(draft, before)
        ]
        refuse(problems, "Answer with the whole corrected JSON object.")
        dropped = {name: reasons[fold(name)] for name in lost}
    return Judgement(
        labels,
        _score(data["score"]),
        plain_text(data.get("explanation")),
        plain_text(data.get("suggestions")),
        tuple(dropped.items()),
    )


def _is_changed(draft: Draft, before: dict[str, Draft]) -> bool:
    old = before.get(draft.name)
    return old is None or draft.continues != (draft.name,) or old.description != draft.description


def read_groups(text: str, limits: Limits, *, names: tuple[str, ...], max_groups: int) -> list[tuple[Draft, list[str]]]:
    """The groups of a taxonomy, each with the names of its labels.

    Raises:
        ReplyError: A label is in none or in two, or the groups break a limit.
    """
    entries = _entries(read_object(text, ("groups",)), "groups")
    drafts, problems = check_texts(entries, limits)
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
    refuse(problems, f"Give two to {max_groups} groups, with every label in exactly one of them.")
    return groups


def read_choice(text: str, count: int) -> tuple[int, str]:
    """The place, from 0, of the taxonomy that was found best, and why.

    Raises:
        ReplyError: It names none of the `count` that there are.
    """
    data = read_object(text, ("best",))
    number = re.fullmatch(r"\s*(?:taxonomy\s*)?#?(\d{1,3})\s*", str(data["best"]), re.I)
    if number is None or not 1 <= int(number[1]) <= count:
        raise ReplyError(f'"best" must be the number of a taxonomy, from 1 to {count}, not {data["best"]!r:.40}.')
    return int(number[1]) - 1, plain_text(data.get("explanation"))


# -- pieces ----------------------------------------------------------------------------------------


def _drafts(
    data: dict[str, Any], limits: Limits, documents: int, known: Sequence[str], *, reasons: bool = False
) -> tuple[Draft, ...]:
    entries = _entries(data, "labels")
    drafts, problems = check_texts(entries, limits)
    by_fold = {fold(name): name for name in known}
    labels = []
    for draft, entry in zip(drafts, entries, strict=True):
        if catches_all(draft.name, limits):
            continue
        sources = [entry["from"]] if isinstance(entry.get("from"), str) else entry.get("from") or []
        sources = [draft.name, *sources] if isinstance(sources, list) else [draft.name]
        numbers = entry.get("documents")
        labels.append(
            replace(
                draft,
                continues=tuple(
                    dict.fromkeys(by_fold[fold(name)] for name in map(str, sources) if fold(name) in by_fold)
                ),
                # Numbers serve as examples only: a wrong one is not worth another call.
                documents=tuple(
                    number - 1
                    for number in (numbers if isinstance(numbers, list) else [])
                    if isinstance(number, int) and 1 <= number <= documents
                ),
                why=plain_text(entry.get("why")) if reasons else "",
                recheck=reasons and entry.get("recheck") is True,
            )
        )
    refuse([*problems, *check_labels(labels, limits)], "Answer with the whole corrected JSON object.")
    return tuple(labels)


def _entries(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = data[key]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ReplyError(f'"{key}" must be a list of JSON objects. Answer with the whole corrected JSON object.')
    return entries


def _score(value: Any) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*100|%)?\s*", str(value))
    if match is None or float(match[1]) > 100:
        raise ReplyError(f'"score" must be a number from 0 to 100, not {value!r:.40}.')
    return float(match[1])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
