"""Whether a ranking of models survives the correction of the test labels, and from which share of errors on not.

The prevalence dial of Northcutt, Athalye and Mueller (2021): correctly labelled items are left out at
random until the wrong ones make up the share p. The expected accuracy of a model is then
(1 - p) * its accuracy on the right items + p * its accuracy on the wrong ones, a straight line in p,
so curves and crossing points are computed and not simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labelspace.errors import DataError

DIAL = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of wrong labels that are shown."""


class ModelLine(BaseModel):
    """One model's accuracy as the share of wrong labels grows: from `right` at 0 to `wrong` at 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    right: float
    """Accuracy on items whose label was right."""
    wrong_original: float
    """Accuracy on the wrongly labelled items, against their wrong labels."""
    wrong_corrected: float
    """Accuracy on the wrongly labelled items, against their corrected labels."""

    def accuracy(self, share: float, *, corrected: bool) -> float:
        """Expected accuracy where this share of the labels is wrong, in [0, 1]."""
        return (1 - share) * self.right + share * (self.wrong_corrected if corrected else self.wrong_original)


class Crossing(BaseModel):
    """Two models change places at this share of wrong labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    better_before: str
    better_after: str
    share: float
    corrected: bool
    """Whether accuracy is against corrected labels."""


class Stability(BaseModel):
    """How a ranking of models depends on the errors in the test labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: int
    wrong: int
    models: tuple[ModelLine, ...]
    crossings: tuple[Crossing, ...]
    """In order of the share."""

    @property
    def share(self) -> float:
        """Share of wrong labels as the data is."""
        return self.wrong / self.items

    def ranking(self, share: float | None = None, *, corrected: bool) -> tuple[str, ...]:
        """Names of the models, the best first, where this share of the labels is wrong; as the data is by default."""
        at = self.share if share is None else share
        return tuple(
            line.name for line in sorted(self.models, key=lambda m: (-m.accuracy(at, corrected=corrected), m.name))
        )

    def __str__(self) -> str:
        """A table and the crossing points."""
        head = f"{self.wrong:,} of {self.items:,} labels corrected ({self.share:.1%})"
        lines = [head, f"{'model':24}{'original':>10}{'corrected':>11}{'rank':>10}"]
        before, after = self.ranking(corrected=False), self.ranking(corrected=True)
        for name in before:
            line = next(line for line in self.models if line.name == name)
            lines.append(
                f"{name:24}{line.accuracy(self.share, corrected=False):10.4f}"
                f"{line.accuracy(self.share, corrected=True):11.4f}"
                f"{before.index(name) + 1:7d} > {after.index(name) + 1}"
            )
        shown = sorted({*DIAL, round(self.share, 4)})
        lines.append(f"{'corrected, if wrong are':24}" + "".join(f"{share:>8.1%}" for share in shown))
        for name in after:
            line = next(line for line in self.models if line.name == name)
            lines.append(f"{name:24}" + "".join(f"{line.accuracy(share, corrected=True):8.4f}" for share in shown))
        for cross in self.crossings:
            kind = "corrected" if cross.corrected else "original"
            lines.append(
                f"from {cross.share:.1%} wrong labels on, {cross.better_after} is ahead of {cross.better_before} "
                f"({kind})"
            )
        return "\n".join(lines)


def benchmark_stability(
    predictions: Mapping[str, Sequence[str]], original: Sequence[str], corrected: Sequence[str]
) -> Stability:
    """Compare models on original and on corrected labels, and turn the dial of prevalence.

    Args:
        predictions: What each model says of each item.
        original: The labels as they were.
        corrected: The labels as they should be; equal where nothing was wrong.

    Raises:
        DataError: Lengths differ, or nothing was corrected.
    """
    for name, said in predictions.items():
        if len(said) != len(original) or len(corrected) != len(original):
            raise DataError(f"{name!r} has {len(said)} predictions for {len(original)} items")
    before, after = np.array(original, object), np.array(corrected, object)
    wrong: NDArray[np.bool_] = before != after
    if not wrong.any() or wrong.all():
        raise DataError("none or all of the labels are corrected", advice="give original and corrected labels of all")
    lines = []
    for name, said in predictions.items():
        answers = np.array(said, object)
        lines.append(
            ModelLine(
                name=name,
                right=float((answers == after)[~wrong].mean()),
                wrong_original=float((answers == before)[wrong].mean()),
                wrong_corrected=float((answers == after)[wrong].mean()),
            )
        )
    return Stability(items=len(before), wrong=int(wrong.sum()), models=tuple(lines), crossings=_crossings(lines))


def _crossings(lines: Sequence[ModelLine]) -> tuple[Crossing, ...]:
    found = []
    for corrected in (False, True):
        for one, two in combinations(lines, 2):
            start = one.right - two.right
            end = one.accuracy(1.0, corrected=corrected) - two.accuracy(1.0, corrected=corrected)
            if start * end < 0:
                first, then = (one, two) if start > 0 else (two, one)
                found.append(
                    Crossing(
                        better_before=first.name,
                        better_after=then.name,
                        share=start / (start - end),
                        corrected=corrected,
                    )
                )
    return tuple(sorted(found, key=lambda cross: (cross.share, cross.corrected)))
