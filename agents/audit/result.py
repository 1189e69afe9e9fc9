"""What an audit found: the figures of all, and the evidence of each record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labelspace.agents.audit.annotators import Consensus
from labelspace.agents.audit.neighbours import conflicts
from labelspace.agents.audit.suspicion import Suspicion
from labelspace.records import Record

LOW = 0.3
"""Where a record has several labels, one that is less probable than this does not take the place of a wrong one."""


class AnnotatorQuality(BaseModel):
    """How good one annotator is, as estimated without the truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    votes: int
    accuracy: float
    agreement: float
    """Share of the votes that agree with the consensus."""


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
    annotators: tuple[AnnotatorQuality, ...] = ()
    """With a classifier as one of them, if there is one."""
    space: str
    space_version: str


@dataclass(frozen=True)
class Audit:
    """An audit's result: arrays are in the order of `records`."""

    records: Sequence[Record]
    names: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]]
    scored_by: str | None
    """What the probabilities are from: classifier, neighbours, or None where they are even."""
    flags: NDArray[np.bool_]
    suspicion: Suspicion
    quality: NDArray[np.float64]
    """Score of the labels by confident learning, [n]."""
    score: str
    """Name of that score."""
    votes: NDArray[np.float64] | None
    groups: NDArray[np.int64]
    opinions: Mapping[str, NDArray[np.float64]]
    consensus: Consensus | None
    """Of the annotators, and of the classifier if there is one."""
    voted: NDArray[np.bool_]
    """Whether anybody annotated the record, [n]."""
    report: AuditReport

    def suggestion(self, at: int) -> tuple[str, ...]:
        """The labels that the record should have by what is known; its own where nothing speaks against them."""
        given = self.records[at].labels or ()
        rival, worst = int(self.suspicion.rival[at]), int(self.suspicion.given[at])
        if self.suspicion.scores[at] <= 0.5:
            return given
        if self.consensus is not None and self.voted[at]:
            return (self.names[int(self.consensus.probabilities[at].argmax())],)
        if self.scored_by is None:
            return given
        worst_name = self.names[worst] if worst >= 0 else None
        if rival < 0 or (len(given) > 1 and self.suspicion.rival_probability[at] < LOW):
            return tuple(label for label in given if label != worst_name)
        swapped = tuple(self.names[rival] if label == worst_name else label for label in given)
        return swapped or (self.names[rival],)

    def conflicts(self) -> list[list[int]]:
        """Positions of near-duplicates with different labels, a group each."""
        return list(conflicts(self.groups, [record.labels or () for record in self.records]).values())

    def conflict_rows(self) -> list[dict[str, Any]]:
        """Near-duplicates with different labels, a row each; `group` says which belong together."""
        return [
            {"group": group, "id": record.id, "text": record.text, "labels": list(record.labels or ())}
            for group, members in enumerate(self.conflicts())
            for record in (self.records[at] for at in members)
        ]

    def annotator_rows(self) -> list[dict[str, Any]]:
        """Quality of each annotator, with the chance of each vote for each true label."""
        if self.consensus is None:
            return []
        names = self.consensus.label_names
        confusion = {one.name: one.confusion for one in self.consensus.annotators}
        return [
            one.model_dump()
            | {
                "confusion": {
                    true: {vote: round(float(share), 4) for vote, share in zip(names, row, strict=True)}
                    for true, row in zip(names, confusion[one.name], strict=True)
                }
            }
            for one in self.report.annotators
        ]

    def rows(self, chances: NDArray[np.float64] | None = None) -> Iterator[dict[str, Any]]:
        """Evidence by record, the most suspicious first.

        Args:
            chances: Calibrated probability that each label is wrong, [n]; gives the order where it is given.
        """
        clash = {at for members in self.conflicts() for at in members}
        order = self.suspicion.scores if chances is None else chances
        for at in np.argsort(-order, kind="stable").tolist():
            record = self.records[at]
            evidence: dict[str, Any] = {}
            if self.scored_by is not None:
                evidence[self.scored_by] = _shares(self.probabilities[at], self.names)
                evidence[self.score] = round(float(self.quality[at]), 4)
            if self.votes is not None:
                evidence["neighbours"] = _shares(self.votes[at], self.names)
            if at in clash:
                evidence["duplicates_disagree"] = True
            for name, right in self.opinions.items():
                if not np.isnan(right[at]):
                    evidence[name] = round(float(right[at]), 4)
            if self.consensus is not None and self.voted[at]:
                evidence["consensus"] = _shares(self.consensus.probabilities[at], self.names)
            yield {
                "id": record.id,
                "text": record.text,
                "labels": list(record.labels or ()),
                "flagged": bool(self.flags[at]),
                "suspicion": round(float(self.suspicion.scores[at]), 4),
                **({} if chances is None else {"probability_wrong": round(float(chances[at]), 4)}),
                "suggested": list(self.suggestion(at)),
                "evidence": evidence,
            }


def _shares(values: NDArray[np.floating[Any]], names: Sequence[str], most: int = 3) -> dict[str, float]:
    top = np.argsort(-np.asarray(values), kind="stable")[:most]
    return {names[at]: round(float(values[at]), 4) for at in top if values[at] > 0}


def annotator_qualities(consensus: Consensus) -> tuple[AnnotatorQuality, ...]:
    """The quality of each annotator, the best first."""
    ranked = sorted(consensus.annotators, key=lambda one: -one.accuracy)
    return tuple(
        AnnotatorQuality(
            name=one.name, votes=one.votes, accuracy=round(one.accuracy, 4), agreement=round(one.agreement, 4)
        )
        for one in ranked
    )
