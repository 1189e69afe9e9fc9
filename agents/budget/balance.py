"""Cheap and expensive labels under one budget: many that are often right, or few that nearly always are.

Which is better hangs on prices, on how often the cheap labeler is wrong, and on whether its errors follow a pattern
that a classifier learns with them (the regimes of "Balancing Label Quantity and Quality", arXiv 2410.13215). No rule
knows that beforehand, so the budget is spent in parts. A classifier hardly gets better than its teacher: once one
that learned from expensive labels alone agrees with them more often than the cheap labeler does, across folds, no
more cheap ones are bought. Before that, classifiers learn from all labels but the last part of the one kind, or of
the other: what is missed more is bought next. The same folds say how much a cheap label counts beside an expensive
one, from nothing to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError
from labelspace.finetune.logistic import fit_logistic, fit_temperature
from labelspace.progress import note
from labelspace.records import Classifier, Prediction, Record

LEAST = 20
"""Texts that both label at least."""
WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""What a cheap label may count beside an expensive one."""
FOLDS = 5
STRENGTH = 30.0
"""Inverse penalty of the classifier, as of the linear head."""
Targets = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Balanced:
    """Labels, and what they cost."""

    labels: dict[str, Prediction] = field(default_factory=dict)
    """By record id: expensive ones, and cheap ones, if they count, with their weight as confidence."""
    weight: float = 0.0
    """What a cheap label counts beside an expensive one; 0 where they did more harm than good."""
    cheap: int = 0
    """Texts that the cheap labeler was asked about."""
    expensive: int = 0
    """Texts that the expensive labeler was asked about."""
    agreement: float = 0.0
    """Share of the texts that both were asked about first, on which they agree."""
    spent: float = 0.0


def balance(
    records: Sequence[Record],
    cheap: Classifier,
    expensive: Classifier,
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]],
    *,
    prices: tuple[float, float],
    budget: float,
    pilot: int = 60,
    parts: int = 6,
    seed: int = 0,
    shown: bool = True,
) -> Balanced:
    """Spend a budget on two labelers.

    Args:
        records: What may be labelled; ids are unique.
        cheap: The labeler that costs less, and is wrong more often.
        expensive: The labeler that is taken to be right.
        embed: Texts to rows of length 1 [n, d].
        prices: Of one label of each, in any currency.
        budget: What may be spent in all; it is never exceeded.
        pilot: Texts that both label first.
        parts: Parts in which the rest of the budget is spent.
        seed: Of the order in which texts are drawn.
        shown: Whether to say what each part went to.

    Raises:
        ConfigError: Texts can have several labels, or the budget does not suffice for the pilot.
    """
    if expensive.label_space.multi_label:
        raise ConfigError("cheap and expensive labels are balanced for one label a text only")
    if pilot < LEAST or budget < pilot * sum(prices):
        raise ConfigError(
            f"a budget of {budget:g} does not pay for {max(pilot, LEAST)} labels of each, {sum(prices):g} a text; "
            "give more, or label with one model alone"
        )
    texts = [record for record in records if not record.is_blank]
    drawn = [texts[at] for at in np.random.default_rng(seed).permutation(len(texts))]
    purse = _Purse(drawn, (cheap, expensive), embed([record.text for record in drawn]), prices, seed)
    purse.buy(0, min(pilot, len(drawn)))
    purse.buy(1, min(pilot, len(drawn)))
    first = min(len(one) for one in purse.given)
    agreement = float(np.mean([a.label == b.label for a, b in zip(*(one[:first] for one in purse.given), strict=True)]))
    part = (budget - purse.spent) / parts
    turn = 0
    while (money := budget - purse.spent) >= min(prices) and (open_kinds := purse.open(money)):
        kind = open_kinds[0]
        if len(open_kinds) > 1:
            # The expensive kind first; then one part of the cheap kind, as only what is there can be missed.
            kind = 1 if turn == 0 or purse.outgrown() else 0 if turn == 1 else purse.missed(part)
        purse.buy(kind, max(1, int(min(part, money) / prices[kind] + 1e-9)))
        turn += 1
        if shown:
            note(
                f"{purse.spent:g} of {budget:g} spent: {len(purse.given[0]):,} cheap, {len(purse.given[1]):,} expensive"
            )
    weight = purse.best_weight()
    labels = {one.record_id: replace(one, confidence=weight) for one in purse.given[0] if weight and one.label}
    labels |= {one.record_id: replace(one, confidence=1.0) for one in purse.given[1]}
    return Balanced(labels, weight, len(purse.given[0]), len(purse.given[1]), agreement, purse.spent)


