"""Labels of a text as shares: one name, several, or a teacher's distribution over names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from labelspace.errors import DataError

Given = Sequence[str] | Sequence[Sequence[str]] | Sequence[Mapping[str, float]]
"""For each text one name; several; or the share of each name, which is more than 0."""


def read_shares(labels: Given, *, multi_label: bool) -> list[dict[str, float]]:
    """Share of each label of each text: 1 for names; of one label a text, all shares sum to 1.

    Raises:
        DataError: A label is no name, or a share no number from 0 to 1.
    """
    read: list[dict[str, float]] = []
    for at, given in enumerate(labels):
        if isinstance(given, Mapping):
            shares = {name: float(share) for name, share in given.items() if share}
            total = 1.0 if multi_label else sum(shares.values())
            if not all(0 <= share <= 1 + 1e-6 for share in shares.values()) or not math.isfinite(total):
                raise DataError(f"the shares of text {at} are {dict(given)!r}", advice="shares are numbers from 0 to 1")
            if not multi_label and not shares:
                raise DataError(f"text {at} has no label with a share", advice="leave it out")
            shares = {name: min(share / total, 1.0) for name, share in shares.items()}
        elif given is None or multi_label == isinstance(given, str):
            raise DataError(
                f"label {at} is {given!r}",
                advice="with multi_label, give a list of names for each text; without, one name",
            )
        else:
            shares = dict.fromkeys(given if multi_label else (given,), 1.0)
        if not all(isinstance(name, str) and name for name in shares):
            raise DataError(f"label {at} is {given!r}", advice="labels are names, that is strings with text")
        read.append({str(name): share for name, share in shares.items()})
    return read
