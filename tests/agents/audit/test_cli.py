"""The verb from audit to repair and back, on a small data set, and what it says of wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import labelspace
from labelspace.cli.audit import command
from labelspace.data import read_records, write_rows
from labelspace.errors import LabelspaceError
from labelspace.space import LabelSpace

WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "ripe", "juicy", "orchard"],
    "tools": ["hammer", "saw", "drill", "wrench", "steel", "workshop", "bolt"],
    "sea": ["wave", "harbour", "sail", "tide", "salt", "gull", "anchor"],
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments], catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows, truth = [], []
    for at in range(150):
        true = list(WORDS)[at % 3]
        label = list(WORDS)[(at + 1) % 3] if at % 15 == 7 else true
        rows.append({"id": f"r{at}", "text": " ".join(generator.choice(WORDS[true], 8)), "label": label, "who": at % 4})
        truth.append({"id": f"r{at}", "label": true})
    write_rows(tmp_path / "data.csv", rows)
    write_rows(tmp_path / "truth.jsonl", truth)
    LabelSpace.of(WORDS).save(tmp_path / "space.yaml")
    return tmp_path


def test_from_audit_to_repair_and_back(data: Path) -> None:
    audit = data / "audit"
    done = call("--space", data / "space.yaml", data / "data.csv", "--truth", data / "truth.jsonl", "--out", audit)
    assert done.exit_code == 0
    assert "10 labels are wrong; precision of the flags" in done.output
    rows = [json.loads(line) for line in (audit / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {int(row["id"][1:]) % 15 for row in rows[:10]} == {7}
    assert json.loads((audit / "report.json").read_text(encoding="utf-8"))["records"] == 150

    assert call("sample", audit, "--size", 40, "--seed", 1, "--out", data / "sheet.csv").exit_code == 0
    assert "flagged" not in (data / "sheet.csv").read_text(encoding="utf-8")
    said = call("estimate", audit, "--truth", data / "truth.jsonl", "--json")
    found = json.loads(said.stdout)
    assert found["judged"] == 40
    assert found["error_rate"]["low"] <= 10 / 150 <= found["error_rate"]["high"]
    assert "from 40 judged records |" in (audit / "label.md").read_text(encoding="utf-8")

    for how, kept in (("flip", 150), ("filter", None), ("weight", 150)):
        out = data / f"{how}.jsonl"
        assert call("apply", data / "data.csv", audit, "--how", how, "--out", out).exit_code == 0
        assert kept is None or sum(1 for _ in read_records(out)) == kept
        assert call("undo", out, "--out", data / "restored.csv").exit_code == 0
        before, after = (list(read_records(data / name)) for name in ("data.csv", "restored.csv"))
        assert [(one.id, one.text, one.labels) for one in after] == [(one.id, one.text, one.labels) for one in before]
        assert [str(one.metadata["who"]) for one in after] == [str(one.metadata["who"]) for one in before]
    truth = {one.id: one.labels for one in read_records(data / "truth.jsonl", needs_text=False)}
    flipped = [one.labels == truth[one.id] for one in read_records(data / "flip.jsonl")]
    assert sum(flipped) > 144


@pytest.mark.parametrize("how", ["filter", "flip", "weight"])
def test_undo_gives_the_sample_back_to_the_letter(tmp_path: Path, how: str) -> None:
    original = Path(labelspace.__file__).parent / "sample" / "support.jsonl"
    audit, out, back = tmp_path / "audit", tmp_path / "out.jsonl", tmp_path / "back.jsonl"
    done = call("sample:support", "--space", "sample:support", "--no-cross-validate", "--out", audit)
    assert done.exit_code == 0
    call("apply", "sample:support", audit, "--how", how, "--out", out)
    assert call("undo", out, "--out", back).exit_code == 0
    rows = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (original, back)]
    assert rows[0] == rows[1]


def test_reviewed_decisions_come_back_from_a_review_tool(data: Path) -> None:
    audit, tasks = data / "audit", data / "tasks.json"
    call(data / "data.csv", "--out", audit)
    assert call("export", audit, "--top", 10, "--form", "label-studio", "--out", tasks).exit_code == 0
    sent = json.loads(tasks.read_text(encoding="utf-8"))
    truth = {one.id: one.label for one in read_records(data / "truth.jsonl", needs_text=False)}
    for task in sent:
        choices = {"choices": [truth[task["data"]["record_id"]]]}
        task["annotations"] = [{"result": [{"type": "choices", "value": choices}]}]
    tasks.write_text(json.dumps(sent), encoding="utf-8")
    out = data / "reviewed.jsonl"
    done = call("apply", data / "data.csv", audit, "--how", "reviewed", "--sheet", tasks, "--out", out)
    assert "10 changes" in done.output and "misspelt" not in done.output
    assert all(one.label == truth[one.id] for one in read_records(out))
    sent[0]["annotations"][0]["result"][0]["value"]["choices"] = ["Furit"]
    tasks.write_text(json.dumps(sent), encoding="utf-8")
    done = call("apply", data / "data.csv", audit, "--how", "reviewed", "--sheet", tasks, "--out", out)
    assert "labels that no audited record had: 'Furit'; are they misspelt?" in done.output


def test_given_scores_and_stability(data: Path) -> None:
    labels = [one.label for one in read_records(data / "data.csv")]
    truth = [one.label for one in read_records(data / "truth.jsonl", needs_text=False)]
    names = sorted(WORDS)
    scores = np.full((150, 3), 0.05)
    scores[np.arange(150), [names.index(label or "") for label in truth]] = 0.9
    np.save(data / "scores.npy", scores)
    done = call(
        data / "data.csv", "--scores", data / "scores.npy", "--no-neighbours", "--truth", data / "truth.jsonl",
        "--out", data / "audit",
    )  # fmt: skip
    assert "precision of the flags 100.0% (10 of 10), recall 100.0%" in done.output
    write_rows(data / "a.jsonl", ({"id": f"r{at}", "label": label} for at, label in enumerate(truth)))
    write_rows(data / "b.jsonl", ({"id": f"r{at}", "label": label} for at, label in enumerate(labels)))
    said = call(
        "stability", data / "data.csv", data / "truth.jsonl", f"true={data / 'a.jsonl'}", f"noisy={data / 'b.jsonl'}"
    )
    assert "10 of 150 labels corrected" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.csv", "--out", "audit", "--scores", "s.npy", "--classifier", "m"], "two ways to say the same"),
        (["data.csv", "--out", "audit", "--scores", "data.csv"], "save the scores with numpy.save"),
        (["sample", "nothing", "--out", "sheet.csv"], "make one with `labelspace audit DATA`"),
        (["estimate", "nothing"], "give the SHEET"),
        (["apply", "data.csv", "nothing", "--how", "reviewed", "--out", "x.jsonl"], "--sheet goes with"),
        (["undo", "data.csv", "--out", "x.jsonl"], "no changes beside it"),
        (["stability", "data.csv", "truth.jsonl", "a.jsonl"], "NAME=PREDICTIONS"),
    ],
)
def test_wrong_use_is_named(data: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    np.save(data / "s.npy", np.ones((1, 1)))
    with pytest.raises(LabelspaceError, match=message):
        call(*arguments)
