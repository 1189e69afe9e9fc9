"""Replies and failures that other tests do not bring about: requests refused or too long, names still there twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.agents.labeling.instructions import Instructions
from labelspace.agents.labeling.labeler import NOT_ASKED, Labeler
from labelspace.agents.taxonomy.judge import Item, judge_items
from labelspace.agents.taxonomy.judge_report import report
from labelspace.agents.taxonomy.loop import TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy.naming import ModelNamer
from labelspace.errors import BudgetExceeded, ConfigError
from labelspace.llm import Request, ScriptedLLM
from labelspace.llm.request import CallFailed
from labelspace.records import Record
from labelspace.space import LabelSpace

LONG = "word " * 400
SPACE = LabelSpace.of(["cats", "dogs"])
LABELS = [{"name": name, "description": f"All on {name}."} for name in ("Cats", "Dogs")]


def too_long_until(limit: int, reply: Callable[[Request], str]) -> Callable[[Request], Any]:
    """A model whose context holds so many characters of a user's message."""

    def answer(request: Request) -> Any:
        if len(request.messages[-1]["content"]) > limit:
            return CallFailed("context_length", "too long")
        return reply(request)

    return answer


def taxonomy(request: Request) -> str:
    if request.messages[0]["content"].startswith("You prepare documents"):
        count = request.messages[-1]["content"].count("</document ")
        return json.dumps({"summaries": [{"document": at + 1, "summary": "On pets."} for at in range(count)]})
    return json.dumps({"score": 90, "labels": LABELS})


def test_documents_too_long_to_summarize_are_shortened_until_they_fit() -> None:
    model = ScriptedLLM(too_long_until(1000, taxonomy))
    make_taxonomy([LONG, "a", "b"], model=model)
    sizes = [len(request.messages[-1]["content"]) for request in model.requests]
    assert sizes[0] > sizes[1] > 1000 >= sizes[2]
    assert [request.messages[0]["content"][:10] for request in model.requests[2:4]] == ["You prepar", "You design"]


def test_documents_too_long_to_judge_are_shortened() -> None:
    model = ScriptedLLM(too_long_until(900, lambda _: '{"1": "A"}'))
    item = Item(Record("0", LONG), "cats", "dogs", assigned_first=True)
    [verdict] = judge_items([item], SPACE, model=model, questions=("accuracy",))
    assert verdict.choice == "assigned"
    assert len(model.requests) == 3


def test_a_step_that_a_server_refuses_is_skipped_and_not_asked_again_warmer(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: Request) -> Any:
        if request.messages[0]["content"].startswith("You are the last"):
            return CallFailed("rejected", "this content is filtered")
        return taxonomy(request)

    model = ScriptedLLM(answer)
    made = make_taxonomy(["a", "b", "c"], model=model)
    assert made.space.names == ("Cats", "Dogs")
    assert "filtered" in made.steps[-1].failed
    assert {request.temperature for request in model.requests[1:]} == {0.0}
    assert "the review was skipped" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_held_out_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ConfigError, match="held_out is a share"):
        TaxonomySettings(held_out=share)


def test_a_cluster_that_falls_back_on_a_name_that_is_taken_is_numbered() -> None:
    texts = [f"the card was declined {at}" for at in range(4)] + [f"the parcel came late {at}" for at in range(4)]
    vectors, labels = np.eye(2, dtype=np.float32)[[0] * 4 + [1] * 4], np.array([0] * 4 + [1] * 4)
    fallback = ModelNamer(ScriptedLLM(lambda _: "no"))(texts, vectors, labels)[1].name

    def answer(request: Request) -> str:
        about_cards = "declined" in request.messages[1]["content"].partition("<neighbours")[0]
        return json.dumps({"name": fallback, "description": "What it is."}) if about_cards else "no"

    named = ModelNamer(ScriptedLLM(answer))(texts, vectors, labels)
    assert [one.name for one in named] == [fallback, f"{fallback} 2"]


def test_agreement_of_runs_is_in_the_report() -> None:
    item = Item(Record("0", "text"), "cats", "dogs", assigned_first=True)
    assert "runs agree: NMI 0.500" in report([item], covered=[True], runs={"NMI": 0.5}).text()


def test_one_token_documents_too_long_are_shortened() -> None:
    model = ScriptedLLM(too_long_until(1000, lambda _: "A"))
    [made] = Labeler(SPACE, model=model, one_token=True, confidence="logprobs").predict([LONG])
    assert (made.label, made.status) == ("cats", "ok")
    assert len(model.requests) == 3
    assert made.reason is not None


def test_batches_that_a_budget_stops_are_set_aside_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        count = len(re.findall(r"^</document ", request.messages[-1]["content"], re.MULTILINE))
        return json.dumps({str(at + 1): "cats" for at in range(count)})

    how: dict[str, Any] = {"batch_documents": 2, "set_aside": True, "concurrency": 1, "journal": tmp_path / "j.sqlite"}
    texts = [f"text {at}" for at in range(6)]
    labeler = Labeler(SPACE, model=ScriptedLLM(answer), engine={"budget": "1 calls"}, **how)
    first = list(labeler.predict(texts))
    assert [one.status for one in first] == ["ok"] * 2 + ["failed"] * 4
    assert all(str(one.reason).startswith(NOT_ASKED) for one in first[2:])
    # Closed: nothing is asked, and what the journal has is given.
    again = list(Labeler(SPACE, model=ScriptedLLM([]), closed="no server", **how).predict(texts))
    assert [one.status for one in again] == ["ok"] * 2 + ["failed"] * 4


def test_what_was_asked_again_singly_is_replayed_where_nothing_may_be_asked(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return "dogs" if request.choices is not None else '{"1": "cats", "2": "mice"}'

    how: dict[str, Any] = {"batch_documents": 2, "journal": tmp_path / "j.sqlite"}
    first = list(Labeler(SPACE, model=ScriptedLLM(answer), **how).predict(["a", "b"]))
    again = list(Labeler(SPACE, model=ScriptedLLM([]), closed="no server", **how).predict(["a", "b"]))
    assert [one.label for one in first] == [one.label for one in again] == ["cats", "dogs"]


def test_instructions_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written"):
        Instructions(space="s", used=True, labels={}).save(tmp_path / "missing" / "file.yaml")


def test_a_vote_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 samples"):
        Labeler(SPACE, model=ScriptedLLM([]), one_token=True, confidence="sampled", samples=1)


def test_one_token_labels_are_estimated_without_a_call() -> None:
    model = ScriptedLLM([])
    found = Labeler(SPACE, model=model, one_token=True, confidence="sampled", samples=3).estimate(["a", "b"])
    assert (found.calls, model.requests) == (6, [])


def test_a_budget_that_stops_a_vote_is_an_error_where_nothing_is_set_aside() -> None:
    model = ScriptedLLM(lambda _: "cats")
    with pytest.raises(BudgetExceeded, match="1 calls"):
        list(Labeler(SPACE, model=model, permutations=2, concurrency=1, engine={"budget": "1 calls"}).predict(["a"]))
