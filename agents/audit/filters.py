"""Which labels are probably wrong: the filters of confident learning (Northcutt et al. 2021, section 3.2).

Every filter gives the flags that cleanlab 2.9 gives on the same input, ties included. Ours differs
in the work: scores are read in chunks, and each label's rows are visited once for all its cells of
the joint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelspace.agents.audit.confident import (
    Floats,
    Integers,
    Rows,
    calibrate,
    class_thresholds,
    confident_classes,
    count_joint,
    summarise,
)
from labelspace.errors import ConfigError

Filter = Literal[
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_self_confidence",
    "low_normalized_margin",
]
FILTERS: tuple[Filter, ...] = get_args(Filter)
Flags = NDArray[np.bool_]

BLOCK_BYTES = 64 << 20
"""Size of the scores gathered at once for the rows of one label."""
TIE = 1e-6
"""A given label that is this near the most probable one counts as predicted."""


def flag_labels(
    labels: ArrayLike,
    probabilities: Floats,
    *,
    filter_by: Filter = "prune_by_noise_rate",
    share: float = 1.0,
    remove_per_class: ArrayLike | None = None,
    keep_per_class: int = 1,
    joint: ArrayLike | None = None,
) -> Flags:
    """Flag the records whose label is probably wrong.

    Args:
        labels: Given classes, [n], in 0..k-1.
        probabilities: Out-of-sample probabilities, [n, k]; may be memory-mapped.
        filter_by: `prune_by_class` takes the least self-confident of each class, `prune_by_noise_rate`
            the largest margins of each pair of classes, each as many as the joint says; `both` what
            these two agree on; `confident_learning` what was counted off the diagonal;
            `predicted_neq_given` what is predicted otherwise; `low_self_confidence` and
            `low_normalized_margin` the lowest scores, as many as are off the diagonal.
        share: Share of the estimated errors to flag, in [0, 1] (the first three filters only).
        remove_per_class: How many to flag of each class, [k], in place of what the joint says
            (`prune_by_class` only: elsewhere the reference does not give the numbers asked for).
        keep_per_class: Records of each class that stay unflagged at least; 1 or more.
        joint: A confident joint, [k, k], to use in place of the one of these scores.

    Returns:
        True where the label is probably wrong, [n].

    Raises:
        ConfigError: The filter is unknown, or can't be used with `remove_per_class`.
        DataError: Labels and scores do not fit together.
    """
    if filter_by not in FILTERS:
        raise ConfigError(f"no filter named {filter_by!r}; there are: {', '.join(FILTERS)}")
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of errors to flag must lie in [0, 1], not {share}")
    pruning = filter_by in {"prune_by_class", "prune_by_noise_rate", "both"}
    if remove_per_class is not None and filter_by != "prune_by_class":
        raise ConfigError(f"the filter {filter_by!r} takes no number per class; use prune_by_class")
    rows = summarise(labels, probabilities)
    if filter_by == "predicted_neq_given":
        return np.logical_not(_predicted(rows))
    if joint is None or not pruning:
        confident = confident_classes(rows, probabilities, class_thresholds(rows))
        if not pruning:
            off_diagonal: Flags = (confident >= 0) & (confident != rows.labels) & ~_predicted(rows)
            if filter_by == "confident_learning":
                return off_diagonal
            return _lowest(rows, filter_by, int(off_diagonal.sum()))
        joint = calibrate(count_joint(rows, confident), rows.counts)
    wanted = None if remove_per_class is None else np.asarray(remove_per_class, np.int64)
    keep = max(1, keep_per_class)
    kept = prune_counts(joint, keep=keep, share=share)
    flags = np.ones(len(rows.labels), bool)
    if filter_by != "prune_by_noise_rate":
        flags &= _least_confident(rows, kept, keep=keep, wanted=wanted)
    if filter_by != "prune_by_class":
        flags &= _largest_margins(rows, probabilities, kept, keep=keep)
    return flags & ~_predicted(rows)


def _predicted(rows: Rows) -> Flags:
    """Whether the given label is the most probable one, or as good as."""
    best = rows.given + TIE
    return np.asarray((best > rows.rival_probability) | ((best == rows.rival_probability) & (rows.labels < rows.rival)))


def lowest(scores: Floats, count: int) -> Flags:
    """Mark the `count` lowest scores; of equal ones those that numpy's default sort puts first.

    Sorting is only done where equal scores lie on both sides of the cut.
    """
    if count >= len(scores):
        return np.ones(len(scores), bool)
    if count <= 0:
        return np.zeros(len(scores), bool)
    cut = np.partition(scores, count - 1)[count - 1]
    marked: Flags = scores <= cut
    if np.count_nonzero(marked) > count:
        marked[:] = False
        marked[np.argsort(scores)[:count]] = True
    return marked


def _lowest(rows: Rows, filter_by: Filter, count: int) -> Flags:
    scores = rows.given if filter_by == "low_self_confidence" else (rows.given - rows.rival_probability + 1) / 2
    return lowest(scores, count)


def prune_counts(joint: ArrayLike, *, keep: int = 1, share: float = 1.0) -> Integers:
    """How many records of each given class (row) to take for each true class (column).

    The diagonal holds what stays. It is raised to `keep` at the cost of the rest of the row, and
    takes over what `share` leaves out.
    """
    matrix = np.asarray(joint, np.float64)
    before = matrix.diagonal()
    stays = np.maximum(before, keep)
    cells = np.maximum((matrix > 0).sum(axis=1) - 1, 1)
    smaller = np.clip(matrix - ((stays - before) / cells)[:, None], 0, None)
    np.fill_diagonal(smaller, stays)
    taken: NDArray[np.float64] = smaller * share
    np.fill_diagonal(taken, stays)
    np.fill_diagonal(taken, stays + (smaller - taken).sum(axis=1))
    return taken.astype(np.int64)


def _least_confident(rows: Rows, kept: Integers, *, keep: int, wanted: Integers | None) -> Flags:
    flags = np.zeros(len(rows.labels), bool)
    order = np.argsort(rows.labels, kind="stable")
    ends = np.cumsum(rows.counts)
    for label, count in enumerate(rows.counts):
        number = count - kept[label, label] if wanted is None else wanted[label]
        if count <= keep or number <= 0:
            continue
        members = order[ends[label] - count : ends[label]]
        flags[members] = lowest(rows.given[members], int(number))
    return flags


def _largest_margins(rows: Rows, probabilities: Floats, kept: Integers, *, keep: int) -> Flags:
    flags = np.zeros(len(rows.labels), bool)
    order = np.argsort(rows.labels, kind="stable")
    ends = np.cumsum(rows.counts)
    for label, count in enumerate(rows.counts):
        if count <= keep:
            continue
        columns = np.flatnonzero(kept[label])
        columns = columns[columns != label]
        members = order[ends[label] - count : ends[label]]
        # Positive margins are few, and mostly at least as many as are wanted: look at the rows that have one.
        above = members[rows.rival_probability[members] > rows.given[members]]
        left: list[int] = []
        for some in _blocks(columns, len(above), probabilities):
            margins = _columns(probabilities, above, some) - rows.given[above]
            found, open_cells = _top_positive(margins, kept[label, some])
            flags[above] |= found
            left.extend(some[open_cells])
        for some in _blocks(np.array(left, np.int64), int(count), probabilities):
            for cell, margins in zip(some, _columns(probabilities, members, some) - rows.given[members], strict=True):
                flags[members] |= lowest(-margins, int(kept[label, cell]))
    return flags


def _blocks(columns: Integers, count: int, probabilities: Floats) -> Iterator[Integers]:
    """Cut columns into runs that fit into `BLOCK_BYTES` for so many rows."""
    width = max(1, BLOCK_BYTES // max(1, count * probabilities.dtype.itemsize))
    for start in range(0, len(columns), width):
        yield columns[start : start + width]


def _top_positive(margins: Floats, numbers: Integers) -> tuple[Flags, Integers]:
    """Mark the rows that are among the `numbers` largest margins of any cell.

    Args:
        margins: Probability of each cell's true label less that of the given one, [cells, rows].
        numbers: How many to take of each cell, [cells].

    Returns:
        The marks, [rows], and the cells that positive margins do not settle: there are too few, or equal ones
        at the cut.
    """
    flags = np.zeros(margins.shape[1], bool)
    open_cells = []
    above = margins > 0
    cell_at, row_at = np.nonzero(above)
    values = -margins[above]
    ends = np.searchsorted(cell_at, np.arange(len(numbers) + 1))
    for cell, number in enumerate(numbers):
        some = slice(ends[cell], ends[cell + 1])
        if some.stop - some.start >= number:
            cut = np.partition(values[some], number - 1)[number - 1]
            marked = values[some] <= cut
            if np.count_nonzero(marked) == number:
                flags[row_at[some][marked]] = True
                continue
        open_cells.append(cell)
    return flags, np.array(open_cells, np.int64)


def _columns(probabilities: Floats, members: Integers, columns: Integers) -> Floats:
    """Some columns of some rows, as [columns, rows], each column contiguous."""
    out = np.empty((len(columns), len(members)), probabilities.dtype)
    step = max(1, BLOCK_BYTES // max(1, probabilities.shape[1] * probabilities.dtype.itemsize))
    everything = len(columns) == probabilities.shape[1]
    for start in range(0, len(members), step):
        piece = np.asarray(probabilities[members[start : start + step]])
        out[:, start : start + step] = (piece if everything else piece[:, columns]).T
    return out
