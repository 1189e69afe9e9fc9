"""Cheap and expensive labels under one budget: many that are often right, or few that nearly always are.

Which is better hangs on prices, on how often the cheap labeler is wrong, and on whether it knows when it is (the
regimes of "Balancing Label Quantity and Quality", arXiv 2410.13215). Both label a few texts first. A label that is
wrong with probability e, in any of the k - 1 other ways, is then counted as (1 - e k / (k - 1)) squared of a right
one: with labels turned at random, the slope of a classifier's loss shrinks by the root of that, so that so many times
the texts are needed. Money goes where it buys most: while there are texts, to one of the two; where they run out
before the money, to asking again about those of which the cheap labeler is least sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from labelspace.agents.calibration import Calibrator
from labelspace.errors import ConfigError
from labelspace.records import Classifier, Prediction, Record

Doubles = npt.NDArray[np.float64]
LEAST = 20
"""Texts that both label at least."""


@dataclass(frozen=True)
class Shares:
    """What a budget is spent on."""

    cheap: int
    """Texts that the cheap labeler is asked about, those of the pilot among them."""
    redone: int
    """Texts, of these, that the expensive one is asked about too, because the cheap one is not sure of them."""
    expensive: int
    """Texts that only the expensive one is asked about."""
    agreement: float
    """Share of the pilot on which both agree."""


@dataclass(frozen=True)
class Balanced:
    """Labels, and what they cost."""

    labels: dict[str, Prediction]
    """By record id. The confidence of a cheap label is the share of such labels with which the expensive one agrees."""
    shares: Shares
    spent: float


def worth(wrong: npt.ArrayLike, labels: int) -> Doubles:
    """What a label is worth that is wrong with such a probability, beside one that is right: from 0 to 1."""
    share = np.asarray(wrong, dtype=np.float64) * labels / max(labels - 1, 1)
    return np.asarray(np.clip(1 - share, 0, None) ** 2)


def plan(
    wrong: Doubles, *, labels: int, prices: tuple[float, float], money: float, texts: int
) -> tuple[int, float, int]:
    """How to spend money.

    Args:
        wrong: For a few texts, the probability that the cheap label is wrong.
        labels: Labels of the space.
        prices: Of a cheap and of an expensive label.
        money: What there is to spend.
        texts: Texts that there are.

    Returns:
        Texts to label cheaply; the probability of being wrong from which on these are asked about again; texts that
        only the expensive labeler is asked about.
    """
    cheap, dear = prices
    value = worth(wrong, labels)
    order = np.argsort(-wrong, kind="stable")
    best = (min(int(money // dear), texts), 0, np.inf, 0)
    most = float(best[0])  # everything on expensive labels alone
    for redone in range(len(wrong) + 1):
        # The share of the cheap labels that is redone is that of the pilot's least sure.
        share = redone / len(wrong)
        kept = value[order[redone:]].sum() / len(wrong) + share
        count = min(int(money // (cheap + share * dear)), texts)
        left = min(int((money - count * (cheap + share * dear)) // dear), texts - count)
        if count * kept + max(left, 0) > most + 1e-9:
            most = count * kept + max(left, 0)
            threshold = float(wrong[order[redone - 1]]) if redone else np.inf
            best = (0, count, threshold, max(left, 0))
    return best[1], best[2], best[0] + best[3]


def balance(
    records: Sequence[Record],
    cheap: Classifier,
    expensive: Classifier,
    *,
    prices: tuple[float, float],
    budget: float,
    pilot: int = 60,
    seed: int = 0,
) -> Balanced:
    """Spend a budget on two labelers.

    Args:
        records: What may be labelled.
        cheap: The labeler that costs less, and is wrong more often.
        expensive: The labeler that is taken to be right.
        prices: Of one label of each, in any currency.
        budget: What may be spent in all; it is never exceeded.
        pilot: Texts that both label first.
        seed: Of the order in which texts are drawn.

    Raises:
        ConfigError: Texts can have several labels, or the budget does not suffice for the pilot.
    """
    space = expensive.label_space
    if space.multi_label:
        raise ConfigError("cheap and expensive labels are balanced for one label a text only")
    names = len(space.leaves) + bool(space.other)
    if pilot < LEAST or budget < pilot * sum(prices):
        raise ConfigError(
            f"a budget of {budget:g} does not pay for {max(pilot, LEAST)} labels of each, {sum(prices):g} a text; "
            "give more, or label with one model alone"
        )
    texts = [record for record in records if not record.is_blank]
    drawn = [texts[at] for at in np.random.default_rng(seed).permutation(len(texts))]
    both, rest = drawn[:pilot], drawn[pilot:]
    first, second = list(cheap.predict(both)), list(expensive.predict(both))
    agree = np.array([one.label == other.label for one, other in zip(first, second, strict=True)], dtype=np.float64)
    sure = _confidences(first)
    known = len(set(sure.tolist())) > 1 and 0 < agree.sum() < len(agree)
    trust = Calibrator.fit(sure, agree, "sigmoid") if known else None
    wrong = 1 - (trust(sure) if trust else np.full(len(both), agree.mean()))
    spent = len(both) * sum(prices)
    labels = {one.record_id: one for one in second}

    count, threshold, alone = plan(wrong, labels=names, prices=prices, money=budget - spent, texts=len(rest))
    made = list(cheap.predict(rest[:count]))
    spent += count * prices[0]
    doubt = 1 - (trust(_confidences(made)) if trust else np.full(len(made), agree.mean()))
    for one, share in zip(made, doubt, strict=True):
        labels[one.record_id] = replace(one, confidence=1 - float(share))
    by_id = {record.id: record for record in rest}
    unsure = [made[at].record_id for at in np.argsort(-doubt, kind="stable") if doubt[at] >= threshold]
    unsure = unsure[: int((budget - spent) // prices[1] + 1e-9)]
    spent += len(unsure) * prices[1]
    more = min(alone, int((budget - spent) // prices[1] + 1e-9), len(rest) - count)
    spent += more * prices[1]
    for one in expensive.predict([*(by_id[name] for name in unsure), *rest[count : count + more]]):
        labels[one.record_id] = one
    shares = Shares(pilot + count, pilot + len(unsure), more, float(agree.mean()))
    return Balanced(labels, shares, spent)


def _confidences(predictions: Sequence[Prediction]) -> Doubles:
    return np.array([0.5 if one.confidence is None else one.confidence for one in predictions])
