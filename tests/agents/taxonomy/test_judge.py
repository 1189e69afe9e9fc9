"""Judging labels: what is asked, what is read, sheets for people, and how far all agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from labelspace.agents.taxonomy.judge import Item, Verdict, draw_items, judge_items, read_answers
from labelspace.agents.taxonomy.judge_report import Judgement, report
from labelspace.agents.taxonomy.judge_sheet import read_sheet, write_sheet
from labelspace.errors import DataError
from labelspace.llm import ReplyError, Request, ScriptedLLM
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

SPACE = LabelSpace.from_data(
    {"labels": [{"name": name, "description": f"About {name}."} for name in ("cats", "dogs", "fish", "birds")]}
)
RECORDS = [
    Record(str(n), f"text {n} on {SPACE.leaves[n % 4]}", metadata={"language": "en" if n < 20 else "de"})
    for n in range(40)
]
LABELS = [Prediction(record.id, (SPACE.leaves[int(record.id) % 4],)) for record in RECORDS]
ITEMS = draw_items(LABELS, RECORDS, SPACE)


def pairs_in(request: Request) -> list[tuple[str, str, str]]:
    """Text, A and B of each document."""
    content = request.messages[1]["content"]
    texts = [line for line in content.splitlines() if line.startswith("text ")]
    options = [line.split(": A = ")[1].split(", B = ") for line in content.splitlines() if ": A = " in line]
    return [(text, json.loads(a), json.loads(b)) for text, (a, b) in zip(texts, options, strict=True)]


def judge(request: Request) -> str:
    """Always right, but says none for every tenth text; finds every label but birds useful."""
    if request.messages[0]["content"].startswith("You compare labels"):
        found = {}
        for number, (text, a, _) in enumerate(pairs_in(request), start=1):
            found[str(number)] = "none" if text.split()[1].endswith("0") else "A" if text.endswith(a) else "B"
        return json.dumps(found)
    lines = [line for line in request.messages[1]["content"].splitlines() if line[:1].isdigit()]
    return json.dumps({str(n): "no" if '"birds"' in line else "yes" for n, line in enumerate(lines, start=1)})


def test_items_follow_from_ids_and_seed() -> None:
    assert draw_items(LABELS, RECORDS, SPACE) == ITEMS
    assert draw_items(LABELS, RECORDS, SPACE, seed=1) != ITEMS
    assert all(item.assigned != item.other for item in ITEMS)
    assert 10 < sum(item.assigned_first for item in ITEMS) < 30
    assert {item.other for item in ITEMS} == set(SPACE.leaves)
    some = draw_items(LABELS, RECORDS, SPACE, sample=7)
    assert len(some) == 7 and [int(item.record.id) for item in some] == sorted(int(item.record.id) for item in some)
    several = [Prediction(one.record_id, (one.label or "", "fish")) for one in LABELS if one.label != "fish"]
    assert all(item.other != "fish" for item in draw_items(several, RECORDS, SPACE))


def test_there_must_be_something_to_judge() -> None:
    for labels, space in (([], SPACE), (LABELS, LabelSpace.of(["cats"])), ([Prediction("0", ("mice",))], SPACE)):
        with pytest.raises(DataError, match="nothing to judge"):
            draw_items(labels, RECORDS, space)


def test_a_model_judges_and_its_letters_are_turned_back() -> None:
    model = ScriptedLLM(judge)
    verdicts = judge_items(ITEMS, SPACE, model=model, use_case="Find pets.", together=15)
    assert len(model.requests) == 6
    assert [verdict.choice for verdict in verdicts] == [
        "none" if item.record.id.endswith("0") else "assigned" for item in ITEMS
    ]
    assert [verdict.relevant for verdict in verdicts] == [item.assigned != "birds" for item in ITEMS]
    assert all("Find pets." in request.messages[0]["content"] for request in model.requests)
    assert model.requests[0].schema["properties"]["15"]["enum"] == ["A", "B", "none"]
    only = judge_items(ITEMS[:3], SPACE, model=ScriptedLLM(judge), questions=["accuracy"])
    assert {verdict.relevant for verdict in only} == {None}


def test_an_answer_that_lacks_documents_is_sent_back_and_then_left_out() -> None:
    replies = ['{"1": "A", "2": "C"}', '{"1": "A"}', "no", "no"]
    model = ScriptedLLM(replies)
    verdicts = judge_items(ITEMS[:3], SPACE, model=model, questions=["accuracy"])
    assert verdicts == [Verdict(None, None)] * 3
    assert [request.temperature for request in model.requests] == [0.0, 0.1, 0.2, 0.3]
    assert "no usable answer: 2, 3" in model.requests[1].messages[-1]["content"]


@pytest.mark.parametrize("text", ['{"1": "a", "2": " NONE. "}', '{"1": "(A)", " 2": "none", "3": "B"}'])
def test_answers_are_read_whatever_their_case(text: str) -> None:
    assert read_answers(text, 2, ("A", "B", "none")) == ["A", "none"]
    with pytest.raises(ReplyError, match="2"):
        read_answers('{"1": "A", "2": ["A"]}', 2, ("A", "B", "none"))


def fill(path: Path, answers: dict[tuple[str, str], str]) -> None:
    """Write answers into a sheet, by id and question."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["answer"] = answers.get((row["id"], row["question"]), "")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_does_not_tell_which_label_a_document_carries_before_the_last_question(tmp_path: Path) -> None:
    write_sheet(tmp_path / "s.csv", ITEMS, SPACE)
    with (tmp_path / "s.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["question"] for row in rows] == ["accuracy"] * 40 + ["relevance"] * 40
    item = ITEMS[0]
    assert rows[0]["a"] == f"{item.pair[0]}: About {item.pair[0]}."
    assert rows[40]["a"] == f"{item.assigned}: About {item.assigned}."
    assert {row["answer"] for row in rows} == {""}


def test_a_filled_sheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    write_sheet(path, ITEMS, SPACE)
    fill(
        path, {("0", "accuracy"): "a", ("1", "accuracy"): " Neither", ("2", "relevance"): "Y", ("3", "relevance"): "no"}
    )
    verdicts = read_sheet(path, ITEMS)
    assert verdicts[0].choice == ("assigned" if ITEMS[0].assigned_first else "other")
    assert (verdicts[1].choice, verdicts[2].relevant, verdicts[3].relevant) == ("none", True, False)
    assert verdicts[4] == Verdict(None, None)


def test_sheets_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    write_sheet(path, ITEMS, SPACE)
    with pytest.raises(DataError, match="answers none of the items"):
        read_sheet(path, ITEMS)
    fill(path, {("0", "accuracy"): "C"})
    with pytest.raises(DataError, match=r"s\.csv, row 2: the answer 'C' is not A, B or none"):
        read_sheet(path, ITEMS)
    fill(path, {("0", "relevance"): "perhaps"})
    with pytest.raises(DataError, match="'perhaps' is not yes or no"):
        read_sheet(path, ITEMS)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no sheet of judgements"):
        read_sheet(path, ITEMS)


def says(item: Item, right: bool) -> Verdict:
    return Verdict("assigned" if right else "other", right)


def test_the_report_counts_and_compares() -> None:
    model = [says(item, int(item.record.id) % 10 != 0) for item in ITEMS]
    ann = [says(item, int(item.record.id) % 10 != 0) for item in ITEMS]
    bob = [says(item, int(item.record.id) % 5 != 0) for item in ITEMS]
    found = report(ITEMS, covered=[True] * 39 + [False], model=model, people=[ann, bob, ann], column="language")
    assert found.coverage.value == pytest.approx(39 / 40)
    assert found.judge["accuracy"].value == pytest.approx(0.9)
    assert found.people["accuracy"].of == 120
    assert found.people["accuracy"].value == pytest.approx((36 + 32 + 36) / 120)
    accuracy, relevance = found.agreement
    assert (accuracy.question, accuracy.items, accuracy.people) == ("accuracy", 40, 3)
    assert accuracy.majority == 1.0
    assert 0.7 < (accuracy.judge or 0) < 1.0
    assert relevance.majority == 1.0
    # Of 40 items 4 are found useless by all and 4 by Bob alone, by hand:
    share = [(36 + 32 + 36) / 120, (4 + 8 + 4) / 120]
    expected = sum(one**2 for one in share)
    observed = (36 - 4 + 4 + 4 / 3) / 40
    assert relevance.fleiss == pytest.approx((observed - expected) / (1 - expected))
    assert set(relevance.by) == {"label", "language"}
    assert {name: rest[0] for name, rest in relevance.by["language"].items()} == {"en": 20, "de": 20}
    assert set(found.by["label"]) == set(SPACE.leaves)
    assert Judgement.model_validate_json(found.model_dump_json()) == found
    text = found.text(show=2)
    assert "coverage    97.5%" in text
    assert "kappa of accuracy (40 items, 3 people): people 0." in text
    assert "language de: 100.0% the same" in text


def test_without_a_judge_people_are_compared_and_without_people_nobody() -> None:
    ann, bob = ([says(item, int(item.record.id) % by != 0) for item in ITEMS] for by in (10, 5))
    found = report(ITEMS, covered=[True], people=[ann, bob])
    assert [one.judge for one in found.agreement] == [None, None]
    assert found.agreement[0].fleiss is not None
    assert report(ITEMS, covered=[True], people=[ann]).agreement == ()
    alone = report(ITEMS, covered=[True], model=ann)
    assert alone.agreement == () and alone.people == {}
    same = [Verdict(None, True)] * 40
    undefined = report(ITEMS, covered=[True], model=same, people=[same, same]).agreement[0]
    assert (undefined.fleiss, undefined.judge) == (None, None)
