"""`labelspace tools` from import to evaluation, on the sample data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from labelspace.agents.tools import Usage, read_usages, write_usages
from labelspace.cli.tools import command
from labelspace.errors import ConfigError, DataError


def run(*arguments: object, text: str | None = None) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], input=text, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_whole_way(tmp_path: Path) -> None:
    tools, out = tmp_path / "tools.jsonl", tmp_path / "retriever"
    run("import", "sample:support", "--out", tools)
    usages = read_usages("sample:support")
    seen, fresh = tmp_path / "seen.jsonl", tmp_path / "fresh.jsonl"
    write_usages(seen, [usage for place, usage in enumerate(usages) if place % 3])
    write_usages(fresh, [*usages[::3], Usage("zzz qqq", ())])
    run("train", tools, seen, "--out", out, "--coverage", "0.8", "--false-alarms", "0.1")
    found = json.loads(run("search", out, "where is my parcel, it should have come last week", "-k", "2"))
    assert next(tool["name"] for tool in found["tools"]) == "Where is my order"
    assert len(found["tools"]) == 2
    lines = run("search", out, "--choose", text="where is my parcel\nplease cancel my subscription\n").splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["where is my parcel", "please cancel my subscription"]
    report = json.loads(run("evaluate", out, fresh, "-k", "1", "-k", "5", "--json"))
    assert report["recall@5"] > 0.8
    assert report["tokens_at"]["1"] < report["tokens"] / 5
    sets = json.loads(run("evaluate", out, fresh, "--choose", "--json"))["choose"]
    assert sets["complete"]["high"] >= 0.7  # a few dozen usages set the thresholds
    assert sets["false_alarms"]["low"] <= 0.2
    assert sets["recognised"] == {"rate": 1.0, "low": 0.2065, "high": 1.0, "of": 1}
    said = run("evaluate", out, fresh, "--choose")
    assert "recall" in said
    assert "promised at least 80.0%" in said


def test_descriptions_need_no_usage(tmp_path: Path) -> None:
    tools, out = tmp_path / "tools.jsonl", tmp_path / "retriever"
    run("import", "sample:support", "--out", tools)
    run("train", tools, "--out", out)
    assert "Cancel subscription" in run("search", out, "I want to cancel my subscription")
    with pytest.raises(ConfigError, match="does not know how many tools to take"):
        run("search", out, "hi", "--choose")


@pytest.mark.parametrize("index", ["exact", "approximate"])
def test_an_index_is_kept(index: str, tmp_path: Path) -> None:
    if index == "approximate":
        pytest.importorskip("usearch")
    tools, out = tmp_path / "tools.jsonl", tmp_path / "retriever"
    run("import", "sample:support", "--out", tools)
    run("train", tools, "sample:support", "--out", out, "--stage", "tool2vec", "--index", index)
    assert json.loads((out / "retriever.json").read_text())["stages"][0]["index"] == index
    assert "Cancel subscription" in run("search", out, "I want to cancel my subscription")


def test_a_module_and_a_document_are_imported_together(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text("openapi: 3.1.0\npaths:\n  /pets:\n    get: {operationId: listPets, summary: All pets.}\n")
    rows = [json.loads(line) for line in run("import", "python:textwrap", path).splitlines()]
    assert [row["name"] for row in rows] == ["wrap", "fill", "shorten", "dedent", "indent", "listPets"]
    assert rows[0]["description"].startswith("Wrap a single paragraph of text")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.json", DataError, "nowhere.json: no such file of tools"),
        ("python:", ConfigError, "python: needs the name of a module"),
        ("python:no_such_module_here", ConfigError, "the module 'no_such_module_here' can't be imported"),
    ],
)
def test_a_source_that_is_none_is_named(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run("import", source)
