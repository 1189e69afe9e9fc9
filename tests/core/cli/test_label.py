"""`labelspace label` from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.cli.label import EPILOG
from labelspace.data import read_records

SPACE = """\
name: shop
labels:
  - {name: delivery, description: "Parcel is late, tracking, delivery date."}
  - {name: account, description: "Forgotten password, login, sign in."}
"""
TEXTS = ["my parcel is late", "", "I forgot my password", "tracking of the parcel", "the login fails"]
GOLD = ["delivery", None, "account", "delivery", "account"]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(["label", *map(str, arguments)])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    Path("texts.jsonl").write_text(
        "".join(json.dumps({"id": f"m{at}", "text": text}) + "\n" for at, text in enumerate(TEXTS))
    )
    return tmp_path


def test_labels_are_written_with_their_texts_and_the_next_command_is_named(folder, capsys) -> None:
    code, out, err = run(capsys, "texts.jsonl", "--space", "space.yaml", "--out", "labels.jsonl")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "4 of 5 records labelled, 1 set aside; written to labels.jsonl",
        "Next: labelspace train labels.jsonl --space space.yaml --out model",
    ]
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert [(row["id"], row["text"], row["label"]) for row in rows] == [
        (f"m{at}", text, label) for at, (text, label) in enumerate(zip(TEXTS, GOLD, strict=True))
    ]
    assert rows[1]["status"] == "abstained"
    assert rows[1]["reason"] == "empty text"
    assert 0 < rows[0]["confidence"] <= 1
    assert rows[0]["source"]["method"] == "similarity"
    assert rows[0]["source"]["adapted_to"] == 4
    assert [record.label for record in read_records("labels.jsonl")] == GOLD


def test_data_goes_to_stdout_only_when_asked(folder, capsys) -> None:
    code, out, err = run(capsys, "texts.jsonl", "--space", "space.yaml", "--out", "-")
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == GOLD
    assert err.splitlines() == ["4 of 5 records labelled, 1 set aside; written to standard output"]


def test_standard_input_is_labelled(folder, capsys, monkeypatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(filter(None, TEXTS)).encode())))
    code, out, _ = run(capsys, "-", "--space", "space.yaml", "--out", "-")
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == [label for label in GOLD if label]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl", "--space", "space.yaml", "--out", "x.jsonl"], "labelspace: none.jsonl: no such file"),
        (["texts.jsonl", "--space", "none.yaml", "--out", "x.jsonl"], "labelspace: none.yaml: no such label space"),
        (
            ["texts.jsonl", "--space", "sample:none", "--out", "x.jsonl"],
            "no sample space 'sample:none'; there are: sample:support",
        ),
        (["texts.jsonl", "--space", "space.yaml"], "Missing option '--out'"),
        (["texts.jsonl", "--space", "space.yaml", "--out", "x.doc"], "can't write this format"),
        (["texts.jsonl", "--space", "space.yaml", "--out", "x.jsonl", "--embedder", "bert"], "no embedder 'bert'"),
        (
            ["texts.jsonl", "--space", "space.yaml", "--out", "x.jsonl", "--concurrency", "many"],
            "neither auto nor a number",
        ),
        (["texts.jsonl", "--space", "space.yaml", "--out", "x.jsonl", "--text-column", "body"], "'body'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(folder, capsys, arguments, message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(folder.glob("x.*"))


def test_the_example_of_the_help_runs(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = shlex.split(EPILOG.strip().splitlines()[-1])
    assert command[:2] == ["labelspace", "label"]
    code, _, err = run(capsys, *command[2:])
    assert code == 0
    assert "632 of 634 records labelled, 2 set aside" in err
    truth = {record.id: record.label for record in read_records("sample:support.truth", needs_text=False)}
    made = [(record.label, truth[record.id]) for record in read_records("labels.jsonl") if record.label]
    assert sum(got == want for got, want in made) / len(made) > 0.45
