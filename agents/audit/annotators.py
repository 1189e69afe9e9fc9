"""One label from many opinions: Dawid and Skene's EM, with a classifier as one more annotator.

Each annotator has a confusion matrix, the true labels are hidden, and both are estimated in turn
(Dawid and Skene 1979, Applied Statistics 28). People and models are treated alike. A classifier
votes for every label with the probability that it gives it, so EM also learns how far to trust it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelspace.errors import DataError
from labelspace.records import Record

Floats = NDArray[np.float64]
Annotations = Mapping[str, Sequence[tuple[str, str]]]
"""By record id, the (annotator, label) pairs that it was given."""
CLASSIFIER = "classifier"
"""Name of the annotator that stands for the classifier."""


@dataclass(frozen=True)
class Votes:
    """Who gave which item which label: arrays of equal length, one entry a vote."""

    items: NDArray[np.int64]
    annotators: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: Floats
    """How much of a vote it is: 1 for a person, the probability for a classifier."""
    annotator_names: tuple[str, ...]
    label_names: tuple[str, ...]
    count: int
    """How many items there are."""


@dataclass(frozen=True)
class Annotator:
    """How good one annotator is, as estimated without knowing the truth."""

    name: str
    votes: int
    accuracy: float
    """Estimated chance that a vote is right, over the labels as frequent as they are; in [0, 1]."""
    agreement: float
    """Share of the votes that agree with the consensus, in [0, 1]."""
    confusion: Floats
    """Chance of each vote (column) for each true label (row), [k, k]."""


@dataclass(frozen=True)
class Consensus:
    """What all annotators say together."""

    probabilities: Floats
    """Of each label for each item, [n, k]."""
    label_names: tuple[str, ...]
    annotators: tuple[Annotator, ...]
    rounds: int

    @property
    def labels(self) -> list[str]:
        """The most probable label of each item."""
        return [self.label_names[at] for at in self.probabilities.argmax(axis=1)]


def collect_votes(
    opinions: Sequence[Sequence[tuple[str, str]]], labels: Sequence[str], *, classifier: Floats | None = None
) -> Votes:
    """Bring votes into the form that the consensus needs.

    Args:
        opinions: For each item, (annotator, label) pairs.
        labels: All labels there are, in the order of the columns of `classifier`.
        classifier: Out-of-sample probabilities of a classifier, [n, k], which votes too.

    Raises:
        DataError: A label is not known, or the scores do not fit.
    """
    position = {label: at for at, label in enumerate(labels)}
    names: dict[str, int] = {}
    items, annotators, given = [], [], []
    for item, pairs in enumerate(opinions):
        for annotator, label in pairs:
            if label not in position:
                raise DataError(f"annotator {annotator!r} gave the label {label!r}, which is not one of the labels")
            items.append(item)
            annotators.append(names.setdefault(annotator, len(names)))
            given.append(position[label])
    weights = np.ones(len(items))
    if classifier is not None:
        n, k = np.shape(classifier)
        if (n, k) != (len(opinions), len(labels)):
            raise DataError(f"the classifier's scores are {n} by {k}, not {len(opinions)} by {len(labels)}")
        own = names.setdefault(CLASSIFIER, len(names))
        items += np.repeat(np.arange(n), k).tolist()
        annotators += [own] * (n * k)
        given += np.tile(np.arange(k), n).tolist()
        weights = np.concatenate([weights, np.asarray(classifier, np.float64).reshape(-1)])
    if not items:
        raise DataError("there are no votes")
    return Votes(
        items=np.array(items, np.int64),
        annotators=np.array(annotators, np.int64),
        labels=np.array(given, np.int64),
        weights=weights,
        annotator_names=tuple(names),
        label_names=tuple(labels),
        count=len(opinions),
    )


def majority(votes: Votes) -> Floats:
    """Share of the votes for each label of each item, [n, k]; even shares where nobody voted."""
    k = len(votes.label_names)
    counts = np.bincount(votes.items * k + votes.labels, votes.weights, votes.count * k).reshape(-1, k)
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, totals, out=np.full_like(counts, 1 / k), where=totals > 0))


def dawid_skene(votes: Votes, *, smoothing: float = 0.5, most_rounds: int = 200, tolerance: float = 1e-6) -> Consensus:
    """Estimate true labels and the confusion matrix of each annotator from votes alone.

    Args:
        votes: Who said what.
        smoothing: Votes of everybody together that are mixed into each annotator's matrix (shared by
            the labels as they were given by all), so that one with few votes is neither quite
            trusted nor quite distrusted; 0 is the paper's maximum likelihood.
        most_rounds: When to stop at the latest.
        tolerance: Change of the probabilities below which it has settled.
    """
    k, workers = len(votes.label_names), len(votes.annotator_names)
    truth = majority(votes)
    confusion, prior = np.empty((workers, k, k)), np.full(k, 1 / k)
    cell = (votes.annotators * k + votes.labels, votes.items)
    done = 0
    for done in range(1, most_rounds + 1):  # noqa: B007 (told in the result)
        # M: how often each annotator gave each label, by probable true label.
        counts = np.stack(
            [np.bincount(cell[0], votes.weights * truth[votes.items, label], workers * k) for label in range(k)]
        )
        counts = counts.reshape(k, workers, k).transpose(1, 0, 2)
        pooled = counts.sum(axis=0) + 1e-9
        counts = counts + smoothing * pooled / pooled.sum(axis=1, keepdims=True)
        totals = counts.sum(axis=2, keepdims=True)
        confusion = np.divide(counts, totals, out=np.full_like(counts, 1 / k), where=totals > 0)
        prior = truth.mean(axis=0)
        # E: how probable each label is given all votes.
        logs = np.log(np.maximum(confusion, 1e-12))
        evidence = logs[votes.annotators, :, votes.labels] * votes.weights[:, None]
        scores = np.tile(np.log(np.maximum(prior, 1e-12)), (votes.count, 1))
        np.add.at(scores, votes.items, evidence)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        before, truth = truth, scores / scores.sum(axis=1, keepdims=True)
        if np.abs(truth - before).max() < tolerance:
            break
    return Consensus(truth, votes.label_names, _describe(votes, truth, confusion, prior), done)


def _describe(votes: Votes, truth: Floats, confusion: Floats, prior: Floats) -> tuple[Annotator, ...]:
    agrees = truth.argmax(axis=1)[votes.items] == votes.labels
    weight = np.bincount(votes.annotators, votes.weights, len(votes.annotator_names))
    agreeing = np.bincount(votes.annotators, votes.weights * agrees, len(votes.annotator_names))
    return tuple(
        Annotator(
            name=name,
            votes=round(float(weight[at])),
            accuracy=float(prior @ confusion[at].diagonal()),
            agreement=float(agreeing[at] / weight[at]) if weight[at] else 0.0,
            confusion=confusion[at],
        )
        for at, name in enumerate(votes.annotator_names)
    )


def by_majority(record: Record, given: Sequence[tuple[str, str]] | None) -> Record:
    """The record; with what most annotators say as its label, where it has none of its own."""
    if record.labels is not None or not given:
        return record
    said = [label for _, label in given]
    return replace(record, labels=(max(sorted(set(said)), key=said.count),))


def opinions_of(
    records: Sequence[Record], names: Sequence[str], annotations: Annotations, classifier: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], Consensus, NDArray[np.bool_]]:
    """What annotators say of the labels of records.

    Args:
        records: With one label each.
        names: All labels.
        annotations: Who said what.
        classifier: Out-of-sample probabilities, [n, k]; it votes in the consensus, but not in the opinion.

    Returns:
        The probability that each label is right by the annotators alone, [n], NaN where nobody voted;
        the consensus; and who of the records has votes, [n].
    """
    opinions = [list(annotations.get(record.id, ())) for record in records]
    column = {name: at for at, name in enumerate(names)}
    people = dawid_skene(collect_votes(opinions, names))
    given = np.array([column[(record.labels or ("",))[0]] for record in records])
    voted = np.array([bool(pairs) for pairs in opinions])
    right = np.where(voted, people.probabilities[np.arange(len(records)), given], np.nan)
    if classifier is not None:
        people = dawid_skene(collect_votes(opinions, names, classifier=classifier))
    return right, people, voted