class _Purse:
    """What was bought: the first of the texts from each labeler."""

    def __init__(
        self,
        records: list[Record],
        labelers: tuple[Classifier, Classifier],
        vectors: npt.NDArray[np.float32],
        prices: tuple[float, float],
        seed: int,
    ) -> None:
        self.records, self.labelers, self.prices = records, labelers, prices
        self.vectors = vectors.astype(np.float64)
        self.given: tuple[list[Prediction], list[Prediction]] = ([], [])
        space = labelers[1].label_space
        self.column = {name: at for at, name in enumerate([*space.leaves, *filter(None, [space.other])])}
        self.fold = np.random.default_rng(seed).integers(FOLDS, size=len(records))

    @property
    def spent(self) -> float:
        return sum(len(given) * price for given, price in zip(self.given, self.prices, strict=True))

    def open(self, money: float) -> list[int]:
        """Kinds of labels that there is money and a text for."""
        return [kind for kind in (0, 1) if self.prices[kind] <= money and len(self.given[kind]) < len(self.records)]

    def buy(self, kind: int, count: int) -> None:
        start = len(self.given[kind])
        self.given[kind].extend(self.labelers[kind].predict(self.records[start : start + count]))

    def outgrown(self) -> bool:
        """Whether a classifier that learned from expensive labels alone is right as often as the cheap labeler."""
        both = zip(*self.given, strict=False)
        agreement = np.mean([one.label == other.label for one, other in both])
        logits, wanted = self._across(0, len(self.given[1]), 0.0)
        return bool((logits.argmax(1) == wanted.argmax(1)).mean() >= agreement)

    def missed(self, money: float) -> int:
        """The kind whose last labels, of so much money, are missed more."""
        counts = [len(given) for given in self.given]
        fewer = [max(LEAST, count - int(money / price)) for count, price in zip(counts, self.prices, strict=True)]
        without_cheap, without_expensive = (
            max((self.score(*kept, weight) for weight in WEIGHTS), key=np.mean)
            for kept in ((fewer[0], counts[1]), (counts[0], fewer[1]))
        )
        more = without_expensive - without_cheap
        # In doubt the expensive kind: its labels are right.
        return 0 if more.mean() > more.std() / np.sqrt(len(more)) else 1

    def best_weight(self) -> float:
        scores = [self.score(len(self.given[0]), len(self.given[1]), weight).mean() for weight in WEIGHTS]
        return WEIGHTS[int(np.argmax(scores))]

    def score(self, cheap: int, expensive: int, weight: float) -> npt.NDArray[np.float64]:
        """Log-probability of each expensive label, across folds, by a classifier that learned from some labels [n].

        At the temperature that suits it best: otherwise labels of no use look good because they make it less sure.
        """
        logits, wanted = self._across(cheap, expensive, weight)
        logits = logits / fit_temperature(logits, wanted, exclusive=True)
        highest = logits.max(1)
        norm = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
        return np.asarray((logits * wanted).sum(1) - norm)

    def _across(
        self, cheap: int, expensive: int, weight: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Logits of texts with expensive labels [n, k], each from the other folds, and their labels [n, k]."""
        own = self._targets(self.given[1])
        other = self._targets(self.given[0][:cheap])
        asked = np.flatnonzero(own >= 0)
        scored, truth = [], []
        for fold in range(FOLDS):
            held = asked[self.fold[asked] == fold]
            kept = asked[(self.fold[asked] != fold) & (asked < expensive)]
            # A text that is held out teaches nothing, and an expensive label stands before a cheap one.
            more = np.flatnonzero((other >= 0) & (self.fold[: len(other)] != fold)) if weight else asked[:0]
            more = more[~np.isin(more, kept)]
            rows = np.concatenate([kept, more])
            targets = np.eye(len(self.column))[np.concatenate([own[kept], other[more]])]
            weights = np.concatenate([np.ones(len(kept)), np.full(len(more), weight)])
            matrix, bias = fit_logistic(
                self.vectors[rows], targets, weights=weights, C=STRENGTH, exclusive=True, max_iter=100
            )
            scored.append(self.vectors[held] @ matrix + bias)
            truth.append(np.eye(len(self.column))[own[held]])
        return np.concatenate(scored), np.concatenate(truth)

    def _targets(self, given: Sequence[Prediction]) -> Targets:
        """Column of each label; -1 where there is none."""
        return np.array([self.column[one.label] if one.label else -1 for one in given], dtype=np.intp)
