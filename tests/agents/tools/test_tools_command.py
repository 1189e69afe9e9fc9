"""`labelspace tools` from import to evaluation, on the sample data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labelspace.agents.tools import Tool, ToolSet, Usage, read_usages, write_usages
from labelspace.cli.tools import command
from labelspace.errors import BudgetExceeded, ConfigError, DataError, LabelspaceError


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
    assert sets["recognised"]["of"] == 1
    said = run("evaluate", out, fresh, "--choose")
    assert "recall" in said
    assert "promised at least 80.0%" in said


def test_queries_that_need_no_tool_are_measured_alone(tmp_path: Path) -> None:
    tools, usage, out = tmp_path / "tools.jsonl", tmp_path / "usage.jsonl", tmp_path / "retriever"
    topics = ["weather", "parcels", "music", "loans"]
    ToolSet([Tool(f"get_{topic}", f"Everything about {topic}.") for topic in topics]).save(tools)
    write_usages(usage, [Usage(f"what of {topic}, number {i}", (f"get_{topic}",)) for topic in topics for i in "1234"])
    options = ("--coverage", "0.8", "--false-alarms", "0.1")
    run("train", tools, usage, "--dev", usage, "--stage", "bm25", "--out", out, *options)
    write_usages(usage, [Usage(query, ()) for query in ("hello there", "some music", "two and two")])
    only = json.loads(run("evaluate", out, usage, "--choose", "--json"))
    assert list(only) == ["choose"]
    assert only["choose"]["recognised"] == {"rate": 0.6667, "low": 0.2077, "high": 0.9385, "of": 3}
    assert (only["choose"]["complete"], only["choose"]["size"]) == (None, None)
    said = "no tool needed: 3 queries\n  said that none fits     66.7% (20.8% to 93.9%)\n"
    assert run("evaluate", out, usage, "--choose") == said
    with pytest.raises(DataError, match="there is no ranking to measure; --choose measures how often"):
        run("evaluate", out, usage)


WANTED = re.compile(r"tool (\d+) among")
ABOUT = re.compile(r"about ([a-z]+)")


def test_usage_is_generated_within_a_budget_and_goes_on_from_the_journal(chat_server: Any, tmp_path: Path) -> None:
    tools, out, asked = tmp_path / "tools.jsonl", tmp_path / "usage.jsonl", []
    topics = {
        "weather": "Will it rain on Sunday? I ask about weather.",
        "parcels": "My shoes never came, what do you know about parcels",
        "music": "hey, play a song about music",
    }
    ToolSet([Tool(f"get_{topic}", f"Everything about {topic}.") for topic in topics]).save(tools)

    def answer(body: dict[str, Any]) -> str:
        said = body["messages"][-1]["content"]
        asked.append(said)
        if wanted := WANTED.search(said):
            topic = next(topic for topic in topics if f"about {topic}" in said.splitlines()[int(wanted[1])])
            return json.dumps({"tools": [int(wanted[1])], "instruction": f"Tell me something about {topic}."})
        if "<tools" not in said:
            return json.dumps({"instruction": topics[ABOUT.findall(said)[-1]]})
        topic = ABOUT.findall(said)[-1]
        number = [f"about {topic}" in line for line in said.splitlines()[1:]].index(True) + 1
        return json.dumps({"needed": [number], "sufficient": True})

    arguments = ("generate", tools, "--model", chat_server(answer), "--out", out, "--each", "1")
    with pytest.raises(BudgetExceeded, match="the budget of 4 calls is spent"):
        run(*arguments, "--budget", "4 calls")
    assert len(asked) == 4
    assert not out.exists()
    run(*arguments)
    assert len(asked) == len(set(asked)) == 9
    assert {usage.tools for usage in read_usages(out)} == {("get_weather",), ("get_parcels",), ("get_music",)}
    assert {usage.query for usage in read_usages(out)} == set(topics.values())
    run(*arguments)
    assert len(asked) == 9
    more, journal = tmp_path / "more.jsonl", f"{out}.journal.sqlite"
    arguments = ("generate", tools, "--model", arguments[3], "--out", more, "--journal", journal, "--each", "2")
    with pytest.raises(BudgetExceeded):
        run(*arguments, "--budget", "10 calls")
    assert {usage.query for usage in read_usages(more)} == set(topics.values()), "what was accepted is kept"


@pytest.mark.parametrize("needs", ["0", "two", "1,,2", ""])
def test_how_many_tools_a_request_needs_are_numbers(needs: str, tmp_path: Path) -> None:
    tools = tmp_path / "tools.jsonl"
    ToolSet([Tool("a", "b")]).save(tools)
    arguments = ["generate", str(tools), "--model", "http://127.0.0.1:1/v1#none", "--out", "-", "--needs", needs]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"give numbers from 1, with commas between, not {needs!r}" in " ".join(result.output.split())


def test_parts_of_a_query_are_looked_up_and_kept(tmp_path: Path) -> None:
    tools, out = tmp_path / "tools.jsonl", tmp_path / "retriever"
    run("import", "sample:support", "--out", tools)
    run("train", tools, "sample:support", "--out", out, "--stage", "mlc", "--parts")
    kept = json.loads((out / "retriever.json").read_text())["stages"][0]
    assert kept["kind"] == "clauses"
    assert kept["weights"]["max"] + kept["weights"]["mean"] > 0
    found = json.loads(run("search", out, "where is my parcel and please cancel my subscription", "-k", "2"))
    assert {tool["name"] for tool in found["tools"]} == {"Where is my order", "Cancel subscription"}


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--index", "approximate"), "an approximate index searches by one stage; give --stage tool2vec or"),
        (("--index", "approximate", "--stage", "mlc"), "an approximate index searches by one stage"),
        (("--stage", "bm25", "--parts"), "weighed by held-out usages, and of 3 none is held out; give more"),
        ((), "weighed by held-out usages, and of 3 none is held out; give more, or --dev, or a single --stage"),
    ],
)
def test_what_can_not_be_trained_is_said_first(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    tools, usage = tmp_path / "tools.jsonl", tmp_path / "usage.jsonl"
    run("import", "sample:support", "--out", tools)
    write_usages(usage, [Usage(query, ("Cancel subscription",)) for query in ("a b", "c d", "e f")])
    with pytest.raises(LabelspaceError, match=message):
        run("train", tools, usage, "--out", tmp_path / "r", *options)
    assert not (tmp_path / "r").exists()


def test_a_port_is_for_serving_over_http(tmp_path: Path) -> None:
    for arguments in (
        ["serve", str(tmp_path), "--port", "9000"],
        ["serve", str(tmp_path), "--http", "--port", "99999"],
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2
        assert "add --http" in result.output or "not in the range" in result.output


def test_many_tools_are_found_by_tool2vec_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelspace.agents.tools.index.MANY", 18)
    tools, out = tmp_path / "tools.jsonl", tmp_path / "r"
    run("import", "sample:support", "--out", tools)
    run("train", tools, "sample:support", "--out", out)
    assert [stage["kind"] for stage in json.loads((out / "retriever.json").read_text())["stages"]] == ["tool2vec"]
    assert "Cancel subscription" in run("search", out, "I want to cancel my subscription", "-k", "1")


def test_a_module_and_a_document_are_imported_together(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text("openapi: 3.1.0\npaths:\n  /pets:\n    get: {operationId: listPets, summary: All pets.}\n")
    rows = [json.loads(line) for line in run("import", "python:textwrap", path).splitlines()]
    assert run("import", "-", text='{"name": "a"}\n') == '{"name":"a","description":""}\n'
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
