"""The whole audit of a labelled data set: scores, neighbours, duplicates, opinions, one suspicion each.

found = audit(records, space)
found.report.flagged            # how many labels are probably wrong
next(found.rows())              # evidence of the most suspicious record first
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labelspace.agents.audit.confident import OUTSIDE
from labelspace.agents.audit.filters import Filter, flag_labels, lowest
from labelspace.agents.audit.folds import Head, grouped_folds, out_of_sample
from labelspace.agents.audit.multilabel import class_quality, flag_multilabel, pool_quality
from labelspace.agents.audit.neighbours import conflicts, duplicate_groups, nearest, neighbour_votes
from labelspace.agents.audit.scores import label_quality
from labelspace.agents.audit.suspicion import NEIGHBOUR_TEMPERATURE, Suspicion, suspect
from labelspace.embed import Embedder, fit_embedder
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

Opinions = Mapping[str, Mapping[str, float]]
Ask = Callable[[Sequence[Record], NDArray[np.float64]], Opinions]

NEIGHBOURS = 30
MOST_COMPARED = 200_000
"""Past this many records neighbours are not searched: the search is exact, and its time grows with the square."""


class AuditReport(BaseModel):
    """What an audit found, in figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int
    """Records that were audited: those with text and labels."""
    unlabelled: int
    blank: int
    flagged: int
    filter_by: str
    """The filter of confident learning that decided how many are flagged."""
    near_share: float
    """How far labels were mistaken for near ones, among the clearest disagreements."""
    duplicates: int
    """Records that have a near-duplicate."""
    conflicting: int
    """Records that have a near-duplicate with other labels."""
    signals: tuple[str, ...]
    space: str
    space_version: str


