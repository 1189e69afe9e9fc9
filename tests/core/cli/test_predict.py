"""`labelspace predict` from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.cli.predict import EPILOG
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import save_model
from labelspace.space import LabelSpace


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [f"{thing} {at}" for at in range(8) for thing in ("refund", "parcel")]
    head = LinearHead().fit(texts, ["money", "delivery"] * 8)
    save_model("model", head, LabelSpace.of(["money", "delivery"]))
    Path("new.csv").write_text("id,text\na,the parcel\nb,\nc,my refund\n")
    return tmp_path


def test_predictions_go_to_a_file_or_to_stdout(folder, capsys) -> None:
    code, out, err = run(capsys, "predict", "model", "new.csv", "--out", "predictions.jsonl")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "2 of 3 records labelled, 1 set aside; written to predictions.jsonl",
        "Next: labelspace evaluate predictions.jsonl GOLD",
    ]
    code, out, _ = run(capsys, "predict", "model", "new.csv")
    assert code == 0
    assert out == Path("predictions.jsonl").read_text()
    made = [json.loads(line) for line in out.splitlines()]
    assert [(row["id"], row["text"], row["label"], row["status"]) for row in made] == [
        ("a", "the parcel", "delivery", "ok"),
        ("b", "", None, "abstained"),
        ("c", "my refund", "money", "ok"),
    ]
    assert made[0]["source"]["model"] == "model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "new.csv"], "labelspace: nowhere: no such folder; make one with: labelspace train"),
        ([".", "new.csv"], "holds no model.json, so it is no model"),
        (["model", "old.csv"], "labelspace: old.csv: no such file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(folder, capsys, arguments, message: str) -> None:
    code, out, err = run(capsys, "predict", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_example_of_the_help_runs(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in EPILOG.strip().splitlines()[-2:]:
        program, *command = shlex.split(line)
        assert program == "labelspace"
        code, _, err = run(capsys, *command)
        assert code == 0
    assert "632 of 634 records labelled, 2 set aside; written to predictions.jsonl" in err
