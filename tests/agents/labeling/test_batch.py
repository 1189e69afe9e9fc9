"""Several documents in one request: answers mapped back by number, and asked again singly where they can't be used."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.labeler import Labeler
from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.errors import ConfigError
from labelspace.llm import Request, ScriptedLLM
from labelspace.llm.request import CallFailed
from labelspace.prompts import load_prompt
from labelspace.records import EMPTY_TEXT, Prediction
from labelspace.space import LabelSpace

SPACE = LabelSpace(labels=LabelSpace.of(["red", "green", "blue"]).labels, other="none")
TAGS = LabelSpace.of(["red", "green", "blue"], multi_label=True)


def documents(content: str) -> list[str]:
    """The documents of a user's message."""
    return re.findall(r"^<document(?: \d+)? \w{8}>\n(.*?)\n</document", content, re.MULTILINE | re.DOTALL)


def judge(request: Request) -> str:
    """Answer for each document its first word."""
    texts = documents(request.messages[-1]["content"])
    if request.choices is not None:
        return texts[0].split()[0]
    return json.dumps({str(number): text.split()[0] for number, text in enumerate(texts, start=1)})


def label(
    answer: Callable[[Request], Any], texts: list[str], *, size: int = 3, space: LabelSpace = SPACE, **how: Any
) -> tuple[list[Prediction], list[Request]]:
    model = ScriptedLLM(answer)
    labeler = Labeler(space, model=model, batch_documents=size, **{"concurrency": 4, **how})
    return list(labeler.predict(texts)), model.requests


def sizes(requests: list[Request]) -> Counter[int]:
    return Counter(len(documents(request.messages[-1]["content"])) for request in requests)


def test_documents_are_asked_together_and_answers_mapped_back() -> None:
    texts = ["red one", "blue two", "", "green three", "red four", "blue five", "none six", "green seven"]
    made, requests = label(judge, texts)
    assert [one.label for one in made] == ["red", "blue", None, "green", "red", "blue", None, "green"]
    assert [one.status for one in made].count("abstained") == 2
    assert made[2].reason == EMPTY_TEXT
    assert sizes(requests) == {3: 2, 1: 1}
    assert made[0].source["prompt"] == "label_batch"
    assert made[0].source["prompt_hash"] == load_prompt("label_batch").hash
    assert made[0].source["documents"] == 3
    assert made[7].source["prompt"] == "label"
    first = requests[0]
    assert first.schema == {
        "type": "object",
        "properties": {str(number): {"$ref": "#/$defs/answer"} for number in (1, 2, 3)},
        "required": ["1", "2", "3"],
        "additionalProperties": False,
        "$defs": {"answer": {"type": "string", "enum": ["red", "green", "blue", "none"]}},
    }
    system, user = (message["content"] for message in first.messages)
    assert '{"1": "name from the list", "2": "..."}' in system
    assert user.endswith("\n\nThe answers for these documents, as a JSON object:")


BAD = [
    ('{"1": "red", "3": "green"}', 1),  # one is missing
    ('{"1": "red", "2": "purple", "3": "green"}', 1),  # one is no label
    ('{"1": "red", "2": "blue", "2": "green", "3": "green"}', 1),  # one is said twice
    ('{"1": "red", "2": "blue", "2": "blue", "3": "green"}', 0),
    ('{"1": "red", "2": "red", "3": "red", "4": "red"}', 3),  # one is too many: who counts otherwise is not believed
    ('{"0": "red", "1": "red", "2": "red"}', 3),
    ('{"first": "red"}', 3),
    ('["red", "blue", "green"]', 3),
    ('{"1": "red", "2": "bl', 3),
    ("I can't do that.", 3),
    ("{}", 3),
    ('```json\n{"document 1": "red", "2": "Blue", "3": "green"}\n```', 0),
]


@pytest.mark.parametrize(("reply", "singly"), BAD)
def test_what_cannot_be_used_is_asked_again_singly(reply: str, singly: int) -> None:
    made, requests = label(lambda one: reply if one.schema else judge(one), ["red a", "blue b", "green c"])
    assert [one.label for one in made] == ["red", "blue", "green"]
    assert sizes(requests) == Counter({3: 1, 1: singly} if singly else {3: 1})
    assert sum(one.source["prompt"] == "label" for one in made) == singly


def test_a_batch_too_long_for_the_context_is_asked_singly_and_shortened() -> None:
    def answer(request: Request) -> Any:
        long = len(request.messages[-1]["content"]) > 2000
        return CallFailed("context_length", "too long") if long else judge(request)

    made, requests = label(answer, ["red " + "x" * 1500, "blue " + "y" * 3000, "green"], concurrency=1)
    assert [(one.label, one.reason) for one in made] == [
        ("red", None),
        ("blue", "the text was shortened to fit the model's context"),
        ("green", None),
    ]
    assert len(requests) == 5


