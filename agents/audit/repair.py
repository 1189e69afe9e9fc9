"""Repair a data set by what an audit found; nothing is lost and everything can be undone.

The repaired rows carry what was changed and why. Beside them goes a file of changes, which holds the
original of every row that was touched, dropped rows whole, so that `undo` restores the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from labelspace.errors import ConfigError, DataError
from labelspace.records import Record

How = Literal["filter", "flip", "weight", "reviewed"]
HOWS: tuple[How, ...] = get_args(How)
MARK = "audit"
"""Column of a repaired row that says what was done to it."""


@dataclass(frozen=True)
class Finding:
    """What the audit said of one record: a row of its `records.jsonl`."""

    flagged: bool
    suspicion: float
    suggested: tuple[str, ...]
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One change to one row, enough to take it back."""

    id: str
    position: int
    """Where the row stood in the data, from 0."""
    action: Literal["drop", "relabel", "weight"]
    reason: str
    before: Mapping[str, Any]
    """The row as it was."""
    after: tuple[str, ...] | None = None
    weight: float | None = None

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON line."""
        data: dict[str, Any] = {"id": self.id, "position": self.position, "action": self.action, "reason": self.reason}
        if self.after is not None:
            data["after"] = list(self.after)
        if self.weight is not None:
            data["weight"] = self.weight
        return data | {"before": dict(self.before)}


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row, with every other column that it came with."""
    row: dict[str, Any] = {"id": record.id}
    if record.tokens is None or record.text != " ".join(record.tokens):
        row["text"] = record.text
    if record.tokens is not None:
        row["tokens"] = list(record.tokens)
    if record.tags is not None:
        row["tags"] = list(record.tags)
    if record.labels is not None:
        row |= {"label": record.labels[0]} if len(record.labels) == 1 else {"labels": list(record.labels)}
    elif record.tokens is None:
        row["label"] = None
    return row | {name: value for name, value in record.metadata.items() if name not in row}


def repair(
    records: Iterable[Record],
    findings: Mapping[str, Finding],
    *,
    how: How,
    corrections: Mapping[str, tuple[str, ...]] | None = None,
    wrong: Iterable[str] = (),
) -> Iterator[tuple[dict[str, Any] | None, Change | None]]:
    """Go through the data and change what is to be changed.

    Args:
        records: The data, in order.
        findings: What the audit said, by id.
        how: `filter` drops flagged records; `flip` gives them the suggested labels; `weight` keeps
            all and adds a weight, 1 less the suspicion for the flagged; `reviewed` applies the
            judge's labels, and drops what was judged wrong without saying what is right.
        corrections: For `reviewed`: right labels by id.
        wrong: For `reviewed`: ids judged wrong.

    Yields:
        The row to keep (None where it is dropped) and what was changed (None where nothing was).
    """
    if how not in HOWS:
        raise ConfigError(f"no repair named {how!r}; there are: {', '.join(HOWS)}")
    judged_wrong = set(wrong)
    for position, record in enumerate(records):
        row = row_of(record)
        if how == "reviewed":
            change = _reviewed(record, row, position, corrections or {}, judged_wrong)
        else:
            change = _found(record, row, position, findings.get(record.id), how=how)
        if change is None:
            yield row | ({"weight": 1.0} if how == "weight" else {}), None
        elif change.action == "drop":
            yield None, change
        elif change.action == "weight":
            yield row | {"weight": change.weight, MARK: {"reason": change.reason}}, change
        elif record.tags is not None:
            mark = {"original": list(record.tags), "reason": change.reason}
            yield row | {"tags": list(change.after or ()), MARK: mark}, change
        else:
            labels = change.after or ()
            kept = {name: value for name, value in row.items() if name not in {"label", "labels"}}
            mark = {"original": list(record.labels or ()), "reason": change.reason}
            now = {"label": labels[0]} if len(labels) == 1 else {"labels": list(labels)}
            yield {"id": kept.pop("id"), "text": kept.pop("text"), **now, **kept, MARK: mark}, change


def _reviewed(
    record: Record, row: Mapping[str, Any], position: int, corrections: Mapping[str, tuple[str, ...]], wrong: set[str]
) -> Change | None:
    right = corrections.get(record.id)
    if right is not None and set(right) != set(record.labels or ()):
        return Change(record.id, position, "relabel", "the judge gave this label", row, right)
    if right is None and record.id in wrong:
        return Change(record.id, position, "drop", "judged wrong, without a right label", row)
    return None


def _found(
    record: Record, row: Mapping[str, Any], position: int, finding: Finding | None, *, how: How
) -> Change | None:
    if finding is None or not finding.flagged:
        return None
    reason = f"suspicion {finding.suspicion:.2f}" + _said(finding.evidence)
    if how == "filter":
        return Change(record.id, position, "drop", reason, row)
    if how == "weight":
        return Change(record.id, position, "weight", reason, row, weight=round(1 - finding.suspicion, 4))
    if record.tags is not None:
        same = tuple(finding.suggested) == record.tags
    else:
        same = set(finding.suggested) == set(record.labels or ())
    if same:
        return None
    return Change(record.id, position, "relabel", reason, row, finding.suggested)


def _said(evidence: Mapping[str, Any]) -> str:
    parts = []
    for name, value in evidence.items():
        if isinstance(value, Mapping) and value:
            best, share = max(value.items(), key=lambda item: float(item[1]))
            parts.append(f"{name} says {best} ({share:.2f})")
        elif isinstance(value, list):
            parts += [f"{one['token']} is tagged {one['tag']} and looks like {one['suggested']}" for one in value]
        elif isinstance(value, bool):
            parts.append(name.replace("_", " "))
    return f": {'; '.join(parts)}" if parts else ""


def undo(rows: Iterable[Mapping[str, Any]], changes: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Restore the data from its repaired rows and the changes, in the original order.

    Raises:
        DataError: A change does not belong to these rows.
    """
    by_id = {str(change["id"]): change for change in changes}
    # Weights were added to every row, changed or not.
    added = {"weight"} if any(change["action"] == "weight" for change in by_id.values()) else set()
    dropped = sorted((change for change in by_id.values() if change["action"] == "drop"), key=lambda c: c["position"])
    position, next_dropped, restored = 0, 0, 0
    for row in rows:
        while next_dropped < len(dropped) and dropped[next_dropped]["position"] == position:
            yield dict(dropped[next_dropped]["before"])
            next_dropped += 1
            position += 1
        change = by_id.get(str(row.get("id")))
        if change is not None:
            restored += 1
            yield dict(change["before"])
        else:
            yield {name: value for name, value in row.items() if name not in added}
        position += 1
    for change in dropped[next_dropped:]:
        yield dict(change["before"])
    if restored != len(by_id) - len(dropped):
        raise DataError(
            f"{len(by_id) - len(dropped) - restored} of the changed rows are not in the repaired data",
            advice="give the changes that were written with this file",
        )
