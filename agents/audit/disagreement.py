"""How far judges disagree with the labels, by how sure they are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Bins of a judge's confidence."""


class Bin(BaseModel):
    """Records whose verdict has this much confidence behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    records: int
    disagree: int
    """Records of which the judges say that the label is wrong."""
    wrong: int | None = None
    """Of those, records whose label is wrong in truth, where it is known."""


def by_confidence(right: NDArray[np.float64], *, wrong: NDArray[np.bool_] | None = None) -> tuple[Bin, ...]:
    """Disagreement of the judges with the labels by how sure they are.

    Args:
        right: Probability that the label is right, [n], NaN where unknown.
        wrong: Whether it is wrong in truth, [n], if that is known.
    """
    known = ~np.isnan(right)
    sure = np.where(right > 0.5, right, 1 - right)
    bins = []
    for low, high in pairwise(EDGES):
        inside = known & (sure >= low) & ((sure < high) | (high == EDGES[-1]))
        against = inside & (right < 0.5)
        bins.append(
            Bin(
                low=low,
                high=high,
                records=int(inside.sum()),
                disagree=int(against.sum()),
                wrong=None if wrong is None else int((against & wrong).sum()),
            )
        )
    return tuple(bins)
