"""Labeling instructions: what is asked, what is refused, and that only what helps is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from labelspace.agents.labeling.instruct import compare, instruction_requests, read, write_instructions
from labelspace.agents.labeling.instruct_groups import Group, make_groups
from labelspace.agents.labeling.instructions import Evidence, Guidance, Instructions, instructed, with_instructions
from labelspace.agents.labeling.labeler import Labeler
from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.embed import load_embedder
from labelspace.errors import ConfigError, DataError, ModelError, SpaceError
from labelspace.llm import Engine, Reply, ReplyError, Request, ScriptedLLM, run
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="cat", description="Says miaow."),
        Label(name="dog"),
        Label(name="stone"),
        Label(name="rock"),
    )
)
LABELLED = [
    Record(f"{name}{n}", f"{words} number {n}", (name,))
    for name, words in {
        "cat": "purring furry animal with whiskers",
        "dog": "barking furry animal on a leash",
        "stone": "grey hard thing on the ground",
        "rock": "large grey hard thing",
    }.items()
    for n in range(5)
]


def entry(label: str, **changes: Any) -> dict[str, Any]:
    return {
        "label": label,
        "definition": f"It is a {label}.",
        "belongs": ["Kittens"],
        "excludes": ["Toys: stone"],
        "borderline": [{"text": "It wags its tail", "label": "dog", "why": "cats do not"}],
        **changes,
    }


GROUP = Group(
    ("cat", "dog"),
    {"cat": ("one two three four five six seven",), "dog": ("a b c d e",)},
    (("hard grey thing that lies on roads", "stone"),),
)


def reply(*entries: Any) -> Reply:
    return Reply(json.dumps({"labels": list(entries)}))


def test_a_reply_is_read() -> None:
    found = read(reply(entry("dog"), entry("Cat")), GROUP, SPACE)
    assert set(found) == {"cat", "dog"}
    assert found["cat"].text() == (
        'It is a Cat. Belongs: Kittens. Does not: Toys: stone. Borderline: "It wags its tail" is dog (cats do not).'
    )


REFUSED = [
    ([entry("cat")], "no entry for: dog"),
    ([entry("cat"), entry("dog"), entry("cat")], 'two entries for "cat"'),
    ([entry("cat"), entry("stone")], '"stone" is not a label'),
    ([entry("cat", definition=" "), entry("dog")], '"cat" has no definition'),
    ([entry("cat", belongs="Kittens"), entry("dog")], '"cat": belongs'),
    ([entry("cat", belongs=["x" * 500]), entry("dog")], "too long"),
    ([entry("cat", borderline=[{"text": "x", "label": "cow", "why": ""}]), entry("dog")], '"cow" is not a label'),
    ([entry("cat", borderline=[{"text": "x"}]), entry("dog")], "borderline.0.label"),
    ([entry("cat", note="x"), entry("dog")], '"cat": note'),
    (
        [
            entry("cat", borderline=[{"text": "TWO, three four five six seven!", "label": "dog", "why": ""}]),
            entry("dog"),
        ],
        "repeats an example",
    ),
    ([entry("cat", belongs=["hard grey thing that lies on"]), entry("dog")], "repeats an example"),
    ([entry("cat", belongs=["A b c d e"]), entry("dog")], "repeats an example"),
    (["cat"], "must be a list of objects"),
    ([{"definition": "x"}], "must be a list of objects"),
]


@pytest.mark.parametrize(("entries", "said"), REFUSED)
def test_what_is_refused(entries: list[Any], said: str) -> None:
    with pytest.raises(ReplyError, match=said):
        read(reply(*entries), GROUP, SPACE)


def test_a_reply_that_is_no_list() -> None:
    for text in ('{"labels": {}}', '{"label": []}', "cat"):
        with pytest.raises(ReplyError):
            read(Reply(text), GROUP, SPACE)


def test_labels_that_are_alike_are_written_about_together() -> None:
    groups = make_groups(SPACE, LABELLED, embedder=load_embedder("tfidf"), together=2, each=3)
    assert [group.names for group in groups] == [("cat", "dog"), ("stone", "rock")]
    assert [len(texts) for texts in groups[0].examples.values()] == [3, 3]
    assert len(set(groups[0].examples["cat"])) == 3
    assert {answer for _, answer in groups[0].near} <= {"stone", "rock"}
    assert len(groups[0].near) == 4


def test_a_label_without_examples_is_written_about_too() -> None:
    groups = make_groups(SPACE, LABELLED[:15], embedder=load_embedder("tfidf"), together=2)
    assert [group.names for group in groups] == [("cat", "dog"), ("stone", "rock")]
    assert groups[1].examples["rock"] == ()


def test_examples_must_have_labels_of_the_space() -> None:
    with pytest.raises(DataError, match="no example has a label"):
        make_groups(SPACE, [Record("1", "x", ("cow",)), Record("2", "y")], embedder=load_embedder("tfidf"))


def test_what_is_asked() -> None:
    groups = make_groups(SPACE, LABELLED, embedder=load_embedder("tfidf"), together=2, each=2)
    first, _ = instruction_requests(SPACE, groups, use_case="Sort things.")
    system, user = (message["content"] for message in first.messages)
    assert "Sort things." in system
    assert "## cat: Says miaow.\n" in user
    assert '"purring furry animal with whiskers number' in user
    assert "The other labels are: stone; rock" in user
    assert user.endswith("The instructions for 2 labels, as a JSON object:")


def write(replies: Any, groups: list[Group] | None = None) -> dict[str, Guidance]:
    async def work() -> dict[str, Guidance]:
        async with Engine(ScriptedLLM(replies), concurrency=1) as engine:
            return (await write_instructions(engine, SPACE, groups or [GROUP]))[0]

    return run(work())


def test_a_wrong_reply_is_shown_what_was_wrong() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return reply(*([entry("cat")] if len(asked) == 1 else [entry("cat"), entry("dog")])).text

    assert set(write(answer)) == {"cat", "dog"}
    assert "There is no entry for: dog" in asked[1].messages[-1]["content"]


def test_a_group_without_a_usable_reply_ends_it() -> None:
    with pytest.raises(ModelError, match="no instructions for cat, dog"):
        write(lambda _: "no")


def test_they_become_the_labels_instructions() -> None:
    put = instructed(SPACE, {"dog": Guidance(definition="Barks.")})
    assert put["dog"].instructions == "Barks."
    assert put["cat"] == SPACE["cat"]
    assert put.version != SPACE.version
    model = ScriptedLLM(lambda _: "dog")
    list(Labeler(put, model=model).predict(["x"]))
    assert "- dog\n  Guidance: Barks.\n" in model.requests[0].messages[0]["content"]
    with pytest.raises(SpaceError, match="another space"):
        instructed(SPACE, {"cow": Guidance(definition="x")})


# -- shown to improve labels, or not used ----------------------------------------------------------


def tried(right_with: int, right_without: int, texts: int = 100) -> tuple[Evidence, bool]:
    put = instructed(SPACE, {"dog": Guidance(definition="Barks.")})

    def label(space: LabelSpace, records: list[Record]) -> list[Prediction]:
        assert all(record.labels is None for record in records)
        right = right_with if space is put else right_without
        return [Prediction(one.id, ("dog",) if int(one.id) < right else ("cat",)) for one in records]

    return compare(SPACE, put, [Record(str(n), f"text {n}", ("dog",)) for n in range(texts)], label)


@pytest.mark.parametrize(
    ("with_", "without", "used"), [(90, 70, True), (71, 70, False), (70, 70, False), (60, 90, False)]
)
def test_only_a_clear_gain_counts(with_: int, without: int, used: bool) -> None:
    evidence, better = tried(with_, without)
    assert better is used
    assert (evidence.with_instructions, evidence.without) == (with_ / 100, without / 100)
    assert evidence.low <= (with_ - without) / 100 <= evidence.high
    assert (evidence.p_value < 0.05) is (abs(with_ - without) >= 20)


@pytest.mark.parametrize("used", [True, False])
def test_a_file_says_whether_it_is_used(tmp_path: Path, used: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "instructions.yaml"
    evidence = tried(90, 70)[0] if used else None
    made = Instructions(space="labels", used=used, evidence=evidence, labels={"dog": Guidance(definition="Barks.")})
    made.save(path)
    assert Instructions.load(path) == made
    found = with_instructions(SPACE, path)
    assert (found["dog"].instructions == "Barks.") is used
    assert ("not used: they were not tested" in capsys.readouterr().err) is not used


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "not valid YAML"),
        ("a: 1", "no.* file of instructions|not a file"),
        ("used: maybe\nspace: a\nlabels: {}", "used"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        Instructions.load(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="can't be read"):
        Instructions.load(tmp_path / "none.yaml")


# -- the command -----------------------------------------------------------------------------------


def test_on_the_command_line(
    tmp_path: Path, chat_server: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict[str, Any]) -> str:
        system, user = (message["content"] for message in body["messages"])
        if "write the instructions" in system:
            names = [line[3:].partition(":")[0] for line in user.splitlines() if line.startswith("## ")]
            return json.dumps({"labels": [entry(name, borderline=[]) for name in names]})
        word = user.split("\n")[1].split()[0]  # without guidance everything is a stone
        by_word = {"purring": "cat", "barking": "dog", "grey": "stone", "large": "rock"}
        return json.dumps({"choice": by_word[word] if "Guidance" in system else "stone"})

    write_rows(tmp_path / "texts.jsonl", ({"id": r.id, "text": r.text, "label": r.label} for r in LABELLED))
    SPACE.save(tmp_path / "space.yaml")
    out = tmp_path / "instructions.yaml"
    arguments = ["instruct", str(tmp_path / "texts.jsonl"), "--space", str(tmp_path / "space.yaml")]
    arguments += ["--out", str(out), "--model", f"{chat_server(answer)}#tiny", "--together", "2"]
    for more in (["--dry-run"], []):
        with pytest.raises(SystemExit) as done:
            main([*arguments, *more])
        assert not done.value.code
        assert out.exists() is not bool(more)
    captured = capsys.readouterr()
    assert "2 requests write, 12 test on 6 records" in captured.out
    assert "labelspace label DATA" in captured.err
    data = yaml.safe_load(out.read_text())
    assert data["used"] is True
    assert data["evidence"]["texts"] == 6
    assert data["evidence"]["with_instructions"] == 1.0
    assert set(data["labels"]) == {"cat", "dog", "stone", "rock"}

    label = ["label", str(tmp_path / "texts.jsonl"), *arguments[2:4], "--out", str(tmp_path / "labels.jsonl")]
    with pytest.raises(SystemExit) as done:
        main([*label, "--model", arguments[7], "--instructions", str(out)])
    assert not done.value.code
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == [record.label for record in LABELLED]


def test_instructions_need_records_to_be_tested_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "texts.jsonl", [{"id": "1", "text": "x", "label": "cat"}])
    SPACE.save(tmp_path / "space.yaml")
    with pytest.raises(SystemExit) as done:
        main(["instruct", str(tmp_path / "texts.jsonl"), "--space", str(tmp_path / "space.yaml"), "--out", "o.yaml",
              "--model", "http://127.0.0.1:9/v1#x"])  # fmt: skip
    assert done.value.code == 2
    assert "others to be tested on" in capsys.readouterr().err
