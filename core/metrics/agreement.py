"""Do annotators, judges or repeated runs agree more than chance would have it?

All are 1 for full agreement and 0 for agreement by chance. They are NaN where chance leaves
nothing to tell: where everybody always gave one and the same label.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from labelspace.metrics.cells import FloatArray, encode, same_length
from labelspace.metrics.clusters import ari, nmi

Weights = Literal["linear", "quadratic"]


def cohen_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    *,
    weights: Weights | None = None,
    order: Sequence[Hashable] | None = None,
) -> float:
    """Agreement of two raters beyond chance (Cohen, 1960; weighted: 1968).

    Args:
        first: Labels by one rater.
        second: Labels by the other, of the same items in the same order.
        weights: How a disagreement grows with the distance of labels in `order`; None where any two
            labels disagree equally.
        order: The scale, lowest first; needed with `weights`.
    """
    same_length(first, second)
    if not len(first):
        raise ValueError("there are no items to agree on")
    if weights is not None and order is None:
        raise ValueError("weighted kappa needs the order of the labels: order=[lowest, ..., highest]")
    codes, scale = encode([*(order or ()), *first, *second])
    if order is not None and len(scale) > len(order):
        raise ValueError(f"the label {scale[len(order)]!r} is not in the order that was given")
    codes = codes[len(order or ()) :]
    table = np.zeros((len(scale), len(scale)))
    np.add.at(table, (codes[: len(first)], codes[len(first) :]), 1)
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    place = np.arange(len(scale))
    apart = np.abs(place[:, None] - place[None, :]).astype(np.float64)
    cost = {None: (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
    return _beyond_chance(float((cost * table).sum()), float((cost * expected).sum()))


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Agreement of several raters beyond chance (Fleiss, 1971).

    Args:
        ratings: The labels that each item got; equally many for each, in any order, and not
            necessarily by the same people.
    """
    counts = _counts(ratings)
    raters = counts.sum(1)
    if raters.min() != raters.max() or raters.min() < 2:
        raise ValueError("each item needs the same number of labels, at least 2; use krippendorff_alpha for gaps")
    share = counts.sum(0) / counts.sum()
    disagree = 1 - ((counts * (counts - 1)).sum(1) / (raters * (raters - 1))).mean()
    return _beyond_chance(float(disagree), float(1 - (share**2).sum()))


class Kappa(NamedTuple):
    """Agreement of two raters on some items."""

    items: int
    same: float
    """Share of the items on which they say the same."""
    kappa: float


def kappa_by(
    first: Sequence[Hashable], second: Sequence[Hashable], groups: Sequence[Hashable]
) -> dict[Hashable, Kappa]:
    """Cohen's kappa of two raters within each group of items: per language, per label; groups in order of size.

    Args:
        first: Labels by one rater.
        second: Labels by the other, of the same items in the same order.
        groups: What each item belongs to.
    """
    same_length(first, second)
    same_length(first, groups)
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    found = {}
    for group, inside in sorted(places.items(), key=lambda item: (-len(item[1]), str(item[0]))):
        one, two = [first[at] for at in inside], [second[at] for at in inside]
        same = sum(a == b for a, b in zip(one, two, strict=True)) / len(inside)
        found[group] = Kappa(len(inside), same, cohen_kappa(one, two))
    return found


def agreement_of_runs(runs: Sequence[Sequence[Hashable | None]]) -> tuple[float, float]:
    """NMI and ARI between the labels that runs gave the same items, means over all pairs of runs.

    The runs may use different names: what is compared is which items they put together.

    Args:
        runs: For each run the label of each item; None for none.
    """
    if len(runs) < 2:
        raise ValueError("it takes two runs to agree")
    pairs = [([str(name) for name in one], two) for one, two in combinations(runs, 2)]
    return float(np.mean([nmi(*pair) for pair in pairs])), float(np.mean([ari(*pair) for pair in pairs]))


def krippendorff_alpha(ratings: Sequence[Sequence[Hashable | None]]) -> float:
    """Agreement for nominal labels with gaps (Krippendorff, 2011: "Computing Krippendorff's Alpha-Reliability").

    Args:
        ratings: The labels that each item got, None for a gap. Items with fewer than two labels say
            nothing and are left out.
    """
    counts = _counts([[label for label in item if label is not None] for item in ratings])
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        raise ValueError("no item has two labels to compare")
    raters = counts.sum(1)
    total = counts.sum()
    observed = ((raters**2 - (counts**2).sum(1)) / (raters - 1)).sum() / total
    expected = (total**2 - (counts.sum(0) ** 2).sum()) / (total * (total - 1))
    return _beyond_chance(float(observed), float(expected))


def _counts(ratings: Sequence[Sequence[Hashable]]) -> FloatArray:
    """How often each item got each label; shape [items, labels]."""
    if not len(ratings):
        raise ValueError("there are no items to agree on")
    codes, labels = encode(label for item in ratings for label in item)
    items = np.repeat(np.arange(len(ratings)), [len(item) for item in ratings])
    counts = np.zeros((len(ratings), len(labels)))
    np.add.at(counts, (items, codes), 1)
    return counts


def _beyond_chance(observed: float, expected: float) -> float:
    """1 - observed / expected disagreement."""
    return float("nan") if expected == 0 else 1 - observed / expected