def test_a_reader_that_stops_leaves_nothing_waiting() -> None:
    """What is asked again singly, too."""
    model = ScriptedLLM(lambda one: "{}" if one.schema else judge(one))
    made = Labeler(SPACE, model=model, batch_documents=3, concurrency=4).predict(f"red {n}" for n in range(6000))
    assert next(made).label == "red"
    made.close()  # type: ignore[attr-defined]
    assert len(model.requests) < 6000


def test_what_fails_singly_too_has_failed() -> None:
    made, _ = label(lambda one: "purple", ["red a", "blue b"], size=2)
    assert [(one.status, one.raw) for one in made] == [("failed", "purple")] * 2


def test_several_labels_and_reasons() -> None:
    answers = {"1": ["blue", "red"], "2": []}
    made, requests = label(lambda _: json.dumps(answers), ["a", "b"], space=TAGS)
    assert [one.labels for one in made] == [("blue", "red"), ()]
    assert requests[0].schema is not None
    assert requests[0].schema["$defs"]["answer"]["type"] == "array"

    reasons = {"1": {"rationale": "So.", "label": "red"}, "2": {"label": "red"}}
    single = '{"rationale": "Alone.", "label": "blue"}'
    made, _ = label(
        lambda one: single if "rationale" in one.schema["properties"] else json.dumps(reasons),  # type: ignore[index]
        ["a", "b"],
        rationale=True,
    )
    assert [(one.label, one.rationale) for one in made] == [("red", "So."), ("blue", "Alone.")]


def test_many_come_in_order_and_a_rerun_asks_nothing(tmp_path: Path) -> None:
    names = ["red", "green", "blue"]
    texts = [f"{names[n * 7 % 3]} {n}" if n % 11 else " " for n in range(500)]

    def careless(request: Request) -> str:
        if request.schema is None:
            return judge(request)
        answers = json.loads(judge(request))
        return json.dumps({key: name for key, name in answers.items() if name != "green"})

    made, requests = label(careless, texts, size=7, journal=tmp_path / "journal.sqlite")
    assert [one.label for one in made] == [text.split()[0] if text.strip() else None for text in texts]
    assert sizes(requests)[1] == sum("green" in text for text in texts)
    again, requests = label(careless, texts, size=7, journal=tmp_path / "journal.sqlite")
    assert (again, requests) == (made, [])


def test_a_spent_budget_ends_every_row_and_resumes_exactly(tmp_path: Path) -> None:
    texts = [f"red {n}" for n in range(10)] + [""]
    how: dict[str, Any] = {"journal": tmp_path / "j.sqlite", "set_aside": True, "concurrency": 1, "size": 4}
    made, requests = label(judge, texts, engine={"budget": "2 calls"}, **how)
    assert [one.status for one in made] == ["ok"] * 8 + ["failed"] * 2 + ["abstained"]
    assert len(requests) == 2
    made, requests = label(judge, texts, **how)
    assert [one.status for one in made] == ["ok"] * 10 + ["abstained"]
    assert sizes(requests) == {2: 1}


def test_on_the_command_line(tmp_path: Path, chat_server: Callable[..., str]) -> None:
    sent: list[int] = []

    def answer(body: dict[str, Any]) -> str:
        texts = documents(body["messages"][-1]["content"])
        sent.append(len(texts))
        return json.dumps({str(number): text.split()[0] for number, text in enumerate(texts, start=1) if number != 2})

    write_rows(tmp_path / "texts.jsonl", ({"id": str(n), "text": f"blue {n}"} for n in range(9)))
    SPACE.save(tmp_path / "space.yaml")
    arguments = ["label", str(tmp_path / "texts.jsonl"), "--space", str(tmp_path / "space.yaml")]
    arguments += ["--out", str(tmp_path / "labels.jsonl"), "--model", f"{chat_server(answer)}#tiny"]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--batch-documents", "4"])
    assert not done.value.code
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["blue"] * 9
    assert sorted(sent) == [1, 1, 1, 4, 4]
    account = json.loads((tmp_path / "labels.jsonl.run.json").read_text())
    assert (account["engine"]["calls"], account["engine"]["asked_singly"]) == (5, 2)
    assert account["settings"]["batch_documents"] == 4


def test_a_batch_has_two_documents_or_more() -> None:
    with pytest.raises(ConfigError, match="at least 2 documents, not 0"):
        Labeler(SPACE, model=ScriptedLLM([]), batch_documents=0)
