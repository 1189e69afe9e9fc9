"""To Label Studio, Argilla and CSV, and back through a sheet of the same key."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.agents.audit.exchange import read_answers, write_sheet
from labelspace.agents.audit.sheet import draw_sample, read_verdicts
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(labels=(Label(name='a "b"', description="first <one>"), Label(name="c")))
RECORDS = [Record(id=f"r{at}", text=f"text {at} & more", labels=('a "b"',)) for at in range(10)]
ROWS, KEY = draw_sample(RECORDS, np.arange(10) < 4, total=8)


def answer_label_studio(tasks: Any) -> Any:
    for at, task in enumerate(tasks):
        label = "c" if at == 0 else task["predictions"][0]["result"][0]["value"]["choices"][0]
        result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        task["annotations"] = [{"result": [result], "was_cancelled": False}]
    return tasks


def answer_minimal(tasks: Any) -> Any:
    return [
        {"id": task["data"]["id"], "text": task["data"]["text"], "label": "c" if at == 0 else 'a "b"'}
        for at, task in enumerate(tasks)
    ]


def answer_argilla(records: Any) -> Any:
    for at, record in enumerate(records):
        value = "c" if at == 0 else record["suggestions"]["correct_label"]["value"]
        record["responses"] = {"correct_label": [{"value": value, "user_id": "u", "status": "submitted"}]}
    return records


@pytest.mark.parametrize(
    ("form", "answer"),
    [("label-studio", answer_label_studio), ("label-studio", answer_minimal), ("argilla", answer_argilla)],
)
def test_there_and_back(tmp_path: Path, form: Any, answer: Any) -> None:
    path = tmp_path / "tasks.json"
    write_sheet(path, ROWS, form=form, space=SPACE)
    sent = json.loads(path.read_text(encoding="utf-8"))
    assert len(sent) == 8
    assert "flagged" not in path.read_text(encoding="utf-8")
    path.write_text(json.dumps(answer(sent)), encoding="utf-8")
    found = read_verdicts(path, KEY, space=SPACE)
    assert found.corrections == {ROWS[0]["id"]: ("c",)}
    assert len(found.right) == 7


def test_what_the_tools_need_to_know_of_the_labels(tmp_path: Path) -> None:
    write_sheet(tmp_path / "ls.json", ROWS, form="label-studio", space=SPACE)
    view = ET.fromstring((tmp_path / "ls.json.xml").read_text(encoding="utf-8"))
    choices = view.findall("./Choices/Choice")
    assert [(choice.get("value"), choice.get("hint")) for choice in choices] == [('a "b"', "first <one>"), ("c", "")]
    write_sheet(tmp_path / "ar.json", ROWS, form="argilla", space=SPACE)
    settings = json.loads((tmp_path / "ar.json.settings.json").read_text(encoding="utf-8"))
    assert [option["value"] for option in settings["questions"][0]["settings"]["options"]] == ['a "b"', "c"]


def test_unanswered_counts_as_blank(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    write_sheet(path, ROWS, form="label-studio", space=SPACE)
    assert read_verdicts(path, KEY).blank == 8
    assert next(iter(read_answers(path)))[2] is None


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not valid JSON"), ("{}", "not a list"), ('[{"x": 1}]', "nor an")]
)
def test_other_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_answers(tmp_path / "x.json"))
