"""Down a tree of labels, level by level."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.descend import below
from labelspace.agents.labeling.labeler import FITS_NOWHERE, Labeler
from labelspace.llm import Request, ScriptedLLM, Stopped
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="animal", description="What lives."),
        Label(name="pet", parent="animal"),
        Label(name="cat", parent="pet", description="Says miaow."),
        Label(name="dog", parent="pet"),
        Label(name="wild", parent="animal"),
        Label(name="stone"),
    )
)


def script(**replies: Any) -> Callable[[Request], Any]:
    """Answers by the first label that is shown."""

    def answer(request: Request) -> Any:
        lines = request.messages[0]["content"].splitlines()
        first = next(line[2:].partition(":")[0] for line in lines if line.startswith("- "))
        return replies[first]

    return answer


def descend(replies: Any, texts: Any = ("text",), *, space: LabelSpace = SPACE, **how: Any) -> list[Prediction]:
    return list(Labeler(space, model=ScriptedLLM(replies), descend=True, **how).predict(texts))


def test_each_level_shows_only_what_lies_below() -> None:
    model = ScriptedLLM(script(animal="animal", pet="pet", cat="dog"))
    [made] = Labeler(SPACE, model=model, descend=True).predict(["x"])
    assert (made.labels, made.status) == (("dog",), "ok")
    assert made.source["steps"] == 3
    assert [request.choices for request in model.requests] == [
        ("animal", "stone"),
        ("pet", "wild", "none of these"),
        ("cat", "dog", "none of these"),
    ]
    assert "- animal: What lives. It holds: pet, wild.\n" in model.requests[0].messages[0]["content"]


def test_a_leaf_at_the_top_is_one_step() -> None:
    model = ScriptedLLM(script(animal="stone"))
    [made] = Labeler(SPACE, model=model, descend=True).predict(["x"])
    assert (made.labels, len(model.requests)) == (("stone",), 1)


@pytest.mark.parametrize(
    ("replies", "status", "reason"),
    [
        ({"animal": "animal", "pet": "none of these"}, "abstained", FITS_NOWHERE),
        ({"animal": "animal", "pet": "pet", "cat": "cow"}, "failed", None),
        ({"animal": "cow"}, "failed", None),
        ({"animal": "none"}, "abstained", FITS_NOWHERE),
    ],
)
def test_what_ends_on_the_way(replies: dict[str, str], status: str, reason: str | None) -> None:
    [made] = descend(script(**replies))
    assert (made.labels, made.status) == ((), status)
    assert reason is None or made.reason == reason


def test_confidence_is_that_of_all_steps() -> None:
    def said(label: str, number: int) -> str:
        return json.dumps({"rationale": f"it is {label}", "label": label, "confidence": number})

    replies = script(animal=said("animal", 90), pet=said("pet", 80), cat=said("cat", 50))
    [made] = descend(replies, confidence="verbal", rationale=True)
    assert made.confidence == pytest.approx(0.9 * 0.8 * 0.5)
    assert dict(made.scores) == {"cat": pytest.approx(0.36)}
    assert made.rationale == "it is animal / it is pet / it is cat"


def test_several_labels_follow_several_branches() -> None:
    space = SPACE.model_copy(update={"multi_label": True})
    replies = script(
        animal='{"labels": ["animal", "stone"]}', pet='{"labels": ["wild", "pet"]}', cat='{"labels": ["cat", "dog"]}'
    )
    [made] = descend(replies, space=space)
    assert set(made.labels) == {"wild", "cat", "dog", "stone"}
    [made] = descend(script(animal='{"labels": ["animal"]}', pet='{"labels": []}'), space=space)
    assert (made.labels, made.status) == ((), "abstained")


def test_in_order_and_again_from_the_journal(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        word = request.messages[1]["content"].split("\n")[1].split()[0]
        names = [line[2:].partition(":")[0] for line in request.messages[0]["content"].splitlines() if line[:2] == "- "]
        path = SPACE.path(word)
        return next(name for name in names if name in path)

    leaves = ["cat", "stone", "wild", "dog"]
    texts = [f"{leaves[n % 4]} {n}" for n in range(200)]
    journal = tmp_path / "journal.sqlite"
    made = descend(answer, texts, journal=journal)
    assert [one.label for one in made] == [leaves[n % 4] for n in range(200)]
    assert descend([], texts, journal=journal) == made
    assert descend([], texts[:3], journal=journal, closed="the server is away") == made[:3]
    [late] = descend([], ["cat again"], journal=journal, closed="the server is away")
    assert late.status == "failed"


def test_examples_are_shown_at_the_level_where_they_tell_something() -> None:
    labelled = [Record("1", "miaow", ("cat",)), Record("2", "bark", ("dog",)), Record("3", "hard", ("stone",))]
    model = ScriptedLLM(script(animal="animal", pet="pet", cat="cat"))
    list(Labeler(SPACE, model=model, descend=True, labelled=labelled).predict(["x"]))
    shown = [
        sorted(line for line in request.messages[0]["content"].splitlines() if line[:1] == '"')
        for request in model.requests
    ]
    assert shown == [
        ['"bark" -> animal', '"hard" -> stone', '"miaow" -> animal'],
        ['"bark" -> pet', '"miaow" -> pet'],
        ['"bark" -> dog', '"miaow" -> cat'],
    ]


def test_orders_of_each_level_vote() -> None:
    model = ScriptedLLM(lambda request: "cat" if "cat" in (request.choices or ()) else (request.choices or ("",))[0])
    [made] = Labeler(SPACE, model=model, descend=True, permutations=3).predict(["x"])
    assert made.source["votes"] == 3


def test_a_group_tells_what_it_holds() -> None:
    space = LabelSpace(labels=(Label(name="g"), *(Label(name=f"l{n}", parent="g") for n in range(20))), other="rest")
    assert below(space, None).labels[0].description == (
        "It holds: l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, l10, l11, ...."
    )
    assert below(space, "g").other == "rest"


def test_a_dry_run_counts_the_first_level() -> None:
    labeler = Labeler(SPACE, model=ScriptedLLM([]), descend=True)
    assert labeler.estimate(["a", "b"]).calls == 2


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    made = Labeler(SPACE, model=ScriptedLLM(script(animal="animal", pet="pet", cat="cat")), descend=True).predict(
        f"text {n}" for n in range(500)
    )
    assert next(iter(made)).label == "cat"
    made.close()  # type: ignore[attr-defined]


def by_path(request: Request) -> str:
    """Names the first word of each document, or what leads to it."""
    names = [line[2:].partition(":")[0] for line in request.messages[0]["content"].splitlines() if line[:2] == "- "]
    words = re.findall(r"^<document [^/>]*>\n(\w+)", request.messages[-1]["content"], re.MULTILINE)
    said = [next(name for name in names if name in SPACE.path(word)) for word in words]
    return json.dumps({str(at): name for at, name in enumerate(said, 1)}) if len(said) > 1 else said[0]


def test_documents_that_reach_the_same_label_share_requests(tmp_path: Path) -> None:
    leaves = ["cat", "stone", "wild", "dog"]
    texts = [f"{leaves[n % 4]} {n}" for n in range(300)]
    model, journal = ScriptedLLM(by_path), tmp_path / "journal.sqlite"
    made = list(Labeler(SPACE, model=model, descend=True, batch_documents=4, journal=journal).predict(texts))
    assert [one.label for one in made] == [leaves[n % 4] for n in range(300)]
    # 256 and 44 go down together: 300, of these 225 below animal, and 150 below pet.
    assert len(model.requests) == (64 + 11) + (48 + 9) + (32 + 6)
    assert descend([], texts, journal=journal, batch_documents=4, closed="the server is away") == made


def test_what_a_party_lacks_in_the_journal_is_not_made_up(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    first = descend(by_path, ["cat 1", "stone 2"], batch_documents=2, journal=journal)
    later = ["cat 1", "stone 2", "cat 3", "stone 4"]
    made = descend([], later, batch_documents=2, journal=journal, closed="the server is away")
    assert made[:2] == first
    assert [one.status for one in made[2:]] == ["failed", "failed"]


def test_each_level_has_its_candidates() -> None:
    labels = [Label(name=name, parent="animal" if name in ("cat", "dog", "fox") else None) for name in
              ("animal", "stone", "cat", "dog", "fox")]  # fmt: skip
    space = LabelSpace(labels=tuple(labels))
    model = ScriptedLLM(script(animal="animal", cat="cat", dog="dog"))
    labeler = Labeler(space, model=model, descend=True, candidates=2)
    [made] = labeler.predict([Record("1", "a cat and a dog", ("cat",))])
    assert made.labels == ("cat",)
    assert [request.choices for request in model.requests] == [("animal", "stone"), ("cat", "dog", "none of these")]
    assert labeler.account["candidates"] == {"texts": 1, "held": 1, "labels": 1, "labels_held": 1}
    missed = Labeler(space, model=ScriptedLLM(script(animal="animal", cat="cat")), descend=True, candidates=2)
    list(missed.predict([Record("1", "a cat and a dog", ("fox",))]))
    assert missed.account["candidates"]["labels_held"] == 0


def test_a_run_that_stops_on_the_way_down_sets_the_rest_aside(tmp_path: Path) -> None:
    leaves = ["cat", "stone", "wild", "dog"]
    texts = [f"{leaves[n % 4]} {n}" for n in range(300)]
    journal, calls = tmp_path / "journal.sqlite", {"requests": 0}

    def away(request: Request) -> str:
        calls["requests"] += 1
        if calls["requests"] > 90:
            raise Stopped("the server is away")
        return by_path(request)

    how: dict[str, Any] = {"batch_documents": 4, "journal": journal, "set_aside": True, "concurrency": 1}
    made = descend(away, texts, **how)
    assert len(made) == 300
    assert {one.status for one in made} == {"ok", "failed"}
    assert all(one.status == "failed" or one.label == leaves[n % 4] for n, one in enumerate(made))
    assert [one.label for one in descend(by_path, texts, **how)] == [leaves[n % 4] for n in range(300)]
