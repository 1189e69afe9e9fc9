"""`labelspace label` with a model, from the command line: dry runs, early stops, going on, and the account of a run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.space import LabelSpace

SPACE = LabelSpace.of(["red", "green", "blue"])
NAMES = ("red", "green", "blue")


class Judge:
    """Answers with the colour that the document names; knows what it was asked."""

    def __init__(self, *, wrong: Callable[[str], bool] = lambda text: False, delay: float = 0.0) -> None:
        self.asked: list[str] = []
        self.wrong, self.delay = wrong, delay

    def __call__(self, body: dict[str, Any]) -> str:
        text = body["messages"][1]["content"].split("\n")[1]
        self.asked.append(text)
        time.sleep(self.delay)
        return "purple" if self.wrong(text) else json.dumps({"choice": text.split()[0]})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Thirty texts, one of them blank, and a space."""
    texts = [f"{NAMES[n % 3]} thing {n}" if n != 7 else " " for n in range(30)]
    write_rows(tmp_path / "texts.jsonl", ({"id": f"r{n}", "text": text} for n, text in enumerate(texts)))
    SPACE.save(tmp_path / "space.yaml")
    return tmp_path


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    return int(done.value.code or 0)


def label(files: Path, address: str, *more: str) -> int:
    space, out = str(files / "space.yaml"), str(files / "labels.jsonl")
    return call(
        "label", str(files / "texts.jsonl"), "--space", space, "--out", out, "--model", f"{address}#tiny", *more
    )


def rows(files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (files / "labels.jsonl").read_text().splitlines()]


def account(files: Path) -> dict[str, Any]:
    return json.loads((files / "labels.jsonl.run.json").read_text())


