"""Rows grouped by what happened to them, so that measures and their bootstrap work on counts.

Rows with the same gold labels and the same answer are one cell. Measures that don't depend on
the order of rows depend on the number of rows in each cell only, so a bootstrap resample is one
multinomial draw over cells, however many rows there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Answer: TypeAlias = "str | Collection[str] | None"
"""The labels of one row: a name, several names, or None for no answer (the same as no names here)."""
Pattern: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class LabelCounts:
    """How often each label was right, true and given. Arrays of shape [..., labels]."""

    hit: FloatArray
    """Rows that have the label and were given it."""
    gold: FloatArray
    """Rows that have the label."""
    predicted: FloatArray
    """Rows that were given the label."""


@dataclass(frozen=True)
class Cells:
    """Distinct pairs of gold labels and answer, with the number of rows of each."""

    names: tuple[str, ...]
    """The labels that are counted."""
    patterns: tuple[Pattern, ...]
    """Gold labels and answered labels of each cell, both sorted."""
    rows: IntArray
    """Rows in each cell; shape [cells]."""

    def __len__(self) -> int:
        """How many rows there are in all cells."""
        return int(self.rows.sum())

    @cached_property
    def _members(self) -> tuple[Any, Any, Any]:
        """Sparse 0/1 matrices [labels, cells]: label is right, is true, is given."""
        from scipy.sparse import csr_matrix

        code = {name: position for position, name in enumerate(self.names)}

        def matrix(sets: Iterable[Iterable[str]]) -> Any:
            found = [(code[name], column) for column, names in enumerate(sets) for name in names]
            at = np.array(found, dtype=np.int64).reshape(-1, 2)
            return csr_matrix((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(len(code), len(self.patterns)))

        hits = (set(gold).intersection(predicted) for gold, predicted in self.patterns)
        return matrix(hits), matrix(gold for gold, _ in self.patterns), matrix(given for _, given in self.patterns)

    def counts(self, weights: npt.NDArray[Any] | None = None) -> LabelCounts:
        """Count labels over the cells.

        Args:
            weights: Rows in each cell, shape [cells] or [resamples, cells]; those of the data if not given.

        Returns:
            Arrays of shape [labels] or [resamples, labels].
        """
        given = np.asarray(self.rows if weights is None else weights, dtype=np.float64)
        hit, gold, predicted = (np.ascontiguousarray((matrix @ given.T).T) for matrix in self._members)
        return LabelCounts(hit, gold, predicted)

    @cached_property
    def sizes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Number of right, true and given labels of a row in each cell; three arrays [cells]."""
        hit = [len(set(gold).intersection(predicted)) for gold, predicted in self.patterns]
        gold = [len(gold) for gold, _ in self.patterns]
        predicted = [len(predicted) for _, predicted in self.patterns]
        return np.array(hit, dtype=float), np.array(gold, dtype=float), np.array(predicted, dtype=float)

    @cached_property
    def exact(self) -> FloatArray:
        """1 for a cell whose answer is the gold labels, no more and no less; shape [cells]."""
        return np.array([gold == predicted for gold, predicted in self.patterns], dtype=np.float64)


@dataclass(frozen=True)
class Draw:
    """Bootstrap resamples of cells; what several measures need of them is computed once."""

    cells: Cells
    weights: FloatArray
    """Rows in each cell; shape [resamples, cells]."""

    @cached_property
    def counts(self) -> LabelCounts:
        """Counts by label; arrays of shape [resamples, labels]."""
        return self.cells.counts(self.weights)


def as_names(answer: Answer) -> tuple[str, ...]:
    """The labels of one row, sorted, each once."""
    if answer is None:
        return ()
    return (answer,) if isinstance(answer, str) else tuple(sorted(set(answer)))


def group(gold: Sequence[Answer], predicted: Sequence[Answer], *, names: Iterable[str] = ()) -> Cells:
    """Group rows into cells.

    Args:
        gold: Gold labels of each row.
        predicted: Answer to each row, in the same order.
        names: Labels to count even if no row has them; what else occurs comes after them, sorted.

    Raises:
        ValueError: The two differ in length.
    """
    same_length(gold, predicted)
    counted: Counter[Pattern] = Counter(zip(map(as_names, gold), map(as_names, predicted), strict=True))
    known = dict.fromkeys(names)
    found = {name for pattern in counted for side in pattern for name in side}
    ordered = (*known, *sorted(found.difference(known)))
    return Cells(ordered, tuple(counted), np.array(list(counted.values()), dtype=np.int64))


def same_length(one: Sequence[Any], two: Sequence[Any]) -> None:
    """Refuse two columns that can't belong to the same rows."""
    if len(one) != len(two):
        raise ValueError(f"the two sides must have the same rows in the same order, not {len(one)} and {len(two)}")


def encode(values: Iterable[Hashable]) -> tuple[IntArray, list[Any]]:
    """Number the distinct values in order of their first occurrence.

    Returns:
        The number of each value, shape [n]; and the distinct values.
    """
    numbers: dict[Hashable, int] = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), dtype=np.int64)
    return codes, list(numbers)


def chunks(total: int, *, width: int, floats: int = 1 << 22) -> Iterator[int]:
    """Split `total` rows of `width` numbers so that no piece has more than about `floats` numbers."""
    step = max(1, floats // max(width, 1))
    for start in range(0, total, step):
        yield min(step, total - start)
