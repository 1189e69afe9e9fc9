from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from labelspace.cli import main
from labelspace.space import LabelSpace

TOPICS = {
    "card": ["my card was declined at the shop", "why is my card declined", "card payment declined again"],
    "parcel": ["where is my parcel", "the parcel has not arrived", "my parcel is late, track the parcel"],
    "password": ["I forgot my password", "reset my password please", "the password reset link is broken"],
}


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [
        {"text": f"{text} {word}"}
        for lines in TOPICS.values()
        for text in lines
        for word in ("today", "now", "again", "soon", "thanks", "since Monday", "in London", "at home")
    ]
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {"text": " "}]) + "\n")
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_it_writes_a_space_and_says_what_it_found(texts, tmp_path, capsys):
    out = tmp_path / "space.yaml"
    assert run("discover", texts, "--out", out, "--levels", "2") == 0
    space = LabelSpace.load(out)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{len(space.leaves)} labels for 72 texts; 1 without text were set aside" in shown.err
    assert sum(int(count) for count in re.findall(r"\((\d+) texts\)", shown.err)) == 72
    assert f"labelspace label {texts} --space {out} --out labels.jsonl" in shown.err
    for topic in TOPICS:
        assert any(topic in name.lower() for name in space.leaves), space.leaves
    assert all(label.description and label.examples for label in space.labels if label.name in space.leaves)


def test_out_can_be_stdout_or_json(texts, tmp_path, capsys):
    assert run("discover", texts, "--out", "-", "--max-labels", "2") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("name: discovered\n")
    assert "Written" not in shown.err
    assert run("discover", texts, "--out", tmp_path / "space.json", "--max-labels", "2") == 0
    assert len(LabelSpace.load(tmp_path / "space.json").leaves) == 2


def test_the_same_seed_gives_the_same_space(texts, tmp_path):
    for name in ("one.yaml", "two.yaml"):
        assert run("discover", texts, "--out", tmp_path / name, "--seed", "3") == 0
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"text": " "}\n', (), "all are empty"),
        ('{"text": "a"}\n', ("--max-labels", "1"), "--max-labels"),
        ('{"text": "a"}\n', ("--embedder", "nonsense"), "no embedder 'nonsense'"),
        ('{"text": "a"}\n', ("--text-column", "body"), "body"),
    ],
)
def test_wrong_input_is_told_in_one_line(content, options, message, tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text(content)
    assert run("discover", tmp_path / "texts.jsonl", "--out", tmp_path / "space.yaml", *options) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_place_that_can_not_be_written_is_told(texts, tmp_path, capsys):
    (tmp_path / "folder.yaml").mkdir()
    assert run("discover", texts, "--out", tmp_path / "folder.yaml") == 2
    assert "can't be written" in capsys.readouterr().err


def test_help_is_light_and_ends_with_an_example():
    code = (
        "import sys; from labelspace.cli import main\n"
        "try: main(['discover', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sklearn', 'scipy', 'torch', 'aiohttp', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"
    assert shown.splitlines()[-2].strip().startswith("labelspace discover sample:support")
