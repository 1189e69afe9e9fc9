"""The whole audit of a labelled data set: scores, neighbours, duplicates, opinions, one suspicion each.

found = audit(records, space)
found.report.flagged            # how many labels are probably wrong
next(found.rows())              # evidence of the most suspicious record first
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.annotators import Annotations, by_majority, opinions_of
from labelspace.agents.audit.confident import OUTSIDE, chunks
from labelspace.agents.audit.filters import Filter, flag_labels, lowest
from labelspace.agents.audit.folds import Head, grouped_folds, out_of_sample
from labelspace.agents.audit.multilabel import class_quality, flag_multilabel, pool_quality
from labelspace.agents.audit.neighbours import conflicts, duplicate_groups, nearest, neighbour_votes
from labelspace.agents.audit.result import Audit, AuditReport, annotator_qualities
from labelspace.agents.audit.scores import Score, label_quality
from labelspace.agents.audit.suspicion import NEIGHBOUR_TEMPERATURE, suspect
from labelspace.embed import Embedder, fit_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

Opinions = Mapping[str, Mapping[str, float]]
Ask = Callable[[Sequence[Record], NDArray[np.float64]], Opinions]

NEIGHBOURS = 30
MOST_COMPARED = 200_000
"""Past this many records neighbours are not searched: the search is exact, and its time grows with the square."""


def audit(
    records: Sequence[Record],
    space: LabelSpace,
    *,
    embedder: Embedder | None = None,
    neighbours: bool = True,
    make_head: Callable[[], Head] | None = None,
    scores: NDArray[np.floating[Any]] | None = None,
    opinions: Opinions | None = None,
    annotations: Annotations | None = None,
    ask: Ask | None = None,
    filter_by: Filter = "confident_learning",
    exactly: bool = False,
    score: Score = "self_confidence",
    adjusted: bool = False,
    tolerance: int = 0,
    folds: int = 5,
    seed: int = 0,
) -> Audit:
    """Audit the labels of a data set by whatever signals there are; any of them is enough.

    Args:
        records: All records; those without labels or text are counted and left out.
        space: The label space; its leaves are the columns of `scores`.
        embedder: For neighbours and near-duplicates; None leaves the neighbours out.
        neighbours: Whether the neighbours speak; if not, the embedder only finds near-duplicates.
        make_head: Makes the classifier that is cross-validated where no scores are given; None leaves it out.
        scores: Out-of-sample probabilities, one row a record, [len(records), leaves].
        opinions: More signals: name to record id to the probability that its labels are right.
        annotations: By record id, what (annotator, label) each of several people or models gave it.
            A record without labels has what most of them say.
        ask: Gives further opinions when it is shown the records and how suspicious each is by the
            other signals, so that what costs money can be spent on the most suspicious.
        filter_by: Filter of confident learning. As many labels are flagged as it flags where the neighbours
            are for the same other label (a weak classifier alone would flag its own mistakes); which
            ones, the suspicion says. What judges or annotators contradict is flagged besides.
        exactly: Flag just what the filter flags, whatever other signals say.
        score: Score of confident learning to report.
        adjusted: Whether that score is adjusted by the thresholds of the labels.
        tolerance: Labels are a scale in the order of the space, and one this many steps off is right.
        folds: Folds of the cross-validation.
        seed: Of the folds.

    Raises:
        ConfigError: A setting does not go with a space of several labels, or there is no signal.
        DataError: No record has labels, a label is not in the space, or the scores do not fit.
    """
    several = space.multi_label
    if several and (tolerance or annotations):
        raise ConfigError("annotators and a tolerance are for one label a text, but the space has several")
    names = (*space.leaves, *((space.other,) if space.other and scores is None else ()))
    records = [by_majority(record, (annotations or {}).get(record.id)) for record in records]
    usable = [at for at, record in enumerate(records) if record.labels is not None and not record.is_blank]
    if not several:
        usable = [at for at in usable if records[at].labels]
    if not usable:
        raise DataError("no record has a text and labels", advice="name the columns with --text-column, --label-column")
    kept = [records[at] for at in usable]
    has = _matrix(kept, names, space)
    texts, labels = [record.text for record in kept], [record.labels or () for record in kept]
    near = None
    if embedder is not None and len(kept) <= MOST_COMPARED:
        near = nearest(fit_embedder(embedder, texts).embed(texts), k=NEIGHBOURS)
    groups = duplicate_groups(texts, found=near)
    votes = None
    if near is not None and neighbours:
        votes = neighbour_votes(near, has, temperature=NEIGHBOUR_TEMPERATURE)
    scored_by: str | None = "classifier"
    if scores is not None:
        probabilities: NDArray[np.floating[Any]] = _given_scores(scores, len(records), usable, names, several=several)
    elif make_head is not None:
        fold = grouped_folds(groups, labels, folds=min(folds, len(np.unique(groups))), seed=seed)
        probabilities = out_of_sample(texts, labels, fold, make_head, names=names, multi_label=several)
    elif votes is not None:
        # Nobody votes on their own label, so the votes are out-of-sample as they are.
        scored_by, probabilities, votes = "neighbours", _out_of_sample_votes(votes, several=several), None
    elif opinions or annotations or ask:
        scored_by, probabilities = None, np.full(has.shape, 0.5 if several else 1 / len(names))
    else:
        raise ConfigError("there is no signal; give scores, a classifier, an embedder, annotators or judges")
    asked = _columns(opinions or {}, kept)
    consensus, voted = None, np.zeros(len(kept), bool)
    if annotations:
        asked["annotators"], consensus, voted = opinions_of(
            kept, names, annotations, None if scored_by is None else probabilities.astype(np.float64)
        )
    found = suspect(has, probabilities, votes=votes, opinions=asked, multi_label=several, tolerance=tolerance)
    if ask is not None:
        asked |= _columns(ask(kept, found.scores), kept)
        found = suspect(has, probabilities, votes=votes, opinions=asked, multi_label=several, tolerance=tolerance)
    chosen = _filtered(has, probabilities, filter_by, several=several, tolerance=tolerance)
    if several:
        by_class = class_quality(has, probabilities, score=score, adjusted=adjusted, as_reference=False)
        quality = pool_quality(by_class)
    else:
        given = has.argmax(axis=1)
        quality = label_quality(given, probabilities, score=score, adjusted=adjusted, as_reference=False)
    flags = chosen
    if not exactly:
        if votes is not None:
            chosen = chosen & _same_rival(has, probabilities, votes)
        # The filter says how many, all signals together which; and whom judges or annotators contradict is flagged.
        against = np.zeros(len(kept), bool)
        for right in asked.values():
            against |= right < 0.5
        flags = (lowest(-found.scores, int(chosen.sum())) | against) & (found.scores > 0.5)
    return Audit(
        records=kept,
        names=names,
        probabilities=probabilities,
        scored_by=scored_by,
        flags=flags,
        suspicion=found,
        quality=quality,
        score=score,
        votes=votes,
        groups=groups,
        opinions=asked,
        consensus=consensus,
        voted=voted,
        report=AuditReport(
            records=len(kept),
            unlabelled=sum(not record.is_blank for record in records) - len(kept),
            blank=sum(record.is_blank for record in records),
            flagged=int(flags.sum()),
            filter_by=filter_by,
            near_share=round(found.near_share, 4),
            duplicates=int((np.bincount(groups)[groups] > 1).sum()),
            conflicting=sum(len(members) for members in conflicts(groups, labels).values()),
            signals=(*filter(None, (scored_by,)), *(() if votes is None else ("neighbours",)), *asked),
            annotators=() if consensus is None else annotator_qualities(consensus),
            space=space.name,
            space_version=space.version,
        ),
    )


def _filtered(
    has: NDArray[np.bool_],
    probabilities: NDArray[np.floating[Any]],
    filter_by: Filter,
    *,
    several: bool,
    tolerance: int,
) -> NDArray[np.bool_]:
    if several:
        return flag_multilabel(has, probabilities, filter_by=filter_by)
    given = has.argmax(axis=1)
    chosen = flag_labels(given, probabilities, filter_by=filter_by)
    if tolerance:
        chosen &= np.abs(np.asarray(probabilities.argmax(axis=1)) - given) > tolerance
    return chosen


def _same_rival(
    has: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]], votes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether the neighbours are for the label that the classifier puts before all that are not given, [n]."""
    rival = np.empty(len(has), np.int64)
    for rows, piece in chunks(probabilities):
        rival[rows] = np.where(has[rows], -np.inf, piece).argmax(axis=1)
    at = np.arange(len(has))
    best = np.where(has, -np.inf, votes).argmax(axis=1)
    return np.asarray((rival == best) & (votes[at, best] > np.where(has, votes, np.inf).min(axis=1)))


