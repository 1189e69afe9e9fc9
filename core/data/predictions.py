"""Predictions from a file: ours, or anyone's with an id and a label in each row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, get_args

from labelspace.data.cells import Refused, is_nan, kind_of, labels_of, name_of, text_of
from labelspace.data.columns import ID, LABEL, TEXT, find_column, missing
from labelspace.data.ids import Ids
from labelspace.data.read import refuse_repeated_id
from labelspace.data.rows import read_rows
from labelspace.data.source import Source, find_source
from labelspace.errors import DataError
from labelspace.records import Prediction, Status
from labelspace.space import LabelSpace

PREDICTED = ("labels", "prediction", "predictions", "predicted", "predicted_label", "pred", *LABEL)
STATUSES = get_args(Status)


def read_predictions(source: str | os.PathLike[str], *, space: LabelSpace | None = None) -> Iterator[Prediction]:
    """Read predictions one at a time, from any format that `read_records` knows.

    Each row needs an id (guessed as for records; where there is none but a text, it is derived from
    the text, as for records) and a label: `labels`, `prediction`, `predicted`, `pred` or a name that
    records use. `scores`, `confidence`, `status`, `reason`, `rationale`, `raw` and `source` are read
    where they are there, in CSV, TSV and Parquet also as JSON texts.

    Args:
        source: As for `read_records`.
        space: If given, every label must be one of its leaves or its `other` bucket; and "a|b" is two
            labels where it is multi-label.

    Raises:
        DataError: The source is missing or unreadable (at once), or a row is not usable (on reaching it).
    """
    return _predictions(find_source(source), space)


def _predictions(source: Source, space: LabelSpace | None) -> Iterator[Prediction]:
    ids = Ids()
    names: tuple[str, ...] | None = None
    id_at: str | None = None
    text_at, label_at = id_at, ""
    for number, row in read_rows(source):
        if tuple(row) != names:
            names = tuple(row)
            id_at, text_at = find_column(ID, names), find_column(TEXT, names)
            if id_at is None and text_at is None:
                raise missing("no column looks like the id", source, names, number, "rename the ids' column to 'id'")
            label_at = find_column(PREDICTED, names) or ""
            if not label_at:
                raise missing(
                    "no column looks like the label", source, names, number, "rename the labels' column to 'label'"
                )
        try:
            given = name_of(row.get(id_at), "id", id_at) if id_at is not None else ""
            prediction = _prediction(row, label_at, given or _derived_id(row, text_at, ids), space)
        except Refused as refused:
            raise DataError(refused.problem, path=source.shown, row=number, advice=refused.advice) from None
        if given and not ids.digests.add(hash(given)):
            refuse_repeated_id(source, number, given, id_at or "")
        yield prediction


def _derived_id(row: dict[str, Any], text_at: str | None, ids: Ids) -> str:
    if text_at is None:
        raise Refused("the id is blank", "give each prediction the id of its record")
    return ids.derive(text_of(row.get(text_at), text_at))


def _prediction(row: dict[str, Any], label_at: str, record_id: str, space: LabelSpace | None) -> Prediction:
    labels = labels_of(row[label_at], label_at, space)
    if labels is None and label_at == "labels" and "label" in row:
        labels = labels_of(row["label"], "label", space)
    status: Any = row.get("status") or "ok"
    if status not in STATUSES:
        raise Refused(f"the status is {status!r}", f"it must be one of: {', '.join(STATUSES)}")
    confidence = _probability(row.get("confidence"), "confidence")
    scores = _mapping(row.get("scores"), "scores")
    for name, score in scores.items():
        scores[name] = _probability(score, f"score of {name!r}")
    return Prediction(
        record_id=record_id,
        labels=labels or (),
        scores={name: score for name, score in scores.items() if score is not None},
        confidence=confidence,
        status=status,
        reason=row.get("reason") or None,
        rationale=row.get("rationale") or None,
        raw=row.get("raw") or None,
        source=_mapping(row.get("source"), "source"),
    )


def _probability(value: Any, what: str) -> float | None:
    if value is None or value == "" or is_nan(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise Refused(f"the {what} is {value!r}", "it must be a number from 0 to 1")
    return number


def _mapping(value: Any, column: str) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Refused(f"column {column!r} is not a JSON object", "write it as JSON, or leave it out") from None
    if not isinstance(value, dict):
        raise Refused(f"column {column!r} is {kind_of(value)}", "it must be an object, or be left out")
    return dict(value)
