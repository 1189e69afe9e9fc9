"""From probabilities to an answer: temperature, thresholds, the Fréchet mean, one consistent path in a tree.

What is tuned here is tuned on dev, never on the rows that are reported. `fit_temperature` and
`fit_thresholds` are those of the linear head, for any head's logits and probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, SpaceError
from labelspace.finetune import logistic
from labelspace.finetune.logistic import fit_temperature, fit_thresholds
from labelspace.space import LabelSpace

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]

__all__ = [
    "above_thresholds",
    "best_paths",
    "consistent_sets",
    "fit_temperature",
    "fit_thresholds",
    "frechet_mean",
    "frechet_paths",
    "mass_of",
    "softmax",
    "tree_distances",
]

_EDGE = 1e-12


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Doubles:
    """Probabilities of one label among k, from logits [n, k] over a temperature."""
    return logistic.softmax(np.asarray(logits, dtype=np.float64) / temperature)


def above_thresholds(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, *, at_least_one: bool = False) -> Flags:
    """Which labels are given [n, k]: those at or above their thresholds.

    Args:
        probabilities: [n, k].
        thresholds: [k], or one for all.
        at_least_one: Give the label that is nearest to its threshold where none reaches it; near is measured in
            log-odds, so that 0.02 under 0.05 and 0.3 under 0.5 compare fairly.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    limits = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), p.shape)
    given: Flags = p >= limits
    if at_least_one and p.shape[1]:
        none = ~given.any(axis=1)
        given[none, (_log_odds(p[none]) - _log_odds(limits[none])).argmax(axis=1)] = True
    return given


# -- Fréchet mean ----------------------------------------------------------------------------------


def tree_distances(space: LabelSpace, rows: Sequence[str], columns: Sequence[str]) -> Doubles:
    """Edges between labels in the tree, [rows, columns]; roots hang under one common node."""
    names = list(space.names)
    place = {name: at for at, name in enumerate(names)}
    unknown = next((name for name in (*rows, *columns) if name not in place), None)
    if unknown is not None:
        raise SpaceError(space.unknown(unknown))
    above = np.zeros((len(names), len(names)), dtype=np.float32)  # [label, whether on its path]
    for at, name in enumerate(names):
        above[at, [place[step] for step in space.path(name)]] = 1
    one = above[[place[name] for name in rows]].reshape(len(rows), len(names))
    two = above[[place[name] for name in columns]].reshape(len(columns), len(names))
    shared = one @ two.T  # paths from the top have their common steps in common, and no others
    return np.asarray(one.sum(axis=1)[:, None] + two.sum(axis=1)[None] - 2 * shared, dtype=np.float64)


