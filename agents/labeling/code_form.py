"""The form of a question by code: its prompts, with a code for each label, and what a reply says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from labelspace.agents.labeling.form import closed_object
from labelspace.agents.replies import fold
from labelspace.llm import Reply, ReplyError
from labelspace.prompts import Prompt
from labelspace.space import LabelSpace

_ORDERS = 50
"""Orders that are tried for a vote before it takes one that another has."""


def code_prompts(
    template: Prompt, space: LabelSpace, table: Sequence[Mapping[str, Any]], codes: tuple[str, ...], *, votes: int
) -> list[tuple[Prompt, tuple[str, ...]]]:
    """A prompt for each vote, and its codes in the order of the leaves, the bucket last.

    The votes after the first see the labels in other orders, under other codes.

    Args:
        template: Lacks only the labels, the bucket and the document.
        space: The labels.
        table: What is shown of each leaf.
        codes: One for each leaf, and one for the bucket where there is one.
        votes: How many.
    """
    names = (*space.leaves, *([space.other] if space.other else []))
    prompts = []
    taken: set[tuple[tuple[int, ...], tuple[str, ...]]] = set()
    for vote in range(votes):
        order, given = tuple(range(len(table))), codes
        for seed in range(_ORDERS * vote, _ORDERS * (vote + 1)):
            if (order, given) not in taken:
                break
            order, given = _shuffled(table, codes, seed)
        taken.add((order, given))
        code_of = dict(zip(names, given, strict=True))
        shown = [{**table[at], "code": code_of[table[at]["name"]]} for at in order]
        other = {"code": code_of[space.other], "name": space.other} if space.other else ""
        prompts.append((template.bind(labels=shown, other=other), given))
    return prompts


def _shuffled(
    table: Sequence[Mapping[str, Any]], codes: tuple[str, ...], seed: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Another order of the labels, groups staying together, and other codes for them."""
    random = Random(seed)
    labels, others = list(range(len(table))), list(codes)
    random.shuffle(labels)
    random.shuffle(others)
    groups = list(dict.fromkeys(table[at]["group"] for at in labels))
    labels.sort(key=lambda at: groups.index(table[at]["group"]))
    return tuple(labels), tuple(others)


def place_of(text: str, codes: tuple[str, ...], names: tuple[str, ...]) -> int:
    """Which label a reply means: by its code, or by its name where the model gave that.

    Raises:
        ReplyError: Neither is a label's.
    """
    found = re.match(r"[\W_]*([A-Za-z0-9]+)", text)
    if found and found[1] in codes and not re.match(r"\s+\w", text[found.end() :]):
        return codes.index(found[1])
    said = fold(text)
    for place in reversed(range(len(names))):
        if fold(names[place]) == said:
            return place
    listed = "; ".join(codes if len(codes) <= 60 else [*codes[:60], "..."])
    raise ReplyError(f"{' '.join(text.split())[:100]!r} is not a code. Answer with exactly one of: {listed}")


def is_whole(reply: Reply, codes: tuple[str, ...]) -> bool:
    """Whether every code was scored."""
    if reply.choice_logprobs is not None:
        return reply.choice_logprobs.keys() >= set(codes)
    told = {token.strip() for one in reply.logprobs or () for token, _ in one.top}
    return told.issuperset(codes)


def verbal_schema(codes: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of a code with a confidence."""
    return closed_object({"code": {"type": "string", "enum": list(codes)}, "confidence": {"type": "integer"}})
