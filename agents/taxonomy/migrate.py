"""Carry labels over to a changed space, and ask again only about what the change affects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from labelspace.agents.taxonomy.changes import Changes
from labelspace.records import EMPTY_TEXT, Classifier, Prediction, Record
from labelspace.space import LabelSpace


@dataclass(frozen=True)
class Plan:
    """What becomes of the labels of each record."""

    kept: Mapping[str, Prediction]
    """By record id, those that stay, under their new names."""
    again: tuple[Record, ...]
    """Records to label again, in order."""
    renamed: int
    """How many of those that stay have another name now."""


def plan_migration(
    labels: Iterable[Prediction], records: Iterable[Record], changes: Changes, space: LabelSpace
) -> Plan:
    """Decide for each record whether its labels stay or it is labelled again.

    It is labelled again where a label of it was dropped, divided or drawn otherwise; where it has none, or a failed
    one; and where no label fitted and there are new ones.

    Args:
        labels: What the records were given; those of other records are passed over.
        records: All that the new file is to hold.
        changes: What became of the old labels.
        space: The new space.
    """
    known = {one.record_id: one for one in labels}
    kept: dict[str, Prediction] = {}
    again, renamed = [], 0
    for record in records:
        old = known.get(record.id)
        new = None if old is None else _carried(old, changes, space)
        if old is None or new is None:
            again.append(record)
            continue
        renamed += new.labels != old.labels
        kept[record.id] = new
    return Plan(kept, tuple(again), renamed)


def migrate(plan: Plan, records: Iterable[Record], classifier: Classifier) -> Iterator[Prediction]:
    """A prediction for each record, in order: as it was planned, or from the classifier, which sees only the affected.

    Args:
        plan: Made from the same records.
        records: All of them.
        classifier: Labels with the new space.
    """
    new = iter(classifier.predict(plan.again))
    for record in records:
        yield plan.kept[record.id] if record.id in plan.kept else next(new)


def _carried(old: Prediction, changes: Changes, space: LabelSpace) -> Prediction | None:
    """The labels under their new names; None where the record must be labelled again."""
    source = {**old.source, "space": space.version, "migrated_from": changes.old}
    if old.status == "failed" or (old.status == "ok" and not old.labels):
        return None
    if old.status == "abstained":
        affected = changes.adds and old.reason != EMPTY_TEXT
        return None if affected else replace(old, source=source)
    labels, again = changes.migrate(old.labels)
    if again or not labels or any(name not in space for name in labels):
        return None
    scores: dict[str, float] = {}
    for name, score in old.scores.items():
        for now in changes.migrate([name])[0]:
            scores[now] = scores.get(now, 0.0) + score
    return replace(old, labels=labels, scores=scores, source=source)
