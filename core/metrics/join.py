"""Put predictions and gold labels side by side, and account for every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from labelspace.errors import DataError
from labelspace.metrics.report import Rows
from labelspace.records import Prediction, Record

SHOWN_IDS = 5
SHOWN_REASONS = 10


@dataclass(frozen=True)
class Joined:
    """Rows that can be scored: gold labels, and the prediction or None where there is none."""

    ids: list[str]
    gold: list[tuple[str, ...]]
    predictions: list[Prediction | None]
    rows: Rows
    """Where the rows went; what counts as answered is decided later."""


def join(predictions: Iterable[Prediction], gold: Iterable[Record], *, missing_as_wrong: bool = False) -> Joined:
    """Join by id, in the order of the gold rows.

    Args:
        predictions: In any order.
        gold: Records with gold labels; those whose labels are not known are left out and counted.
        missing_as_wrong: Whether a gold row without a prediction is scored, as a row that failed.

    Raises:
        DataError: An id occurs twice on a side, no gold row has labels, or no id is on both sides.
    """
    given: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.record_id in given:
            raise _twice(prediction.record_id, "predictions")
        given[prediction.record_id] = prediction
    seen: set[str] = set()
    unlabelled = 0
    missing: list[str] = []
    ids: list[str] = []
    labels: list[tuple[str, ...]] = []
    found: list[Prediction | None] = []
    for record in gold:
        if record.id in seen:
            raise _twice(record.id, "gold rows")
        seen.add(record.id)
        if record.labels is None:
            unlabelled += 1
            continue
        prediction_here = given.get(record.id)
        if prediction_here is None:
            missing.append(record.id)
            if not missing_as_wrong:
                continue
        ids.append(record.id)
        labels.append(tuple(record.labels))
        found.append(prediction_here)
    extra = [name for name in given if name not in seen]
    _check(given, seen, unlabelled=unlabelled, shared=len(given) - len(extra), scored=sum(map(bool, found)))
    status = Counter("failed" if one is None else one.status for one in found)
    reasons = Counter(one.reason for one in found if one is not None and one.status != "ok" and one.reason)
    rows = Rows(
        gold=len(seen),
        predictions=len(given),
        unlabelled=unlabelled,
        missing=len(missing),
        missing_ids=tuple(missing[:SHOWN_IDS]),
        missing_count_as_wrong=missing_as_wrong,
        extra=len(extra),
        extra_ids=tuple(extra[:SHOWN_IDS]),
        scored=len(found),
        answered=status["ok"],
        abstained=status["abstained"],
        failed=status["failed"],
        reasons=dict(reasons.most_common(SHOWN_REASONS)),
    )
    return Joined(ids, labels, found, rows)


def _twice(name: str, side: str) -> DataError:
    return DataError(f"the id {name!r} occurs twice in the {side}", advice="ids must be unique to join by them")


def _check(given: dict[str, Prediction], seen: set[str], *, unlabelled: int, shared: int, scored: int) -> None:
    """Refuse a join that leaves nothing to score, and say which side is at fault."""
    if not given:
        raise DataError("there are no predictions", advice="check the file of predictions")
    if not seen:
        raise DataError("there are no gold rows", advice="check the file of gold labels")
    if unlabelled == len(seen):
        raise DataError(
            f"none of the {len(seen):,} gold rows has a label",
            advice="name the column that holds them with --label-column",
        )
    if not shared:
        some, others = ", ".join(list(given)[:2]), ", ".join(list(seen)[:2])
        raise DataError(
            f"no id is on both sides: predictions have {some}; gold rows have {others}",
            advice="name the columns that hold matching ids with --id-column",
        )
    if not scored:
        raise DataError(f"none of the {shared:,} ids on both sides has a gold label", advice="label some of them")
