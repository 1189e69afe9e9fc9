"""`labelspace monitor` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labelspace.cli import main
from labelspace.data import read_records, write_rows
from labelspace.space import LabelSpace

HELD = "Where is my order"


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """The sample in two halves: messages of one label only in the second, and which they are."""
    monkeypatch.chdir(tmp_path)
    gold = {record.id: record.label for record in read_records("sample:support.truth", needs_text=False)}
    records = [record for record in read_records("sample:support") if gold[record.id]]
    new = [record for record in records if gold[record.id] == HELD]
    rest = [record for record in records if gold[record.id] != HELD]
    np.random.default_rng(0).shuffle(rest)
    return rest[::2], rest[1::2] + new, gold


def write(name, records, gold):
    """Predictions as a labeler makes them that has no label for one topic, and abstains on a tenth of the others."""
    rng = np.random.default_rng(len(records))
    made = []
    for record in records:
        row = {"id": record.id, "text": record.text}
        if rng.random() < 0.1 or gold[record.id] == HELD:
            made.append({**row, "label": None, "status": "abstained", "reason": "nothing fits"})
        else:
            made.append({**row, "label": gold[record.id], "confidence": round(float(rng.beta(8, 2)), 6)})
    write_rows(name, made)


def test_a_topic_that_is_new_is_proposed_and_updates_the_space(sample, chat_server, capsys) -> None:
    before, now, gold = sample
    known = sorted({gold[record.id] for record in before})
    old = [{"name": name, "description": f"About {name}."} for name in known]
    LabelSpace.from_data({"name": "mail", "labels": old}).save("space.yaml")
    write("before.jsonl", before, gold)
    write("now.jsonl", now, gold)
    files = ("now.jsonl", "--reference", "before.jsonl", "--labels", "sample:support.truth", "--out", "out")
    code, out, _ = run(capsys, "monitor", *files, "--space", "space.yaml", "--fail-on-drift")
    assert code == 3
    report = json.loads(Path("out/report.json").read_text())
    drifted = {test["name"] for test in report["tests"] if test["drift"]}
    assert drifted == {"fits nowhere"}
    proposed = list(read_records("out/new.jsonl"))
    right = sum(gold[record.id] == HELD for record in proposed)
    assert right >= 0.6 * len(proposed)
    assert right >= 15
    assert all(record.text and record.labels is None for record in proposed)
    candidates = [one for one in report["new_labels"]["clusters_with_enough_texts"] if one["proposed"]]
    assert sum(one["texts"] for one in candidates) == len(proposed)
    assert {record.metadata["candidate"] for record in proposed} == {one["name"] for one in candidates}
    assert all(one["examples"] for one in candidates)
    assert out.rstrip() == Path("out/report.txt").read_text().rstrip()
    follow = "labelspace discover out/new.jsonl --update space.yaml --model MODEL --out updated.yaml"
    assert f"Next: {follow}" in out

    def answer(body):
        assert all(record.text[:30] in body["messages"][1]["content"] for record in proposed if len(record.text) < 200)
        added = {"name": HELD, "description": "Where parcels are.", "from": [], "documents": [1], "why": "All ask."}
        kept = [{**label, "from": [label["name"]], "documents": [], "why": ""} for label in old]
        labels = [{**label, "recheck": False} for label in (*kept, added)]
        return json.dumps({"score": 50, "explanation": "e", "suggestions": "s", "labels": labels, "dropped": []})

    code, _, err = run(capsys, *follow.replace("MODEL", chat_server(answer)).split()[1:], "--summarize", "never")
    assert code == 0
    assert f"+ {HELD}: added" in err
    assert set(LabelSpace.load("updated.yaml").leaves) == {*known, HELD}


def test_without_drift_nothing_is_proposed(sample, capsys) -> None:
    records, _, gold = sample
    write("before.jsonl", records[::2], gold)
    write("now.jsonl", records[1::2], gold)
    code, out, _ = run(capsys, "monitor", "now.jsonl", "--reference", "before.jsonl", "--out", "out", "--fail-on-drift")
    assert code == 0
    assert "Drift: no" in out
    assert "New labels: 0 proposed" in out
    assert Path("out/new.jsonl").read_text() == ""


def test_files_without_texts_are_compared_without_candidates(tmp_path, capsys) -> None:
    (tmp_path / "now.csv").write_text("id,label\n1,a\n2,b\n3,\n")
    (tmp_path / "empty.csv").write_text("id,label\n")
    arguments = ("--reference", tmp_path / "now.csv", "--out", tmp_path / "out")
    code, out, _ = run(capsys, "monitor", tmp_path / "now.csv", *arguments)
    assert code == 0
    assert "3 rows (2 answered, 1 nowhere)" in out
    assert "New labels: not looked for" in out
    code, _, err = run(capsys, "monitor", tmp_path / "empty.csv", *arguments)
    assert code == 2
    assert "no rows" in err
    code, _, err = run(capsys, "monitor", "-", *arguments)
    assert code == 2
    assert "read twice" in err


def test_names_of_labels_stay_on_their_line_and_many_are_cut_off(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["\x1b[2Jred\nline", "\u202eturned", *(f"label {at:02}" for at in range(28))]
    rows = [{"id": at, "label": names[at % 30], "confidence": 0.5 + at / 200} for at in range(92)]
    write_rows("now.jsonl", rows)
    code, out, _ = run(
        capsys, "monitor", "now.jsonl", "--reference", "now.jsonl", "--labels", "now.jsonl", "--out", "o"
    )
    assert code == 0
    assert "\n   [2Jred line: " in out and "\n   turned: " in out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "and 20 more, which changed less" in out and "and 20 more, with fewer checks" in out
