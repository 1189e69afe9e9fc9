"""LLM judges on a scripted model: what they see, how their answers are read, averaged and binned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from labelspace.agents.audit.disagreement import by_confidence
from labelspace.agents.audit.judges import judge_records
from labelspace.errors import ConfigError
from labelspace.llm import Reply, Request, ScriptedLLM, TokenLogprob
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="refund", description="The customer wants money back."),
        Label(name="delivery", description="Where a parcel is."),
    )
)
RECORDS = [
    Record(id="a", text="give me my money", labels=("refund",)),
    Record(id="b", text="where is it", labels=("refund",)),
    Record(id="c", text=" ", labels=("refund",)),
    Record(id="d", text="unlabelled", labels=None),
]


def said(yes: float) -> Reply:
    top = (("yes", math.log(yes)), ("no", math.log(1 - yes)))
    word = "yes" if yes > 0.5 else "no"
    return Reply(word, logprobs=(TokenLogprob(word, math.log(max(yes, 1 - yes)), top),))


def honest(request: Request) -> Reply:
    """Knows that money is a refund; its yes to any question leans to yes by 0.1."""
    question = request.messages[-1]["content"]
    right = 0.8 if "money" in question else 0.2
    speaks_for = "right?" in question or "Would most" in question
    return said((right if speaks_for else 1 - right) + 0.1)


def test_wordings_for_and_against_cancel_a_leaning_to_yes() -> None:
    model = ScriptedLLM(honest)
    found = judge_records(RECORDS, SPACE, [model])
    assert found.judges == tuple(f"scripted ({wording})" for wording in ("right", "wrong", "agree", "change"))
    assert found.right[:2].tolist() == [pytest.approx([0.9, 0.7, 0.9, 0.7]), pytest.approx([0.3, 0.1, 0.3, 0.1])]
    assert found.mean[:2].tolist() == pytest.approx([0.8, 0.2])
    assert np.isnan(found.mean[2:]).all()
    assert found.by_id() == {"a": pytest.approx(0.8), "b": pytest.approx(0.2)}


def test_a_judge_sees_definitions_and_no_hint() -> None:
    model = ScriptedLLM(honest)
    judge_records(RECORDS[:1], SPACE, [model], use_case="send it to a team")
    system = model.requests[0].messages[0]["content"]
    for shown in ("The customer wants money back.", "- delivery: Where a parcel is.", "send it to a team"):
        assert shown in system
    asked = " ".join(message["content"] for request in model.requests for message in request.messages)
    for hint in ("suspicion", "flagged", "expected", "predicted", "scale"):
        assert hint not in asked
    assert model.requests[0].choices == ("yes", "no")


def in_percent(request: Request) -> str:
    """Reports no log-probabilities: a bare yes, or percent where it is asked for them."""
    if request.choices:
        return "yes"
    return " 90 %" if "right?" in request.messages[-1]["content"] else "30"


def test_a_model_without_log_probabilities_is_asked_for_percent(tmp_path: Path) -> None:
    model = ScriptedLLM(in_percent)
    settings = {"wordings": ("right", "wrong"), "journal": tmp_path / "journal.sqlite"}
    found = judge_records(RECORDS[:2], SPACE, [model], **settings)
    assert found.right.tolist() == [pytest.approx([0.9, 0.7])] * 2
    assert [request.choices is None for request in model.requests] == [False, True, True, True, True]
    judge_records(RECORDS[:2], SPACE, [model], **settings)
    assert len(model.requests) == 5  # the journal answers
    words = judge_records(RECORDS[:2], SPACE, [ScriptedLLM(in_percent)], wordings=("right",), answers="word")
    assert words.mean.tolist() == [1.0, 1.0]


def test_unreadable_replies_are_no_opinion() -> None:
    sure = ScriptedLLM(honest, name="sure")
    mute = ScriptedLLM(lambda _request: "perhaps 120", name="mute")
    found = judge_records(RECORDS[:2], SPACE, [sure, mute])
    assert np.isnan(found.right[:, 4:]).all()
    assert found.mean.tolist() == pytest.approx([0.8, 0.2])


def test_long_texts_are_cut_in_the_middle() -> None:
    model = ScriptedLLM(honest)
    judge_records([Record(id="x", text="money " * 500, labels=("refund",))], SPACE, [model], max_chars=300)
    assert len(model.requests[0].messages[-1]["content"]) < 500
    assert "[...]" in model.requests[0].messages[-1]["content"]


@pytest.mark.parametrize(("tolerance", "told"), [(0, False), (1, True)])
def test_judges_know_of_a_scale_and_its_tolerance(tolerance: int, told: bool) -> None:
    model = ScriptedLLM(honest)
    judge_records(RECORDS[:1], LabelSpace.of(["bad", "refund", "good"]), [model], tolerance=tolerance)
    system = model.requests[0].messages[0]["content"]
    assert "bad < refund < good" in system
    assert ("at most 1 step on the scale away" in system) == told


def test_several_labels_are_as_right_as_the_worst() -> None:
    space = SPACE.model_copy(update={"multi_label": True})
    both = Record(id="x", text="money", labels=("refund", "delivery"))
    model = ScriptedLLM(lambda r: said(0.9 if '"refund"' in r.messages[-1]["content"] else 0.2))
    assert judge_records([both], space, [model], wordings=("right",)).mean[0] == pytest.approx(0.2)


def test_disagreement_by_confidence() -> None:
    right = np.array([0.99, 0.02, 0.04, 0.45, 0.3, np.nan])
    bins = by_confidence(right, wrong=np.array([False, True, False, True, True, True]))
    assert sum(part.records for part in bins) == 5
    assert (bins[-1].records, bins[-1].disagree, bins[-1].wrong) == (3, 2, 1)
    assert (bins[0].disagree, bins[0].wrong) == (1, 1)
    assert by_confidence(right)[0].wrong is None


def test_no_judge_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there is no judge"):
        judge_records(RECORDS, SPACE, [])
    with pytest.raises(ConfigError, match="no wording named 'is it'; there are: right"):
        judge_records(RECORDS, SPACE, [ScriptedLLM(honest)], wordings=("is it",))
