"""LLM judges on a scripted model: what they see, how their answers are read, averaged and binned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from labelspace.agents.audit.judges import agreement_within, by_confidence, judge_records
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
    """Knows that money is a refund; its yes to the two questions leans to yes by 0.1."""
    question = request.messages[-1]["content"]
    right = 0.8 if "money" in question else 0.2
    return said(right + 0.1 if "right?" in question else 1 - right + 0.1)


def test_two_wordings_cancel_a_leaning_to_yes() -> None:
    model = ScriptedLLM(honest)
    found = judge_records(RECORDS, SPACE, [model])
    assert found.judges == ("scripted (right)", "scripted (wrong)")
    assert found.right[:2].tolist() == [pytest.approx([0.9, 0.7]), pytest.approx([0.3, 0.1])]
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
    for hint in ("suspicion", "flagged", "expected", "predicted"):
        assert hint not in asked
    assert model.requests[0].choices == ("yes", "no")


def test_several_models_words_alone_and_unreadable_replies(tmp_path: Path) -> None:
    plain = ScriptedLLM(lambda request: "Yes." if "right?" in request.messages[-1]["content"] else "no", name="plain")
    mute = ScriptedLLM(lambda _request: "perhaps", name="mute")
    found = judge_records(RECORDS[:2], SPACE, [plain, mute], journal=tmp_path / "journal.sqlite")
    assert found.right[:, :2].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert np.isnan(found.right[:, 2:]).all()
    assert found.mean.tolist() == [1.0, 1.0]
    calls = len(plain.requests)
    judge_records(RECORDS[:2], SPACE, [plain], journal=tmp_path / "journal.sqlite")
    assert len(plain.requests) == calls  # the journal answers


def test_several_labels_are_as_right_as_the_worst() -> None:
    space = SPACE.model_copy(update={"multi_label": True})
    both = Record(id="x", text="money", labels=("refund", "delivery"))
    model = ScriptedLLM(lambda r: said(0.9 if '"refund"' in r.messages[-1]["content"] else 0.2))
    assert judge_records([both], space, [model], wordings=("right",)).mean[0] == pytest.approx(0.2)


def test_ordinal_labels_have_a_tolerance() -> None:
    chances = np.array([[0.1, 0.2, 0.6, 0.1]] * 2)
    assert agreement_within(chances, np.array([2, 0])).tolist() == pytest.approx([0.6, 0.1])
    assert agreement_within(chances, np.array([2, 0]), tolerance=1).tolist() == pytest.approx([0.9, 0.3])


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
