"""Repair changes what it says and can be undone to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from labelspace.agents.audit.repair import Finding, repair, row_of, undo
from labelspace.errors import ConfigError, DataError
from labelspace.records import Record

RECORDS = [
    Record(id="a", text="one", labels=("x",), metadata={"source": "s1"}),
    Record(id="b", text="two", labels=("x",), metadata={"source": "s2"}),
    Record(id="c", text="three", labels=("x", "y")),
    Record(id="d", text="four", labels=None),
    Record(id="e", text="five", labels=("z",)),
]
FINDINGS = {
    "b": Finding(True, 0.9, ("y",), {"classifier": {"y": 0.8, "x": 0.1}}),
    "c": Finding(True, 0.75, ("y",), {"neighbours": {"y": 0.9}, "duplicates_disagree": True}),
    "e": Finding(False, 0.2, ("z",), {}),
}


def apply(how: Any, **options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    pairs = list(repair(RECORDS, FINDINGS, how=how, **options))
    return [row for row, _ in pairs if row is not None], [change.to_data() for _, change in pairs if change is not None]


def test_filter_drops_flagged() -> None:
    rows, changes = apply("filter")
    assert [row["id"] for row in rows] == ["a", "d", "e"]
    assert changes[0]["reason"] == "suspicion 0.90: classifier says y (0.80)"
    assert changes[1]["reason"] == "suspicion 0.75: neighbours says y (0.90); duplicates disagree"
    assert changes[0]["before"] == {"id": "b", "text": "two", "label": "x", "source": "s2"}


def test_flip_gives_the_suggestion_and_keeps_the_original() -> None:
    rows, changes = apply("flip")
    assert len(rows) == 5
    assert (rows[1]["label"], rows[1]["audit"]["original"], rows[1]["source"]) == ("y", ["x"], "s2")
    assert (rows[2]["label"], rows[2]["audit"]["original"]) == ("y", ["x", "y"])
    assert len(changes) == 2


def test_weight_is_one_less_the_suspicion() -> None:
    rows, _ = apply("weight")
    assert [row["weight"] for row in rows] == [1.0, 0.1, 0.25, 1.0, 1.0]


def test_reviewed_decisions() -> None:
    rows, changes = apply("reviewed", corrections={"a": ("y",), "e": ("z",)}, wrong=["a", "b"])
    assert [row["id"] for row in rows] == ["a", "c", "d", "e"]
    assert rows[0]["label"] == "y"
    assert [change["action"] for change in changes] == ["relabel", "drop"]


@pytest.mark.parametrize(
    ("how", "options"),
    [("filter", {}), ("flip", {}), ("weight", {}), ("reviewed", {"corrections": {"a": ("y",)}, "wrong": ["a", "e"]})],
)
def test_undo_restores_every_row(how: Any, options: Any) -> None:
    rows, changes = apply(how, **options)
    assert list(undo(rows, changes)) == [row_of(record) for record in RECORDS]


def test_foreign_changes_are_refused() -> None:
    _, changes = apply("flip")
    with pytest.raises(DataError, match="2 of the changed rows"):
        list(undo([{"id": "q"}], changes))
    with pytest.raises(ConfigError, match="no repair named 'burn'"):
        apply("burn")
