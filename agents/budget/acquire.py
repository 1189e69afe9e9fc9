"""Which texts to label next: those that teach the classifier something and that the labeler likely gets right."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Chances = npt.NDArray[np.floating]
"""Probabilities [n, k]."""
Acquisition = Literal["robust", "uncertain", "random"]
"""robust: informative and likely labelled right; uncertain: the least sure; random: any."""


def informativeness(chances: Chances, *, multi_label: bool = False) -> npt.NDArray[np.float64]:
    """How unsure the classifier is of each text, from 0 to 1 [n].

    One label a text: 1 less the margin between the two likeliest. Several: that of the label it is least sure of.
    """
    if multi_label:
        return np.asarray(1 - np.abs(2 * chances - 1).min(axis=1), dtype=np.float64)
    if chances.shape[1] < 2:
        return np.ones(len(chances))
    top = np.partition(chances, -2, axis=1)[:, -2:].astype(np.float64)
    return np.asarray(1 - (top[:, 1] - top[:, 0]), dtype=np.float64)


def robust_distribution(gains: npt.NDArray[np.float64], wrong: float) -> npt.NDArray[np.float64]:
    """Probability of drawing each text [n], so that what is gained is most even if the worst are labelled wrong.

    The game of Robust Active Distillation (Baykal et al., arXiv 2210.01213): we draw a text i with probability p_i and
    gain g_i; an adversary makes any m labels worthless. The best answer makes p_i g_i equal over the k most
    informative texts and 0 elsewhere, where k maximises (k - m) / sum of 1 / g_i over these.

    Args:
        gains: Informativeness of each text [n], 0 or more.
        wrong: m, the number of texts that the labeler is expected to get wrong.
    """
    count = len(gains)
    order = np.argsort(-gains, kind="stable")
    inverse = 1.0 / np.maximum(gains[order], 1e-9)
    sums = np.cumsum(inverse)
    sizes = np.arange(1, count + 1)
    best = int(np.argmax((sizes - min(wrong, count - 1)) / sums)) + 1
    drawn = np.zeros(count)
    drawn[order[:best]] = inverse[:best] / sums[best - 1]
    return drawn


def choose(
    chances: Chances,
    count: int,
    *,
    way: Acquisition = "robust",
    multi_label: bool = False,
    errors: float = 0.03,
    seed: int = 0,
) -> npt.NDArray[np.intp]:
    """Positions of the texts to label next, sorted.

    Args:
        chances: What the classifier makes of the texts that are not labelled yet [n, k].
        count: Texts wanted; all where there are no more.
        way: How they are chosen.
        multi_label: Whether a text can have several labels.
        errors: Share of texts that the labeler is expected to get wrong; for "robust".
        seed: Of the draw.
    """
    random = np.random.default_rng(seed)
    total = len(chances)
    if total <= count:
        return np.arange(total)
    if way == "random":
        return np.sort(random.choice(total, count, replace=False))
    gains = informativeness(chances, multi_label=multi_label)
    if way == "uncertain":
        return np.sort(np.argsort(-gains, kind="stable")[:count])
    drawn = robust_distribution(gains, errors * total)
    if (some := np.flatnonzero(drawn)).size <= count:  # all of these, and the next most informative
        rest = np.argsort(-np.where(drawn > 0, -1.0, gains), kind="stable")[: count - some.size]
        return np.sort(np.concatenate([some, rest]))
    return np.sort(random.choice(total, count, replace=False, p=drawn))
