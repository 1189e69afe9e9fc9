"""Out-of-sample scores by cross-validation whose folds keep near-duplicates together.

A copy of a record with the same wrong label teaches the model that the label is right; so copies
are always scored by a model that saw none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelspace.errors import DataError
from labelspace.progress import Progress


class Head(Protocol):
    """A classifier in the manner of scikit-learn; `classes_` names the columns of the probabilities."""

    classes_: Any

    def fit(self, texts: Any, labels: Any) -> Any:
        """Learn."""
        ...

    def predict_proba(self, texts: Any) -> Any:
        """Probabilities, [n, len(classes_)]."""
        ...


def grouped_folds(
    groups: NDArray[np.int64], labels: Sequence[tuple[str, ...]], *, folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Give each record a fold, [n], so that groups stay whole and labels are spread evenly.

    Large groups are placed first, each where its labels are rarest so far, then where there is most room.
    """
    n = len(groups)
    if not 2 <= folds <= max(2, len(np.unique(groups))):
        raise DataError(
            f"{len(np.unique(groups))} groups of records can't be spread over {folds} folds", advice="give fewer folds"
        )
    order = np.random.default_rng(seed).permutation(n)
    members: dict[int, list[int]] = {}
    for at in order.tolist():
        members.setdefault(int(groups[at]), []).append(at)
    names = {label: column for column, label in enumerate(sorted({label for given in labels for label in given}))}
    held = np.zeros((folds, len(names) + 1))
    sizes = np.zeros(folds)
    chosen = np.empty(n, np.int64)
    for positions in sorted(members.values(), key=len, reverse=True):
        columns = [names[label] for at in positions for label in labels[at]] or [len(names)]
        fold = int(np.lexsort((sizes, held[:, columns].sum(axis=1)))[0])
        chosen[positions] = fold
        np.add.at(held[fold], columns, 1)
        sizes[fold] += len(positions)
    return chosen


def out_of_sample(
    texts: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    fold: NDArray[np.int64],
    make_head: Callable[[], Head],
    *,
    names: Sequence[str],
    multi_label: bool = False,
    repeats: Sequence[NDArray[np.int64]] = (),
) -> NDArray[np.float32]:
    """Score each record by a model that was fitted without its fold.

    Args:
        texts: The texts; blank ones are neither learned from nor scored (their row is even).
        labels: Their labels.
        fold: Fold of each record, [n], from `grouped_folds`.
        make_head: Makes an untrained classifier.
        names: Label names in the order of the columns wanted.
        multi_label: Whether the classifier takes lists of labels.
        repeats: More ways to fold; the scores are averaged over all.

    Returns:
        Probabilities, [n, len(names)]; 0 for a label that the model of that fold never saw.
    """
    column = {name: at for at, name in enumerate(names)}
    written = np.array([bool(text.strip()) for text in texts])
    total = np.zeros((len(texts), len(names)), np.float32)
    ways = [fold, *repeats]
    with Progress("cross-validating", total=sum(len(np.unique(way)) for way in ways), unit="folds") as bar:
        for way in ways:
            for learn, held in _splits(way, written):
                head = make_head()
                given = [list(labels[at]) if multi_label else labels[at][0] for at in learn]
                head.fit([texts[at] for at in learn], given)
                found = head.predict_proba([texts[at] for at in held])
                columns = np.array([column[str(name)] for name in head.classes_], np.int64)
                total[np.ix_(held, columns)] += found
                bar.advance()
    scores: NDArray[np.float32] = total / np.float32(len(ways))
    scores[~written] = 0.5 if multi_label else 1 / len(names)
    return scores


def _splits(
    fold: NDArray[np.int64], written: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for number in np.unique(fold):
        yield np.flatnonzero((fold != number) & written), np.flatnonzero((fold == number) & written)
