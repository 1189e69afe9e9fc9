from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelspace.errors import ConfigError
from labelspace.runs import RunFolder, file_digest


def work(folder: Path, inputs: dict[str, int], text: str = "hello") -> tuple[bool, dict]:
    """Do the stage "one" of a run; tell whether it had to be done, and its figures."""
    with RunFolder(folder) as run, run.stage("one", inputs, output="one.txt") as stage:
        if stage.needed:
            stage.path.write_text(text)
            stage.figures = {"rows": len(text)}
    assert stage.digest == file_digest(folder / "one.txt")
    return stage.needed, stage.figures


def test_a_finished_stage_is_not_done_again(tmp_path) -> None:
    assert [work(tmp_path / "run", {"a": 1}, text)[0] for text in ("hello", "other")] == [True, False]
    assert work(tmp_path / "run", {"a": 1})[1]["rows"] == 5
    assert (tmp_path / "run" / "one.txt").read_text() == "hello"


@pytest.mark.parametrize("change", ["input", "output", "gone"])
def test_what_changed_is_done_again(tmp_path, change: str) -> None:
    work(tmp_path, {"a": 1})
    if change == "output":
        (tmp_path / "one.txt").write_text("edited")
    if change == "gone":
        (tmp_path / "one.txt").unlink()
    assert work(tmp_path, {"a": 2 if change == "input" else 1}, "again")[0]
    assert (tmp_path / "one.txt").read_text() == "again"


def test_a_stage_that_fails_is_not_recorded(tmp_path) -> None:
    work(tmp_path, {})
    with RunFolder(tmp_path) as run, pytest.raises(RuntimeError), run.stage("two", {}, output="two.txt"):
        raise RuntimeError("power cut")
    assert list(json.loads((tmp_path / "run.json").read_text())["stages"]) == ["one"]


def test_a_second_process_is_refused(tmp_path) -> None:
    with RunFolder(tmp_path), pytest.raises(ConfigError, match="another process works in this run folder"):
        RunFolder(tmp_path).__enter__()
    with RunFolder(tmp_path):
        pass


def test_an_unreadable_state_is_named(tmp_path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="run.json: not valid JSON; remove it to start this run anew"):
        RunFolder(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be used as a run folder: Not a directory"):
        RunFolder(tmp_path / "file" / "run").__enter__()


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = file_digest(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert file_digest(tmp_path / "d") != first
