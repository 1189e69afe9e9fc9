"""`labelspace judge` and `labelspace migrate`, from the command line to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelspace.agents.taxonomy.changes import Change, Changes
from labelspace.cli import main
from labelspace.data import read_predictions, write_rows
from labelspace.space import LabelSpace

OLD = LabelSpace.from_data(
    {"labels": [{"name": name, "description": f"All about a {name}."} for name in ("cat", "dog", "fish")]}
)
NEW = LabelSpace.from_data(
    {
        "labels": [
            {"name": "feline", "description": "All about a cat."},
            {"name": "dog", "description": "All about a dog."},
            {"name": "shark", "description": "All about a shark fish."},
            {"name": "carp", "description": "All about a carp fish."},
        ]
    }
)
CHANGES = Changes(
    old=OLD.version,
    new=NEW.version,
    changes=(
        Change(kind="renamed", before=("cat",), after=("feline",), why="Lions."),
        Change(kind="split", before=("fish",), after=("shark", "carp"), recheck=True),
    ),
)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data, labels, both spaces and what changed."""
    OLD.save(tmp_path / "old.yaml")
    NEW.save(tmp_path / "new.yaml")
    CHANGES.save(tmp_path / "changes.json")
    texts = [f"the {name} {n}" for n in range(6) for name in OLD.leaves]
    write_rows(
        tmp_path / "data.jsonl",
        ({"id": str(n), "text": text.replace("fish", "carp fish"), "language": "en"} for n, text in enumerate(texts)),
    )
    write_rows(tmp_path / "labels.jsonl", ({"id": str(n), "label": OLD.leaves[n % 3]} for n in range(len(texts))))
    return tmp_path


def test_labels_are_carried_over_and_only_the_divided_label_is_asked_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = ("migrate", folder / "labels.jsonl", folder / "data.jsonl", "--space", folder / "new.yaml")
    how = ("--changes", folder / "changes.json", "--out", folder / "out.jsonl")
    assert run(*what, *how, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "12 of 18 records keep their labels, 6 of them under a new name; 6 are labelled again" in said
    assert not (folder / "out.jsonl").exists()
    assert run(*what, *how) == 0
    made = list(read_predictions(folder / "out.jsonl", space=NEW))
    assert [one.label for one in made] == ["feline", "dog", "carp"] * 6
    assert [one.source.get("migrated_from") for one in made[:3]] == [OLD.version, OLD.version, None]


def test_a_space_that_was_changed_by_hand_is_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("migrate", folder / "labels.jsonl", folder / "data.jsonl", "--space", folder / "new.yaml")
    assert run(*what, "--old", folder / "old.yaml", "--out", folder / "out.jsonl") == 0
    assert "12 of 18 records keep their labels, 6 of them under a new name" in capsys.readouterr().err


def test_migrate_wants_to_know_what_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("migrate", folder / "labels.jsonl", folder / "data.jsonl", "--out", folder / "out.jsonl")
    assert run(*what, "--space", folder / "new.yaml") == 2
    assert "say what changed" in capsys.readouterr().err
    assert run(*what, "--space", folder / "old.yaml", "--changes", folder / "changes.json") == 2
    assert f"leads to version {NEW.version}" in capsys.readouterr().err


def test_people_are_given_a_sheet_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("judge", folder / "labels.jsonl", folder / "data.jsonl", "--space", folder / "old.yaml")
    assert run(*what, "--sheet", folder / "sheet.jsonl", "--run", folder / "labels.jsonl") == 0
    shown = capsys.readouterr()
    assert "18 documents with two questions each" in shown.err
    assert shown.out.startswith("coverage   100.0%")
    assert "runs agree: NMI 1.000, ARI 1.000" in shown.out
    rows = [json.loads(line) for line in (folder / "sheet.jsonl").read_text().splitlines()]
    for name in ("ann", "bob"):
        for row in rows:
            told = row["text"].split()[1].replace("carp", "fish")
            right = "A" if row["a"].startswith(told) else "B"
            row["answer"] = (
                right if row["question"] == "accuracy" else "yes" if name == "ann" or row["id"] != "0" else "no"
            )
        write_rows(folder / f"{name}.jsonl", rows)
    people = ("--people", folder / "ann.jsonl", "--people", folder / "bob.jsonl", "--by", "language")
    assert run(*what, *people, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["people"]["accuracy"]["value"] == 1.0
    assert found["people"]["relevance"]["value"] == pytest.approx(35 / 36)
    assert found["agreement"][0] == {
        "question": "accuracy", "items": 18, "people": 2, "fleiss": 1.0, "judge": None, "majority": None, "by": {},
        "people_by": {"label": {name: [6, 1.0] for name in OLD.leaves}, "language": {"en": [18, 1.0]}},
    }  # fmt: skip
    assert run(*what, *people, "--json", folder / "out.json") == 0
    assert "accuracy   100.0%" in capsys.readouterr().out
    assert json.loads((folder / "out.json").read_text()) == found


def test_a_column_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("judge", folder / "labels.jsonl", folder / "data.jsonl", "--space", folder / "old.yaml")
    assert run(*what, "--by", "country") == 2
    assert "no record has a column 'country'" in capsys.readouterr().err
    write_rows(folder / "other.jsonl", [{"id": "none of them", "label": "cat"}])
    assert run(*what, "--run", folder / "other.jsonl") == 2
    assert "no record has labels of all runs" in capsys.readouterr().err