def frechet_mean(probabilities: npt.ArrayLike, distances: npt.ArrayLike, *, power: float = 2.0) -> Numbers:
    """The label nearest to where the probability lies, also one that no text was ever trained on.

    Loki (arXiv 2307.12226, eq. 1): argmin over y of the sum over k of P(k) d(y, k)^2, where y may be any label of
    the space and k the labels that have a probability. Rows and columns of distances must be in the
    order of the answers and of the probabilities; the authors' PubMed script mixes them up.

    Args:
        probabilities: [n, k]; rows need not sum to 1.
        distances: [m, k], from each possible answer to each label with a probability.
        power: 2 is the mean, 1 the median. Distances that are all equal give argmax, whatever the power.

    Returns:
        [n] rows of `distances`; the first of equals.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    d = np.asarray(distances, dtype=np.float64)
    if p.ndim != 2 or d.ndim != 2 or p.shape[1] != d.shape[1]:
        raise ConfigError(
            f"probabilities of shape {p.shape} and distances of {d.shape} were given; a column of each "
            "should stand for the same label"
        )
    cost = p @ (d**power).T
    # Equal costs differ in their last digits by the order of summation; that must not choose.
    scale = np.maximum(cost.min(axis=1, keepdims=True), 1.0) * 1e-9
    return np.asarray((cost <= cost.min(axis=1, keepdims=True) + scale).argmax(axis=1), dtype=np.intp)


def frechet_paths(
    space: LabelSpace,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    answers: Literal["leaves", "any"] = "leaves",
    power: float = 2.0,
) -> list[tuple[str, ...]]:
    """Fréchet mean over the tree, as a path from the top: consistent by construction, unseen labels included.

    Args:
        space: The tree.
        probabilities: [n, k].
        classes: [k] names of the columns; a part of the space will do.
        answers: End at a leaf, or wherever the mean is: a text that may belong in either of two
            groups then gets what is above both.
        power: See `frechet_mean`.
    """
    candidates = space.leaves if answers == "leaves" else space.names
    chosen = frechet_mean(probabilities, tree_distances(space, candidates, classes), power=power)
    return [space.path(candidates[at]) for at in chosen]


# -- one consistent answer in a tree --------------------------------------------------------------------


def mass_of(space: LabelSpace, probabilities: npt.ArrayLike, classes: Sequence[str]) -> Doubles:
    """Probability of every label of a tree [n, len(space)], that of a group being what lies on and below it.

    Args:
        space: The tree.
        probabilities: [n, k] of labels of which one is right.
        classes: [k] names of the columns.
    """
    names = list(space.names)
    place = {name: at for at, name in enumerate(names)}
    below = np.zeros((len(classes), len(names)))
    for at, name in enumerate(classes):
        below[at, [place[step] for step in space.path(name)]] = 1
    return np.asarray(np.asarray(probabilities, dtype=np.float64) @ below)


def best_paths(
    space: LabelSpace, probabilities: npt.ArrayLike, *, stop: Literal["leaf", "sure"] = "leaf", threshold: float = 0.5
) -> list[tuple[str, ...]]:
    """One path from the top for each row.

    Args:
        space: The tree.
        probabilities: [n, len(space)], one for each label in the order of `space.names`, as `mass_of` gives it or
            from a head that scores every level by itself, so that they may contradict each other.
        stop: `leaf` gives the path to a leaf that is likeliest as a whole: of all paths, the one with the
            highest sum of log-odds, which is the likeliest state of independent labels of which exactly one
            path is on. `sure` goes down to the likeliest label below while that has the threshold, and may
            end in a group, or be empty.
        threshold: For `sure`.
    """
    p = _for_all_labels(space, probabilities)
    place = {name: at for at, name in enumerate(space.names)}
    if stop == "leaf":
        paths = [space.path(leaf) for leaf in space.leaves]
        odds = _log_odds(p)
        totals = np.stack([odds[:, [place[name] for name in path]].sum(axis=1) for path in paths], axis=1)
        return [paths[at] for at in totals.argmax(axis=1)]
    found = []
    for row in p:
        path: tuple[str, ...] = ()
        while below := space.children(path[-1] if path else None):
            best = max(below, key=lambda name: row[place[name]])
            if row[place[best]] < threshold:
                break
            path = (*path, best)
        found.append(path)
    return found


def consistent_sets(space: LabelSpace, probabilities: npt.ArrayLike, *, threshold: npt.ArrayLike = 0.5) -> Flags:
    """The likeliest set of labels in which every label comes with all above it, [n, len(space)].

    Of all such sets, the one with the highest sum of log-odds over thresholds: a sure leaf pulls in an unsure
    group, and a group that is surely wrong keeps out the leaves below it. Exact, by one pass up and one down.

    Args:
        space: The tree.
        probabilities: [n, len(space)], in the order of `space.names`.
        threshold: One, or one for each label: where a label by itself would be given.
    """
    p = _for_all_labels(space, probabilities)
    gain = _log_odds(p) - _log_odds(np.broadcast_to(np.asarray(threshold, dtype=np.float64), p.shape))
    place = {name: at for at, name in enumerate(space.names)}
    deepest_first = sorted(space.names, key=lambda name: -len(space.path(name)))
    best = gain.copy()  # of a label and the best of what is below it
    for name in deepest_first:
        parent = space[name].parent
        if parent is not None:
            best[:, place[parent]] += np.maximum(best[:, place[name]], 0)
    given = best >= 0
    for name in reversed(deepest_first):
        parent = space[name].parent
        if parent is not None:
            given[:, place[name]] &= given[:, place[parent]]
    return np.asarray(given)


def _for_all_labels(space: LabelSpace, probabilities: npt.ArrayLike) -> Doubles:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(space):
        raise ConfigError(
            f"probabilities of shape {p.shape} were given for a space of {len(space)} labels; give one for each "
            "label of every level, as `mass_of` does"
        )
    return p


def _log_odds(p: npt.NDArray[Any]) -> Doubles:
    """Log-odds that stay within what double precision tells apart from 0 and 1."""
    kept = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept), dtype=np.float64)
