"""From the value in a cell to a text, an id, labels or tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from labelspace.space import LabelSpace

EXACT = 2**53
"""Whole numbers up to here survive being read as a float."""


class Refused(ValueError):
    """A cell that can't be used; the reader adds file and row."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def kind_of(value: Any) -> str:
    """What a JSON value is, for a message."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"of type {type(value).__name__}"


def is_nan(value: Any) -> bool:
    """Whether a value is NaN, which is how pandas writes a missing cell."""
    return isinstance(value, float) and math.isnan(value)


def text_of(value: Any, column: str) -> str:
    """The text in a cell: a number becomes its digits, null (or NaN) a blank text.

    Raises:
        Refused: It is something else, or has a NUL character.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise Refused(f"the text has a NUL character at position {value.index(chr(0)) + 1}", "remove it")
        return value
    if value is None or is_nan(value):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise Refused(f"the text in column {column!r} is {kind_of(value)}", "name another column with --text-column")


def name_of(value: Any, what: str, column: str) -> str:
    """An id or a label as a string without blanks around it; "" for null, NaN or a blank.

    Raises:
        Refused: It is neither a string nor a number, or a number too large to be read exactly.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None or is_nan(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not value.is_integer():
            return str(value)
        if abs(value) > EXACT:
            raise Refused(f"the {what} {value!r} is too large a number to be read exactly", "write it in quotes")
        return str(int(value))  # pandas writes whole numbers with .0 where one is missing
    raise Refused(f"the {what} in column {column!r} is {kind_of(value)}", f"name another column with --{what}-column")


def labels_of(value: Any, column: str, space: LabelSpace | None) -> tuple[str, ...] | None:
    """The labels in a cell; None where it is blank, so that they are not known.

    A list, and a string that is a JSON list of strings, give several (or none: `[]`). "a|b" gives
    several only where the space is multi-label and has no label of that name.

    Raises:
        Refused: It holds something else, or the space does not allow these labels.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed_list(value)
    if isinstance(value, str) and space is not None and space.multi_label and "|" in value and value not in space:
        value = value.split("|")
    if isinstance(value, list):
        names = [name_of(item, "label", column) for item in value]
        labels = tuple(dict.fromkeys(name for name in names if name))
    else:
        name = name_of(value, "label", column)
        if not name:
            return None
        labels = (name,)
    if space is not None:
        check_labels(labels, space)
    return labels


def shares_of(value: Any, column: str) -> dict[str, float] | None:
    """Numbers by label, such as probabilities or votes, from an object or a string that is one in JSON.

    Returns:
        Those that are not null; None where the cell holds anything else.

    Raises:
        Refused: Something in the object is no label, or no number of 0 or more.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    if any(isinstance(share, (str, list, dict)) for share in value.values()) and not any(map(is_share, value.values())):
        return None
    found = {}
    for given, share in value.items():
        name = name_of(given, "label", column)
        if share is None or is_nan(share):  # Parquet gives every object all the names of the column
            continue
        if not name or not is_share(share):
            raise Refused(
                f"column {column!r} has {share!r} for the label {given!r}",
                "give each label a number of 0 or more, such as a probability or votes",
            )
        found[name] = float(share)
    return found


def is_share(value: Any) -> bool:
    """Whether a value is a number of 0 or more."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def likeliest(shares: Mapping[str, float], *, several: bool) -> tuple[str, ...] | None:
    """The label with most, the first of equals; or those from one half on; None where there is nothing."""
    if several and shares:
        return tuple(name for name, share in shares.items() if share >= 0.5)
    return (max(shares, key=lambda name: shares[name]),) if any(shares.values()) else None


def _parsed_list(value: str) -> Any:
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return parsed if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed) else value


def check_labels(labels: tuple[str, ...], space: LabelSpace) -> None:
    """Refuse labels that a space does not allow.

    Raises:
        Refused: One is not in it, or is a group; or there are several where it allows one.
    """
    for name in labels:
        if name == space.other:
            continue
        if name not in space:
            raise Refused(space.unknown(name), "correct it, or add the label to the space")
        if below := space.children(name):
            some = ", ".join(map(repr, below[:3])) + (", ..." if len(below) > 3 else "")
            raise Refused(f"the label {name!r} of the space {space.name!r} is a group", f"use one below it: {some}")
    if len(labels) > 1 and not space.multi_label:
        raise Refused(
            f"{len(labels)} labels where the space {space.name!r} allows one",
            "keep one, or set multi_label: true in the space",
        )


def strings_of(value: Any) -> tuple[str, ...] | None:
    """A list of strings (or a JSON list of strings, as CSV has it) as a tuple; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed_list(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None
