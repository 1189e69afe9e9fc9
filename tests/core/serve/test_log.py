"""The log of answers: a share of them, bounded, without texts unless asked; `labelspace monitor` reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from asking import call

from labelspace.cli import main
from labelspace.data import read_predictions, read_records
from labelspace.errors import ConfigError
from labelspace.finetune.classifier import HeadClassifier
from labelspace.serve.log import AnswerLog

TEXTS = [record.text for record in read_records("sample:support") if not record.is_blank][:120]


def test_monitor_reads_it_and_draws_spot_checks(
    start: Any, tmp_path: Path, classifier: HeadClassifier, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    with start(log=AnswerLog(path, texts=True)) as running:
        replies = [call(running.port, "POST", "/classify", {"input": TEXTS[at : at + 40]})[2] for at in (0, 40, 80)]
        call(running.port, "POST", "/classify", {"input": " "})
    *made, blank = read_predictions(path)
    assert blank.status == "abstained" and path.stat().st_mode & 0o077 == 0
    assert [one.record_id for one in made] == [f"{reply['id']}-{at}" for reply in replies for at in range(40)]
    for one, wanted in zip(made, classifier.predict(TEXTS), strict=True):
        assert (one.labels, one.confidence) == (wanted.labels, pytest.approx(wanted.confidence, abs=1e-6))
        assert dict(one.scores) == pytest.approx(dict(wanted.scores), abs=1e-6)
    before, out = tmp_path / "before.jsonl", tmp_path / "out"
    shutil.copy(path, before)
    with pytest.raises(SystemExit) as done:
        main(["monitor", str(path), "--reference", str(before), "--out", str(out), "--checks", "25", "--unsure", "0"])
    assert not done.value.code and "25 rows drawn for spot checks" in capsys.readouterr().out
    drawn = [json.loads(line) for line in (out / "check.jsonl").read_text().splitlines()]
    texts = dict(zip((one.record_id for one in made), TEXTS, strict=True))
    assert len({row["id"] for row in drawn}) == 25 and all(
        row == {"id": row["id"], "text": texts[row["id"]]} for row in drawn
    )
    checks = tmp_path / "checks.jsonl"  # labelled by somebody who always agrees
    said = {one.record_id: one.label for one in made}
    checks.write_text("".join(json.dumps({"id": row["id"], "label": said[row["id"]]}) + "\n" for row in drawn))
    with pytest.raises(SystemExit) as done:
        main(
            [
                "monitor",
                str(path),
                "--reference",
                str(before),
                "--out",
                str(out),
                "--labels",
                str(checks),
                "--unsure",
                "0",
            ]
        )
    assert not done.value.code and "100" in capsys.readouterr().out


def test_a_share_without_texts_and_no_more_than_the_size(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = AnswerLog(path, share=0.25, size=60_000, seed=0)
    with start(log=log) as running:
        for _ in range(8):
            call(running.port, "POST", "/classify", {"input": TEXTS})
    rows = [json.loads(line) for file in (log.older, path) for line in file.read_text().splitlines()]
    assert 0 < len(rows) < 0.35 * 8 * len(TEXTS) and not any("text" in row for row in rows)
    assert log.older.stat().st_size + path.stat().st_size < 70_000
    with start(log=AnswerLog(path, share=0.0)) as running:
        call(running.port, "POST", "/classify", {"input": TEXTS})
    assert [json.loads(line) for file in (log.older, path) for line in file.read_text().splitlines()] == rows


def test_a_disk_that_fails_ends_the_log_and_not_the_server(
    start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, path = Path("/dev/full"), tmp_path / "log.jsonl"
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    path.symlink_to(full)
    with start(log=AnswerLog(path)) as running:
        assert [call(running.port, "POST", "/classify", {"input": TEXTS})[0] for _ in range(2)] == [200, 200]
    assert capsys.readouterr().err.count("no more answers are logged") == 1


def test_a_log_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written"):
        AnswerLog(tmp_path / "nowhere" / "log.jsonl")
