"""`labelspace evaluate` from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.data import read_predictions, read_records
from labelspace.metrics import Report


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *map(str, arguments)])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Small predictions and gold labels; the terminal is 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    rows = [
        ("1", "refund", "refund", 0.95),
        ("2", "refund", "refund", 0.9),
        ("3", "refund", "order", 0.55),
        ("4", "order", "order", 0.8),
        ("5", "order", None, None),
        ("6", "login", "login", 0.7),
    ]
    with Path("labels.jsonl").open("w") as file:
        for name, _, label, confidence in rows:
            status = {} if label else {"status": "abstained", "reason": "empty text"}
            file.write(json.dumps({"id": name, "label": label, "confidence": confidence, **status}) + "\n")
    with Path("gold.csv").open("w") as file:
        file.write("id,truth\n" + "".join(f"{name},{gold}\n" for name, gold, _, _ in rows))
    return tmp_path


EXPECTED = """\
6 rows, 3 gold labels; single-label (gold rows have one label each)
read 6 gold rows and 6 predictions; answered 5; abstained 1
not answered: empty text (1)

             all 6 rows          5 answered rows
coverage     83.3% [43.6, 97.0]  -
accuracy     66.7% [30.0, 90.3]  80.0% [37.6, 96.4]
macro F1     76.7%               82.2%
micro F1     72.7%               80.0%
weighted F1  73.3%               81.3%
95% intervals: Wilson for coverage and accuracy

Labels, the lowest F1 first
label   precision  recall      F1  gold  predicted
order       50.0%   50.0%   50.0%     2          2
refund     100.0%   66.7%   80.0%     3          2
login      100.0%  100.0%  100.0%     1          1

Most frequent confusions
gold    predicted    rows  of gold
order   (no answer)     1    50.0%
refund  order           1    33.3%
"""


def test_the_text_is_what_it_was(files, capsys):
    code, out, err = run(capsys, "labels.jsonl", "gold.csv", "--label-column", "truth", "--bootstrap", "0")
    assert (code, err) == (0, "")
    assert out.startswith(EXPECTED)
    assert "Calibration of 5 answers with a confidence" in out
    assert "for 95% right" in out


def test_json_has_it_all(files, capsys):
    given = ("labels.jsonl", "gold.csv", "--label-column", "truth", "--seed", 3)
    code, out, err = run(capsys, *given, "--json", "report.json")
    assert (code, err) == (0, "the whole report is in report.json\n")
    report = Report.load("report.json")
    assert out.rstrip("\n") == report.text(width=100)
    assert (report.seed, report.resamples) == (3, 1000)
    code, out, _ = run(capsys, *given, "--json", "-")
    assert Report.model_validate_json(out) == report


def test_the_example_in_the_help_runs(files, capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    example = out.rstrip().splitlines()[-1].strip()
    assert example.startswith("labelspace evaluate sample:support ")
    code, out, err = run(capsys, *shlex.split(example)[2:], "--bootstrap", 20)
    assert (code, err) == (0, "")
    truth = {record.id: record.labels for record in read_records("sample:support.truth", needs_text=False)}
    given = {found.record_id: found.labels for found in read_predictions("sample:support")}
    known = [name for name, labels in truth.items() if labels is not None]
    right = sum(truth[name] == given[name] for name in known) / len(known)
    assert 0.94 <= right <= 0.96
    assert f"accuracy     {right:.1%} [" in out


def test_discovered_labels_and_levels(files, capsys):
    with Path("found.jsonl").open("w") as file:
        for name, label in zip("123456", ["A", "A", "A", "B", "B", "C"], strict=True):
            file.write(json.dumps({"id": name, "label": label}) + "\n")
    given = ("found.jsonl", "gold.csv", "--label-column", "truth", "--bootstrap", 20)
    code, out, _ = run(capsys, *given)
    assert code == 0
    assert "(hardly any predicted label is a gold one)" in out
    assert "NMI (V-measure)             1.000" in out
    assert run(capsys, *given, "--discovered")[1].startswith("6 rows, 3 gold labels; discovered labels")
    assert "single-label (as asked)" in run(capsys, *given, "--mode", "single")[1]


def test_a_second_system(files, capsys):
    other = Path("other.jsonl")
    other.write_text("".join(f'{{"id": "{at}", "label": "refund"}}\n' for at in range(1, 7)))
    given = ("labels.jsonl", "gold.csv", "--label-column", "truth", "--against", other, "--bootstrap", 100)
    code, out, _ = run(capsys, *given)
    assert code == 0
    assert "Against the other system, on the 6 rows that both have\n" in out
    assert "accuracy  66.7%  50.0%  +16.7 [" in out
    assert "only this one is right on 2 rows, only the other on 1; p = 1.000" in out
    report = Report.model_validate_json(run(capsys, *given, "--json", "-")[1])
    assert report.against.differences["accuracy"].value == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.jsonl", "gold.csv"), "nowhere.jsonl: no such file"),
        (("labels.jsonl", "nowhere.csv"), "nowhere.csv: no such file"),
        (("labels.jsonl", "gold.csv"), "none of the 6 gold rows has a label; name the column"),
        (("labels.jsonl", "gold.csv", "--label-column", "labl"), "there is no column 'labl'"),
        (("labels.jsonl", "other.jsonl"), "no id is on both sides: predictions have 1, 2; gold rows have x"),
        (("twice.jsonl", "gold.csv", "--label-column", "truth"), "twice.jsonl, row 2: the id '1' is also on row 1"),
        (("labels.jsonl", "other.jsonl", "--space", "none.yaml"), "none.yaml: no such label space"),
        (("-", "-"), "only one of the files can come from standard input"),
        (("labels.jsonl", "gold.csv", "--discovered", "--mode", "multi"), "contradict each other"),
        (("labels.jsonl", "gold.csv", "--label-column", "truth", "--at-level", "0"), "labels have parents"),
    ],
)
def test_errors_are_one_line(files, capsys, arguments, message):
    (files / "other.jsonl").write_text('{"id": "x", "label": "refund"}\n')
    (files / "twice.jsonl").write_text('{"id": "1", "label": "refund"}\n{"id": "1", "label": "order"}\n')
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
