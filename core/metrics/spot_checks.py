"""Agreement of predictions with spot checks by people or an LLM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from labelspace.metrics.fates import answer, fate
from labelspace.metrics.intervals import Interval, wilson
from labelspace.records import Prediction, Record


@dataclass(frozen=True)
class Agreement:
    """How often predictions say what spot checks say."""

    name: str
    rows: int
    same: int
    share: float
    interval: Interval
    """Wilson, 95%."""


def agreement_with(
    now: Sequence[Prediction], checks: Sequence[Record], *, other: str | None = None
) -> tuple[Agreement | None, tuple[Agreement, ...], list[str]]:
    """Join predictions with spot checks by id, and compare what has an answer.

    Args:
        now: Predictions.
        checks: Spot checks; those without labels are passed over.
        other: Name of the bucket for what fits nowhere.

    Returns:
        As `agreement`, None where there is nothing to compare; and what could not be compared, in words.
    """
    known = {one.record_id: one for one in now}
    pairs, aside, strange = [], 0, 0
    for check in checks:
        if check.labels is None:
            continue
        if check.id not in known:
            strange += 1
        elif fate(known[check.id], other) == "answered":
            pairs.append((answer(known[check.id], other), tuple(name for name in check.labels if name != other)))
        else:
            aside += 1
    remarks = [f"{aside:,} spot checks are of rows without an answer, and are not compared"] if aside else []
    if strange:
        remarks.append(f"{strange:,} spot checks have ids that no prediction has")
    if not pairs:
        return None, (), remarks
    return (*agreement([one for one, _ in pairs], [two for _, two in pairs]), remarks)


def agreement(
    given: Sequence[tuple[str, ...]], checked: Sequence[tuple[str, ...]]
) -> tuple[Agreement, tuple[Agreement, ...]]:
    """How often the labels of a row are those of its spot check: of all rows, and by label of the check.

    Args:
        given: Predicted labels of each row; their order does not matter.
        checked: Labels of its spot check.

    Returns:
        For all rows, and for each label, the most frequent first. A row with several labels counts for each.
    """
    rows, same = Counter[str](), Counter[str]()
    for one, two in zip(given, checked, strict=True):
        rows.update(set(two))
        same.update(set(two) if set(one) == set(two) else ())
    total = sum(set(one) == set(two) for one, two in zip(given, checked, strict=True))
    order = sorted(rows, key=lambda name: (-rows[name], name))
    return _agreement("all", len(given), total), tuple(_agreement(name, rows[name], same[name]) for name in order)


def _agreement(name: str, rows: int, same: int) -> Agreement:
    return Agreement(name, rows, same, same / rows if rows else float("nan"), wilson(same, rows))