def test_a_dry_run_shows_the_prompt_and_asks_nothing(
    files: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Judge()
    address = chat_server(judge)
    assert label(files, address, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("--- system\nYou are a careful annotator.")
    assert "\n--- user\n<document " in shown
    assert "\nred thing 0\n" in shown
    assert "red thing 3" not in shown
    assert "--- the reply is one of 3: red, green, blue" in shown
    assert "29 rows, 29 calls\n" in shown
    assert re.search(r"[\d,]+ tokens to read, about [\d,]+ to write", shown)
    assert "the price of tiny is not known" in shown
    assert shown.endswith("Dry run: nothing was asked.\n")
    assert judge.asked == []
    assert sorted(path.name for path in files.iterdir()) == ["space.yaml", "texts.jsonl"]


def test_a_dry_run_knows_the_price_and_what_is_paid(
    files: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "prices.yaml").write_text("models: {tiny: {input: 100, output: 1000}}\n")
    monkeypatch.setenv("LABELSPACE_PRICES", str(files / "prices.yaml"))
    address = chat_server(Judge())
    assert label(files, address, "--dry-run") == 0
    assert re.search(r"about \$\d\.\d{4}, at most \$", capsys.readouterr().out)
    assert label(files, address, "--budget", "10 calls") == 3
    capsys.readouterr()
    assert label(files, address, "--dry-run") == 0
    assert "29 rows, 19 calls (10 rows need none" in capsys.readouterr().out


def test_a_spent_budget_ends_every_row_once_and_the_same_command_goes_on(
    files: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Judge()
    address = chat_server(judge)
    assert label(files, address, "--budget", "10 calls") == 3
    said = capsys.readouterr().err
    made = rows(files)
    assert [row["id"] for row in made] == [f"r{n}" for n in range(30)]
    assert Counter(row["status"] for row in made) == {"ok": 10, "abstained": 1, "failed": 19}
    assert {row.get("reason") for row in made if row["status"] == "failed"} == {
        "not asked: the budget of 10 calls is spent: 10 calls"
    }
    assert made[7]["reason"] == "empty text"
    assert "10 of 30 records labelled, 1 set aside, 19 failed" in said
    assert "Stopped early: the budget of 10 calls is spent" in said
    assert "the same command goes on" in said
    assert len(judge.asked) == 10
    kept = account(files)
    assert (kept["status"], kept["exit_code"], kept["rows"]["failed"]) == ("partial", 3, 19)
    assert kept["engine"]["calls"] == kept["engine"]["journal"]["calls"] == 10

    assert label(files, address, "--budget", "20 calls") == 3
    assert Counter(row["status"] for row in rows(files)) == {"ok": 20, "abstained": 1, "failed": 9}
    assert label(files, address) == 0
    made = rows(files)
    assert [row["label"] for row in made] == [NAMES[n % 3] if n != 7 else None for n in range(30)]
    assert len(judge.asked) == len(set(judge.asked)) == 29
    kept = account(files)
    assert (kept["status"], kept["stopped"]) == ("complete", None)
    assert (kept["engine"]["calls"], kept["engine"]["reused"], kept["engine"]["model"]) == (9, 20, "tiny")


def test_what_is_paid_but_not_first_in_line_is_still_given_out(files: Path, chat_server: Callable[..., str]) -> None:
    address = chat_server(Judge())
    assert label(files, address) == 0
    lines = (files / "texts.jsonl").read_text().splitlines()
    new = [json.dumps({"id": f"n{n}", "text": f"blue new {n}"}) for n in range(3)]
    (files / "texts.jsonl").write_text("\n".join([lines[0], *new, *lines[1:]]) + "\n")
    assert label(files, address, "--budget", "30 calls") == 3
    status = {row["id"]: row["status"] for row in rows(files)}
    assert len(status) == 33
    assert Counter(status[f"n{n}"] for n in range(3)) == {"ok": 1, "failed": 2}
    assert {status[f"r{n}"] for n in range(30) if n != 7} == {"ok"}


def test_too_many_failures_stop_the_run(
    files: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Judge(wrong=lambda text: text.startswith("green"))
    address = chat_server(judge)
    assert label(files, address, "--max-errors", "2", "--concurrency", "1") == 3
    made = rows(files)
    assert [row["id"] for row in made] == [f"r{n}" for n in range(30)]
    assert [row["status"] for row in made[:8]] == ["ok", "failed", "ok", "ok", "failed", "ok", "ok", "abstained"]
    assert made[1]["raw"] == "purple"
    assert made[-1]["reason"] == "not asked: more than 2 rows failed (max_errors)"
    assert "Stopped early: more than 2 rows failed (max_errors); the last one: " in capsys.readouterr().err

    judge.wrong = lambda text: False
    asked = len(judge.asked)
    assert label(files, address) == 3  # the rows that were given up stay so
    assert Counter(row["status"] for row in rows(files)) == {"ok": 26, "abstained": 1, "failed": 3}
    assert label(files, address, "--retry-failed") == 0
    assert Counter(row["status"] for row in rows(files)) == {"ok": 29, "abstained": 1}
    assert len(judge.asked) - asked == 29 - 7


def test_where_everything_fails_the_run_has_failed(files: Path, chat_server: Callable[..., str]) -> None:
    assert label(files, chat_server(Judge(wrong=lambda text: True)), "--concurrency", "1") == 1
    made = rows(files)
    assert Counter(row["status"] for row in made) == {"failed": 29, "abstained": 1}
    assert made[-1]["reason"] == "not asked: the first 20 rows all failed"
    assert account(files)["status"] == "failed"


def test_a_server_that_is_not_there_is_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelspace.llm.calls._FIRST_PATIENCE", 0.2)
    assert label(files, "http://127.0.0.1:9/v1") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is the server up?" in said
    assert not (files / "labels.jsonl").exists()
    assert account(files)["status"] == "failed"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--budget", "1 call"], "--budget is for a model: name one with --model"),
        (["--dry-run"], "--dry-run is for a model"),
        (["--model", "http://127.0.0.1:9/v1#x", "--budget", "lots"], "a budget is money, tokens or calls"),
        (["--model", "http://127.0.0.1:9/v1#x", "--budget", "1 USD"], "the price of 'x' is not known"),
    ],
)
def test_wrong_options(files: Path, capsys: pytest.CaptureFixture[str], option: list[str], said: str) -> None:
    out = str(files / "labels.jsonl")
    assert call("label", str(files / "texts.jsonl"), "--space", str(files / "space.yaml"), "--out", out, *option) == 2
    assert said in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_paid_and_says_how_to_go_on(files: Path, chat_server: Callable[..., str]) -> None:
    judge = Judge(delay=0.2)
    address = chat_server(judge)
    write_rows(files / "texts.jsonl", ({"id": f"r{n}", "text": f"{NAMES[n % 3]} thing {n}"} for n in range(300)))
    # A background job of a shell ignores Ctrl-C, and its children would too.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from labelspace.cli import main; main()"
    command = [sys.executable, "-c", program, "label", str(files / "texts.jsonl")]
    command += ["--space", str(files / "space.yaml"), "--out", str(files / "labels.jsonl")]
    command += ["--model", f"{address}#tiny", "--concurrency", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(60, process.kill)
    killer.start()
    while len(judge.asked) < 20 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    killer.cancel()
    assert process.returncode == 130, said
    assert f"All replies are kept in {files / 'labels.jsonl.journal.sqlite'}; the same command goes on" in said
    assert "Traceback" not in said
    assert not (files / "labels.jsonl").exists()
    assert account(files)["status"] == "interrupted"
    asked = len(judge.asked)
    assert 20 <= asked < 300
    judge.delay = 0
    assert label(files, address) == 0
    assert [row["label"] for row in rows(files)] == [NAMES[n % 3] for n in range(300)]
    assert len(judge.asked) == len(set(judge.asked)) == 300


def test_progress_says_how_many_rows_there_are(
    files: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelspace.progress.SECONDS_BETWEEN_LINES", 0.0)
    assert label(files, chat_server(Judge())) == 0
    assert re.search(r"label: \d+ of 30 rows, [\d,]+/s, \d+ s left \(\d+ in flight", capsys.readouterr().err)
