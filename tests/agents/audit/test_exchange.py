"""To Label Studio, Argilla and CSV, and back through a sheet of the same key.

What goes out was loaded with the tools' own readers: label-studio-sdk 2.1.2 (`LabelInterface.validate`,
`validate_task`, `validate_prediction`) and argilla 2.8.0 (`Settings.from_json`, `Record.from_dict`). What comes
back has the shape that label-studio-sdk's `Converter` (JSON, JSON-MIN, CSV) and argilla's `to_json` wrote of it.
"""

from __future__ import annotations

import csv
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
    stamp = {"annotator": "a@b.c", "annotation_id": 7, "created_at": "", "updated_at": "", "lead_time": 1.2}
    return [
        {**task["data"], "id": 1000 + at, "label": "c" if at == 0 else 'a "b"', **stamp}
        for at, task in enumerate(tasks)
    ]


def answer_argilla(records: Any) -> Any:
    for at, record in enumerate(records):
        value = "c" if at == 0 else record["suggestions"]["correct_label"]["value"]
        record["responses"] = {"correct_label": [{"value": value, "user_id": "u"}]}
        record |= {"vectors": {}, "status": "completed", "_server_id": "s"}
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


@pytest.mark.parametrize(("several", "cell"), [(False, "c"), (True, '{"choices":["a \\"b\\"","c"]}')])
def test_back_from_label_studios_csv(tmp_path: Path, several: bool, cell: str) -> None:
    header = ("annotation_id", "annotator", "created_at", "label", "lead_time", "record_id", "text", "updated_at")
    ids = [row["id"] for row in ROWS]
    with (tmp_path / "back.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerow(header)
        rows.writerow(["5000", "a@b.c", "2026-01-01", cell, "1.2", ids[0], "text", "2026-01-01"])
        rows.writerow(["", "", "", "", "", ids[1], "text", ""])
    answers = list(read_answers(tmp_path / "back.csv"))
    assert answers == [(ids[0], "", ('a "b"', "c") if several else ("c",)), (ids[1], "", None)]


@pytest.mark.parametrize("several", [False, True])
def test_label_studio_is_given_tasks_and_a_view(tmp_path: Path, several: bool) -> None:
    space = SPACE.model_copy(update={"multi_label": several})
    write_sheet(tmp_path / "ls.json", ROWS, form="label-studio", space=space)
    first = json.loads((tmp_path / "ls.json").read_text(encoding="utf-8"))[0]
    assert first["data"] == {"record_id": ROWS[0]["id"], "text": ROWS[0]["text"]}
    [prediction] = first["predictions"]
    value = {"choices": ['a "b"']}
    assert prediction["result"] == [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}]
    view = ET.fromstring((tmp_path / "ls.json.xml").read_text(encoding="utf-8"))
    [text], [choices] = view.findall("./Text"), view.findall("./Choices")
    assert (text.get("name"), text.get("value")) == ("text", "$text")
    assert (choices.get("name"), choices.get("toName")) == ("label", "text")
    assert choices.get("choice") == ("multiple" if several else "single")
    assert [(one.get("value"), one.get("hint")) for one in choices] == [('a "b"', "first <one>"), ("c", "")]


@pytest.mark.parametrize("several", [False, True])
def test_argilla_is_given_records_and_settings(tmp_path: Path, several: bool) -> None:
    space = SPACE.model_copy(update={"multi_label": several})
    write_sheet(tmp_path / "ar.json", ROWS, form="argilla", space=space)
    first = json.loads((tmp_path / "ar.json").read_text(encoding="utf-8"))[0]
    assert set(first) == {"id", "fields", "metadata", "suggestions", "responses"}
    assert first["fields"] == {"text": ROWS[0]["text"]}
    present = ['a "b"'] if several else 'a "b"'
    assert first["suggestions"] == {"correct_label": {"value": present, "score": None, "agent": "present label"}}
    settings = json.loads((tmp_path / "ar.json.settings.json").read_text(encoding="utf-8"))
    [field], [question] = settings["fields"], settings["questions"]
    assert (field["name"], field["settings"]) == ("text", {"type": "text", "use_markdown": False})
    assert (question["name"], question["required"]) == ("correct_label", True)
    assert question["settings"]["type"] == ("multi_label_selection" if several else "label_selection")
    options = [(one["value"], one["text"], one["description"]) for one in question["settings"]["options"]]
    assert options == [('a "b"', 'a "b"', "first <one>"), ("c", "c", "")]


def test_a_draft_in_argilla_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    write_sheet(path, ROWS, form="argilla", space=SPACE)
    records = answer_argilla(json.loads(path.read_text(encoding="utf-8")))
    records[0]["status"] = "pending"
    path.write_text(json.dumps(records), encoding="utf-8")
    assert next(iter(read_answers(path)))[2] is None


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
