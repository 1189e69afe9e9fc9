"""`labelspace prompts`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.prompts import list_prompts, load_prompt


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["prompts", *arguments])
    captured = capsys.readouterr()
    assert caught.value.code == code, captured.err
    if code:
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err
    return captured.out


def test_list_names_every_template(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = call(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines] == [prompt.name for prompt in list_prompts()]
    source = load_prompt("label").source
    (tmp_path / "label.jinja").write_text(source.replace("careful", "swift"))
    starred = [line for line in call(capsys, "list", "--prompts", str(tmp_path)).splitlines() if line[0] == "*"]
    assert [line.split()[1] for line in starred] == ["label"]


def test_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "show", "label") == load_prompt("label").source


def test_render_fills_in_text_files_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Where=is it?\n")
    (tmp_path / "labels.json").write_text(
        '[{"name": "é", "group": "", "description": "", "instructions": "", "examples": []}]'
    )
    given = [
        "use_case=",
        "demonstrations:=[]",
        "confidence:=false",
        f"labels:=@{tmp_path / 'labels.json'}",
        "other=none=0",
        "rationale:=false",
    ]
    given.append(f"document=@{tmp_path / 'text'}")
    out = call(capsys, "render", "label", *(word for value in given for word in ("--var", value)))
    assert out.startswith("--- system\n")
    assert "- é\n- none=0: None of" in out
    assert "\n--- user\n<document " in out
    assert ">\nWhere=is it?\n\n</document " in out


def test_render_takes_the_rest_from_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "render", "taxonomy_review", "--example", "--var", "max_labels:=7")
    assert "More than 7 labels" in out
    assert "Parcel delayed" in out


def test_diff(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "label.jinja"
    path.write_text(load_prompt("label").source)
    assert call(capsys, "diff", "label", str(tmp_path)) == ""
    path.write_text(load_prompt("label").source.replace("a careful annotator", "an annotator"))
    lines = call(capsys, "diff", "label", str(tmp_path)).splitlines()
    assert [line[:20] for line in lines if line[0] in "+-"] == [
        "--- ours/label.jinja",
        f"+++ {path}"[:20],
        "-You are a careful a",
        "+You are an annotato",
    ]


WRONG = [
    (["show", "lable"], "no prompt is named 'lable'"),
    (["render", "label", "--var", "document=x"], "needs a value for: use_case (What the labels are for"),
    (["render", "label", "--var", "x"], "--var takes k=text"),
    (["render", "label", "--var", "labels:=["], "the value of 'labels' is not JSON"),
    (["render", "label", "--var", "document=@no.txt"], "can't be read from no.txt"),
    (["render", "label", "--example", "--var", "dokument=x"], "has no variable 'dokument'"),
    (["render", "label", "--example", "--var", "document:=3"], "can't be rendered"),
]


@pytest.mark.parametrize(("arguments", "problem"), WRONG)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    assert problem in call(capsys, *arguments, code=2)


def test_diff_needs_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "label.jinja").write_text(load_prompt("label").source)
    assert "has no label_multi.jinja" in call(capsys, "diff", "label_multi", str(tmp_path), code=2)