def _out_of_sample_votes(votes: NDArray[np.float64], *, several: bool) -> NDArray[np.float64]:
    """The neighbours' votes as probabilities: nobody votes on their own label; even where there is no neighbour."""
    even = 0.5 if several else 1 / votes.shape[1]
    return np.where(votes.any(axis=1, keepdims=True), votes, even)


def _columns(opinions: Opinions, records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    return {
        name: np.array([values.get(record.id, np.nan) for record in records], np.float64)
        for name, values in opinions.items()
    }


def _matrix(records: Sequence[Record], names: Sequence[str], space: LabelSpace) -> NDArray[np.bool_]:
    column = {name: at for at, name in enumerate(names)}
    has = np.zeros((len(records), len(names)), bool)
    for row, record in zip(has, records, strict=True):
        for label in record.labels or ():
            if label not in column:
                raise DataError(f"record {record.id!r}: {space.unknown(label)}")
            row[column[label]] = True
        if not space.multi_label and row.sum() > 1:
            raise DataError(
                f"record {record.id!r} has {int(row.sum())} labels, but the space has one for each text",
                advice="set multi_label: true in the space",
            )
    return has


def _given_scores(
    scores: NDArray[np.floating[Any]], count: int, usable: list[int], names: Sequence[str], *, several: bool
) -> NDArray[np.floating[Any]]:
    if scores.shape != (count, len(names)):
        raise DataError(
            f"the scores are {' by '.join(map(str, scores.shape))}, not {count} records by {len(names)} labels",
            advice="give one row a record, in their order, and one column a leaf of the space, in its order",
        )
    chosen = scores if len(usable) == count else np.asarray(scores[usable])
    if not several:
        sums = np.asarray(chosen[:10_000], np.float64).sum(axis=1)
        if np.abs(sums - 1).max() > OUTSIDE:
            at = int(np.abs(sums - 1).argmax())
            raise DataError(
                f"the scores of record {usable[at]} (counted from 0) sum to {sums[at]:.4f}, not 1",
                advice="give probabilities: apply a softmax to logits",
            )
    return chosen