@dataclass(frozen=True)
class Audit:
    """An audit's result: arrays are in the order of `records`."""

    records: Sequence[Record]
    names: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]]
    flags: NDArray[np.bool_]
    suspicion: Suspicion
    quality: NDArray[np.float64]
    """Self-confidence of the labels, [n]."""
    votes: NDArray[np.float64] | None
    groups: NDArray[np.int64]
    opinions: Mapping[str, NDArray[np.float64]]
    report: AuditReport

    def suggestion(self, at: int) -> tuple[str, ...]:
        """The labels that the record should have by what is known; its own where nothing speaks against them."""
        given = self.records[at].labels or ()
        rival, worst = int(self.suspicion.rival[at]), int(self.suspicion.given[at])
        if self.suspicion.scores[at] <= 0.5:
            return given
        worst_name = self.names[worst] if worst >= 0 else None
        if rival < 0 or (len(given) > 1 and self.suspicion.rival_probability[at] < 0.3):
            return tuple(label for label in given if label != worst_name)
        swapped = tuple(self.names[rival] if label == worst_name else label for label in given)
        return swapped or (self.names[rival],)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Evidence by record, the most suspicious first."""
        clash = {
            at for members in conflicts(self.groups, [r.labels or () for r in self.records]).values() for at in members
        }
        for at in np.argsort(-self.suspicion.scores, kind="stable").tolist():
            record = self.records[at]
            evidence: dict[str, Any] = {
                "classifier": _shares(self.probabilities[at], self.names),
                "self_confidence": round(float(self.quality[at]), 4),
            }
            if self.votes is not None:
                evidence["neighbours"] = _shares(self.votes[at], self.names)
            if at in clash:
                evidence["duplicates_disagree"] = True
            for name, right in self.opinions.items():
                if not np.isnan(right[at]):
                    evidence[name] = round(float(right[at]), 4)
            yield {
                "id": record.id,
                "text": record.text,
                "labels": list(record.labels or ()),
                "flagged": bool(self.flags[at]),
                "suspicion": round(float(self.suspicion.scores[at]), 4),
                "suggested": list(self.suggestion(at)),
                "evidence": evidence,
            }


def audit(
    records: Sequence[Record],
    space: LabelSpace,
    *,
    embedder: Embedder | None = None,
    make_head: Callable[[], Head] | None = None,
    scores: NDArray[np.floating[Any]] | None = None,
    opinions: Opinions | None = None,
    ask: Ask | None = None,
    filter_by: Filter = "both",
    folds: int = 5,
    seed: int = 0,
) -> Audit:
    """Audit the labels of a data set.

    Args:
        records: All records; those without labels or text are counted and left out.
        space: The label space; its leaves are the columns of `scores`.
        embedder: For neighbours and near-duplicates; None leaves the neighbours out.
        make_head: Makes the classifier that is cross-validated where no scores are given.
        scores: Out-of-sample probabilities, one row a record, [len(records), leaves].
        opinions: More signals: name to record id to the probability that its labels are right.
        ask: Gives further opinions when it is shown the records and how suspicious each is by the
            other signals, so that what costs money can be spent on the most suspicious.
        filter_by: Filter of confident learning; it says how many to flag, the suspicion which.
        folds: Folds of the cross-validation.
        seed: Of the folds.

    Raises:
        DataError: No record has labels, a label is not in the space, or the scores do not fit.
    """
    names = (*space.leaves, *((space.other,) if space.other and scores is None else ()))
    usable = [at for at, record in enumerate(records) if record.labels is not None and not record.is_blank]
    if not space.multi_label:
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
    if scores is None:
        if make_head is None:
            raise DataError("there are neither scores nor a classifier to make them", advice="give one of them")
        fold = grouped_folds(groups, labels, folds=min(folds, len(np.unique(groups))), seed=seed)
        probabilities: NDArray[np.floating[Any]] = out_of_sample(
            texts, labels, fold, make_head, names=names, multi_label=space.multi_label
        )
    else:
        probabilities = _given_scores(scores, len(records), usable, names, multi_label=space.multi_label)
    votes = None if near is None else neighbour_votes(near, has, temperature=NEIGHBOUR_TEMPERATURE)
    asked = _columns(opinions or {}, kept)
    found = suspect(has, probabilities, votes=votes, opinions=asked, multi_label=space.multi_label)
    if ask is not None:
        asked |= _columns(ask(kept, found.scores), kept)
        found = suspect(has, probabilities, votes=votes, opinions=asked, multi_label=space.multi_label)
    if space.multi_label:
        count = int(flag_multilabel(has, probabilities, filter_by=filter_by).sum())
        quality = pool_quality(class_quality(has, probabilities))
    else:
        given = has.argmax(axis=1)
        count = int(flag_labels(given, probabilities, filter_by=filter_by).sum())
        quality = label_quality(given, probabilities)
    sizes = np.bincount(groups)[groups]
    clash = sum(len(members) for members in conflicts(groups, labels).values())
    return Audit(
        records=kept,
        names=names,
        probabilities=probabilities,
        # Confident learning says how many, all signals together which.
        flags=lowest(-found.scores, count) & (found.scores > 0.5),
        suspicion=found,
        quality=quality,
        votes=votes,
        groups=groups,
        opinions=asked,
        report=AuditReport(
            records=len(kept),
            unlabelled=sum(not record.is_blank for record in records) - len(kept),
            blank=sum(record.is_blank for record in records),
            flagged=int((lowest(-found.scores, count) & (found.scores > 0.5)).sum()),
            filter_by=filter_by,
            near_share=round(found.near_share, 4),
            duplicates=int((sizes > 1).sum()),
            conflicting=clash,
            signals=("classifier", *(() if votes is None else ("neighbours",)), *asked),
            space=space.name,
            space_version=space.version,
        ),
    )


def _columns(opinions: Opinions, records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    return {
        name: np.array([values.get(record.id, np.nan) for record in records], np.float64)
        for name, values in opinions.items()
    }


def _shares(values: NDArray[np.floating[Any]], names: Sequence[str], most: int = 3) -> dict[str, float]:
    top = np.argsort(-np.asarray(values), kind="stable")[:most]
    return {names[at]: round(float(values[at]), 4) for at in top if values[at] > 0}


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
    scores: NDArray[np.floating[Any]], count: int, usable: list[int], names: Sequence[str], *, multi_label: bool
) -> NDArray[np.floating[Any]]:
    if scores.shape != (count, len(names)):
        raise DataError(
            f"the scores are {' by '.join(map(str, scores.shape))}, not {count} records by {len(names)} labels",
            advice="give one row a record, in their order, and one column a leaf of the space, in its order",
        )
    chosen = scores if len(usable) == count else np.asarray(scores[usable])
    if not multi_label:
        sums = np.asarray(chosen[:10_000], np.float64).sum(axis=1)
        if np.abs(sums - 1).max() > OUTSIDE:
            at = int(np.abs(sums - 1).argmax())
            raise DataError(
                f"the scores of record {usable[at]} (counted from 0) sum to {sums[at]:.4f}, not 1",
                advice="give probabilities: apply a softmax to logits",
            )
    return chosen
