"""Accuracy, F1 and their relatives, for single-label and multi-label answers alike.

A single-label answer is a multi-label one with one label, so one set of functions serves both. A
row without an answer (None) is wrong: it adds to what was missed, not to what was given.

>>> macro_f1(["a", "a", "b"], ["a", "b", "b"])
0.6666666666666666
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from labelspace.metrics.cells import Answer, Cells, FloatArray, LabelCounts, group
from labelspace.metrics.report import Confusion, LabelScore

NO_ANSWER = "(no answer)"
"""Stands for an abstained or failed row where a name is needed."""


def accuracy(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    """Share of rows whose answer is the gold label; for sets of labels, exactly the gold set."""
    cells = group(gold, predicted)
    return _mean(cells, cells.exact)


subset_accuracy = accuracy
"""What `accuracy` is called where a row can have several labels."""


def micro_f1(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    """F1 over all decisions; equals accuracy where each row has one label and one answer."""
    return float(micro_f1_of(group(gold, predicted).counts()))


def macro_f1(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    """Mean F1 of the labels that occur in the gold labels or in the answers."""
    return float(macro_f1_of(group(gold, predicted).counts()))


def weighted_f1(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    """Mean F1 of the labels, each weighted by the number of rows that have it."""
    return float(weighted_f1_of(group(gold, predicted).counts()))


def example_f1(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    """Mean over rows of the F1 between a row's gold set and its answer; 1 where both are empty."""
    cells = group(gold, predicted)
    return _mean(cells, example_f1_of(cells))


def hamming_loss(gold: Sequence[Answer], predicted: Sequence[Answer], *, names: Collection[str] | None = None) -> float:
    """Share of wrong yes-or-no decisions.

    Args:
        gold: Gold labels of each row.
        predicted: Answer to each row.
        names: All labels that were asked about; those that occur if not given.
    """
    cells = group(gold, predicted, names=names or ())
    return _mean(cells, hamming_of(cells))


def per_label(gold: Sequence[Answer], predicted: Sequence[Answer], *, names: Iterable[str] = ()) -> list[LabelScore]:
    """Precision, recall, F1 and counts of each label; `names` first, then what else occurs, sorted."""
    return per_label_of(group(gold, predicted, names=names))


def confusion_pairs(gold: Sequence[Answer], predicted: Sequence[Answer], *, top: int | None = None) -> list[Confusion]:
    """What was taken for what, most frequent first.

    In a multi-label row each missed label is paired with each wrong one; a row with nothing wrong
    to pair with (or nothing missed) counts under "(no answer)".
    """
    return confusion_pairs_of(group(gold, predicted), top=top)


# -- the same over grouped rows, for the bootstrap ---------------------------------------------


def micro_f1_of(counts: LabelCounts) -> FloatArray:
    """Micro F1 from counts [..., labels]; NaN where there is no decision at all."""
    return _divide(2 * counts.hit.sum(-1), counts.gold.sum(-1) + counts.predicted.sum(-1))


def label_f1_of(counts: LabelCounts) -> FloatArray:
    """F1 of each label [..., labels]; NaN for a label that does not occur."""
    return _divide(2 * counts.hit, counts.gold + counts.predicted)


def macro_f1_of(counts: LabelCounts) -> FloatArray:
    """Macro F1 from counts [..., labels], over the labels that occur in each."""
    f1 = label_f1_of(counts)
    return _divide(np.nansum(f1, -1), (~np.isnan(f1)).sum(-1))


def weighted_f1_of(counts: LabelCounts) -> FloatArray:
    """F1 weighted by gold counts [..., labels]."""
    return _divide((np.nan_to_num(label_f1_of(counts)) * counts.gold).sum(-1), counts.gold.sum(-1))


def example_f1_of(cells: Cells) -> FloatArray:
    """F1 of a row in each cell."""
    hit, gold, predicted = cells.sizes
    return np.where(gold + predicted == 0, 1.0, 2 * hit / np.maximum(gold + predicted, 1))


def hamming_of(cells: Cells) -> FloatArray:
    """Share of a row's decisions that are wrong, in each cell."""
    hit, gold, predicted = cells.sizes
    return (gold + predicted - 2 * hit) / max(len(cells.names), 1)


def per_label_of(cells: Cells) -> list[LabelScore]:
    """The table of labels, in the order of `cells.names`."""
    counts = cells.counts()
    f1 = label_f1_of(counts)
    return [
        LabelScore(
            name=name,
            precision=float(hit / predicted) if predicted else None,
            recall=float(hit / gold) if gold else None,
            f1=None if np.isnan(score) else float(score),
            support=int(gold),
            predicted=int(predicted),
        )
        for name, hit, gold, predicted, score in zip(
            cells.names, counts.hit, counts.gold, counts.predicted, f1, strict=True
        )
    ]


def confusion_pairs_of(cells: Cells, *, top: int | None = None) -> list[Confusion]:
    """Confusions by count, then by name."""
    found: Counter[tuple[str, str]] = Counter()
    support: Counter[str] = Counter()
    for (gold, predicted), rows in zip(cells.patterns, cells.rows.tolist(), strict=True):
        for name in gold or (NO_ANSWER,):
            support[name] += rows
        missed = [name for name in gold if name not in predicted]
        wrong = [name for name in predicted if name not in gold]
        if missed or wrong:
            for one in missed or [NO_ANSWER]:
                for other in wrong or [NO_ANSWER]:
                    found[one, other] += rows
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:top]
    return [
        Confusion(gold=gold, predicted=given, count=count, share=count / support[gold] if support[gold] else None)
        for (gold, given), count in ordered
    ]


def _mean(cells: Cells, values: FloatArray) -> float:
    """Mean over rows of a value that each cell has; NaN without rows."""
    return float(_divide(np.asarray(values @ cells.rows), np.asarray(cells.rows.sum())))


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    """Quotient, NaN where there is nothing to divide by."""
    below = np.asarray(below, dtype=np.float64)
    return np.asarray(np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0))
