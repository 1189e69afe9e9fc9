"""Decide what kind of evaluation fits, and bring both sides into its form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from labelspace.errors import SpaceError
from labelspace.metrics.join import Joined
from labelspace.metrics.report import Kind
from labelspace.metrics.tree import path_of
from labelspace.space import LabelSpace

NONE = "(none)"
"""Stands for "no label applies" where rows have one label and gold says that some have none."""
OWN_VOCABULARY = 0.2
"""Predictions are of another vocabulary if fewer of the answers than this are labels that gold has."""


@dataclass(frozen=True)
class Sides:
    """Gold labels and answers in the form in which they are compared."""

    kind: Kind
    why: str
    gold: list[tuple[str, ...]]
    """One name each, save for multi-label."""
    answers: list[tuple[str, ...] | None]
    """None for a row that was not answered."""
    other: int
    """Rows in the bucket for what fits nowhere."""
    remarks: tuple[str, ...]

    @property
    def answered(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each row was answered; shape [n]."""
        return np.array([answer is not None for answer in self.answers], dtype=bool)


def settle(
    joined: Joined,
    *,
    mode: Literal["auto", "single", "multi", "discovered"] = "auto",
    space: LabelSpace | None = None,
    other: str | None = None,
    level: int | None = None,
) -> Sides:
    """Choose the kind of evaluation and convert the rows to it.

    Args:
        joined: Rows to score.
        mode: The kind, or "auto".
        space: The space of the labels.
        other: Name of the bucket for what fits nowhere.
        level: Compare the ancestors at this level of the space, 0 being the top.
    """
    gold = joined.gold
    answers = [
        tuple(found.labels) if found is not None and found.status == "ok" else None for found in joined.predictions
    ]
    remarks: list[str] = []
    known = {name for names in gold for name in names}
    other = _bucket(other, space=space, known=known, answers=answers, remarks=remarks)
    kind, why = (mode, "as asked") if mode != "auto" else _kind(gold, answers, space=space, known=known, other=other)
    if level is not None:
        if space is None or space.is_flat:
            raise SpaceError("to score at a level of the tree, give a label space in which labels have parents")
        gold = [_lifted(names, space, level) for names in gold]
        answers = [None if names is None else _lifted(names, space, level) for names in answers]
        remarks.append(f"scored at level {level} of the tree: labels were replaced by their ancestors there")
    in_bucket = [names is not None and other is not None and names == (other,) for names in answers]
    answers = [None if bucket else names for names, bucket in zip(answers, in_bucket, strict=True)]
    if kind != "multi":
        gold, answers = _one_each(gold, answers, remarks)
    if space is not None and kind != "discovered":
        _check_known(gold, answers, space=space, other=other, remarks=remarks)
    return Sides(kind, why, gold, answers, sum(in_bucket), tuple(remarks))


def _kind(
    gold: list[tuple[str, ...]],
    answers: list[tuple[str, ...] | None],
    *,
    space: LabelSpace | None,
    known: set[str],
    other: str | None,
) -> tuple[Kind, str]:
    given = Counter(name for names in answers if names is not None for name in names if name != other)
    shared = sum(count for name, count in given.items() if name in known)
    # Wrong labels of the gold's own space are wrong answers, not another vocabulary.
    inside = space is not None and all(name in space for name in known) and all(name in space for name in given)
    if given and not inside and shared < OWN_VOCABULARY * sum(given.values()):
        return "discovered", "hardly any predicted label is a gold one"
    if space is not None and space.multi_label:
        return "multi", f"the space {space.name!r} is multi-label"
    if any(len(names) > 1 for names in gold):
        return "multi", "some gold rows have several labels"
    return "single", "gold rows have one label each"


def _bucket(
    other: str | None,
    *,
    space: LabelSpace | None,
    known: set[str],
    answers: list[tuple[str, ...] | None],
    remarks: list[str],
) -> str | None:
    """Name of the bucket; a label that gold uses is an ordinary one, whatever it is called."""
    asked = other if other is not None else space.other if space is not None else None
    if asked is not None:
        return None if asked in known else asked
    guessed = {names[0] for names in answers if names is not None and len(names) == 1 and names[0].lower() == "other"}
    if guessed and not {name.lower() for name in known} & {"other"} and (space is None or not guessed & {*space.names}):
        found = min(guessed)
        remarks.append(f"{found!r} is no gold label; rows in it count as not answered")
        return found
    return None


def _lifted(names: tuple[str, ...], space: LabelSpace, level: int) -> tuple[str, ...]:
    paths = (path_of(space, name) for name in names)
    return tuple(dict.fromkeys(path[min(level, len(path) - 1)] for path in paths))


def _one_each(
    gold: list[tuple[str, ...]], answers: list[tuple[str, ...] | None], remarks: list[str]
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...] | None]]:
    """One name a row. "No label" is an answer only where gold says that it can be right."""
    for side, rows in (("gold rows", gold), ("predictions", answers)):
        if several := sum(names is not None and len(names) > 1 for names in rows):
            remarks.append(
                f"{side} with several labels, of which the first is scored (mode multi scores sets): {several:,}"
            )
    none_applies = any(not names for names in gold)
    if none_applies:
        remarks.append(f"gold rows without any label are scored as the label {NONE!r}")
    gold = [names[:1] or (NONE,) for names in gold]
    empty = (NONE,) if none_applies else None
    return gold, [None if names is None else names[:1] or empty for names in answers]


def _check_known(
    gold: list[tuple[str, ...]],
    answers: list[tuple[str, ...] | None],
    *,
    space: LabelSpace,
    other: str | None,
    remarks: list[str],
) -> None:
    """Refuse gold labels that the space lacks; answers that it lacks are wrong, and worth a remark."""
    allowed = {*space.names, NONE, other, space.other}
    if strange := next((name for names in gold for name in names if name not in allowed), None):
        raise SpaceError(
            f"gold rows: {space.unknown(strange)}; add the label to the space, or, if the space is of "
            "discovered labels that differ from the gold ones, use mode discovered"
        )
    found = Counter(name for names in answers for name in names or () if name not in allowed)
    if found:
        some = ", ".join(repr(name) for name, _ in found.most_common(3))
        remarks.append(f"predicted labels that the space {space.name!r} lacks: {sum(found.values()):,} ({some})")
