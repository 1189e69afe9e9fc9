"""The sample sheet: drawn at random within strata, blind, and read back to the right counts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from labelspace.agents.audit.estimate import estimate_errors
from labelspace.agents.audit.sheet import SampleKey, draw_sample, read_verdicts
from labelspace.data import write_rows
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

RECORDS = [Record(id=f"r{at}", text=f"text {at}", labels=("a" if at % 2 else "b",)) for at in range(200)]
FLAGGED = np.arange(200) < 30


def test_sheet_is_blind_and_balanced() -> None:
    rows, key = draw_sample(RECORDS, FLAGGED, total=60, seed=1)
    assert len(rows) == len({row["id"] for row in rows}) == 60
    assert set(rows[0]) == {"id", "text", "label", "verdict", "correct_label", "comment"}
    assert sum(draw.stratum == "flagged" for draw in key.draws.values()) == 30
    flagged_first = [key.draws[row["id"]].stratum == "flagged" for row in rows]
    assert sum(flagged_first[:30]) < 25  # shuffled
    assert [(part.name, part.size) for part in key.strata] == [("flagged", 30), ("agreed", 170)]
    assert draw_sample(RECORDS, FLAGGED, total=60, seed=1)[0] == rows
    assert draw_sample(RECORDS, FLAGGED, total=60, seed=2)[0] != rows
    assert "label" not in draw_sample(RECORDS, FLAGGED, total=60, ask="label")[0][0]


def test_agreed_records_can_be_cut_by_suspicion() -> None:
    suspicion = np.linspace(1, 0, 200)
    _, key = draw_sample(RECORDS, FLAGGED, total=40, suspicion=suspicion, parts=2)
    assert [(part.name, part.size) for part in key.strata] == [
        ("flagged", 30), ("agreed 1 of 2", 85), ("agreed 2 of 2", 85),
    ]  # fmt: skip
    low = [int(name[1:]) for name, draw in key.draws.items() if draw.stratum == "agreed 1 of 2"]
    assert min(low) >= 115
    assert len(low) == 10


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.jsonl", "sheet.tsv"])
def test_filled_sheet_gives_the_counts(tmp_path: Path, name: str) -> None:
    rows, key = draw_sample(RECORDS, FLAGGED, total=40, seed=3)
    key.save(tmp_path / "key.json")
    for row in rows:
        is_flagged = int(row["id"][1:]) < 30
        row["verdict"] = "wrong" if is_flagged else "Right "
    rows[0]["verdict"], rows[1]["verdict"] = "unsure", ""
    write_rows(tmp_path / name, rows)
    found = read_verdicts(tmp_path / name, SampleKey.load(tmp_path / "key.json"))
    lost = [int(row["id"][1:]) < 30 for row in rows[:2]]
    assert (found.unsure, found.blank) == (1, 1)
    assert [(part.judged, part.wrong) for part in found.strata] == [
        (20 - sum(lost), 20 - sum(lost)), (20 - lost.count(False), 0),
    ]  # fmt: skip
    assert estimate_errors(found.strata).precision.value == 1.0


def test_a_correct_label_decides(tmp_path: Path) -> None:
    space = LabelSpace.of(["a", "b", "c"])
    rows, key = draw_sample(RECORDS, FLAGGED, total=4, ask="label", seed=3)
    given = {row["id"]: key.draws[row["id"]].labels[0] for row in rows}
    for row, label in zip(rows, [given[rows[0]["id"]], "c", "", "c"], strict=True):
        row["correct_label"] = label
    write_rows(tmp_path / "sheet.csv", rows)
    with (tmp_path / "sheet.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    found = read_verdicts(tmp_path / "sheet.csv", key, space=space)
    assert found.right == (rows[0]["id"],)
    assert found.corrections == {rows[1]["id"]: ("c",), rows[3]["id"]: ("c",)}
    assert found.blank == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "maybe"}, "verdict 'maybe' is not known"),
        ({"correct_label": "z"}, "'z' is not in the space"),
        ({"id": "r999"}, "'r999' is not in the sample"),
    ],
)
def test_unreadable_answers_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows, key = draw_sample(RECORDS, FLAGGED, total=4)
    rows[1] |= change
    write_rows(tmp_path / "sheet.csv", rows)
    with pytest.raises(DataError, match=message):
        read_verdicts(tmp_path / "sheet.csv", key, space=LabelSpace.of(["a", "b"]))


def test_labels_are_read_as_themselves_before_signs(tmp_path: Path) -> None:
    """A label may hold what joins several labels, or be what stands for none."""
    names = ("a|b", "-", "a", "b")
    records = [Record(id=f"r{at}", text="text", labels=(names[at % 4],)) for at in range(8)]
    rows, key = draw_sample(records, np.arange(8) < 4, total=8)
    right = {"r0": "a|b", "r1": "a|b", "r2": "-", "r3": "b|a"}
    write_rows(tmp_path / "sheet.csv", [row | {"correct_label": right.get(row["id"], "")} for row in rows])
    found = read_verdicts(tmp_path / "sheet.csv", key)
    assert found.right == ("r0",)
    assert found.corrections == {"r1": ("a|b",), "r2": ("-",), "r3": ("b", "a")}


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labelspace audit sample"):
        SampleKey.load(tmp_path / "nothing.json")
