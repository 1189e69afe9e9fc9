"""Labels that instructions are written about together, and the labelled examples that tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labelspace.agents.labeling.candidates import label_text
from labelspace.agents.texts import cut_middle
from labelspace.embed import Embedder, Vectors, fit_embedder
from labelspace.embed.base import unit_rows
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

_SHOWN = 400
"""Characters that are shown of an example."""


@dataclass(frozen=True)
class Group:
    """Labels that are written about together, because they are like each other."""

    names: tuple[str, ...]
    examples: dict[str, tuple[str, ...]]
    near: tuple[tuple[str, str], ...]
    """Texts like those of these labels, and what labels they have instead."""


def make_groups(
    space: LabelSpace,
    labelled: Iterable[Record],
    *,
    embedder: Embedder,
    together: int = 6,
    each: int = 6,
) -> list[Group]:
    """Put labels that are easily mixed up into one group, with examples that tell them apart.

    Args:
        space: The labels.
        labelled: Records with labels.
        embedder: What likeness is measured by.
        together: Labels in a group, at most.
        each: Examples of a label, at most; some more of other labels that are like them.

    Raises:
        DataError: No record has a label of the space.
    """
    records = [one for one in labelled if one.labels and not one.is_blank]
    place = {name: at for at, name in enumerate(space.leaves)}
    owned = [[place[name] for name in one.labels or () if name in place] for one in records]
    if not any(owned):
        raise DataError("no example has a label of the space", advice="check the column of the labels")
    said = [label_text(space[name]) for name in space.leaves]
    embedder = fit_embedder(embedder, [*said, *(one.text for one in records)])
    vectors = embedder.embed([one.text for one in records])
    centres: Vectors = embedder.embed(said)
    for at in range(len(centres)):
        own = [row for row, labels in enumerate(owned) if at in labels]
        if own:
            centres[at] = unit_rows(vectors[own].mean(0, keepdims=True))[0]
    groups = []
    for numbers in _alike(centres, together):
        examples: dict[str, tuple[str, ...]] = {}
        for at in numbers:
            own = [row for row, labels in enumerate(owned) if at in labels]
            rows = _spread(vectors, own, each)
            examples[space.leaves[at]] = tuple(cut_middle(records[row].text, _SHOWN) for row in rows)
        others = [row for row, labels in enumerate(owned) if labels and not set(labels) & set(numbers)]
        likeness = (vectors[others] @ centres[numbers].T).max(1) if others else np.zeros(0)
        nearest = [others[at] for at in np.argsort(-likeness, kind="stable")[: 2 * len(numbers)]]
        near = tuple((cut_middle(records[row].text, _SHOWN), "; ".join(records[row].labels or ())) for row in nearest)
        groups.append(Group(tuple(space.leaves[at] for at in numbers), examples, near))
    return groups


def _alike(centres: Vectors, together: int) -> list[list[int]]:
    """Labels in groups of at most so many: the first that is left, and those most like it."""
    left, found = list(range(len(centres))), []
    while left:
        first = left[0]
        order = sorted(left, key=lambda at: (at != first, -float(centres[at] @ centres[first]), at))
        found.append(sorted(order[:together]))
        left = [at for at in left if at not in found[-1]]
    return found


def _spread(vectors: Vectors, rows: list[int], count: int) -> list[int]:
    """So many rows, the most central first, then always the one farthest from all before."""
    if not rows:
        return []
    own = vectors[rows]
    chosen = [int((own @ own.mean(0)).argmax())]
    while len(chosen) < min(count, len(rows)):
        near = (own @ own[chosen].T).max(1)
        near[chosen] = np.inf
        chosen.append(int(near.argmin()))
    return [rows[at] for at in chosen]
