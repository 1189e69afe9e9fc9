"""One-token labels: codes, and confidence from log-probabilities, from the model's own words, or from a vote."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.labeler import FITS_NOWHERE, Labeler
from labelspace.agents.labeling.short_codes import choose_codes
from labelspace.errors import ConfigError
from labelspace.llm import Reply, Request, ScriptedLLM, TokenLogprob, run
from labelspace.llm.dialect import Dialect
from labelspace.llm.request import CallFailed
from labelspace.prompts import load_prompt
from labelspace.records import Prediction
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="Refund", description="Wants money back.", examples=("Pay me back",)),
        Label(name="Late parcel", description="It has not come."),
    ),
    other="Other",
)
LOGGED = (("A", math.log(0.6)), (" B", math.log(0.2)), ("B", math.log(0.1)), ("The", math.log(0.1)))


def label(replies: Any, *texts: str, space: LabelSpace = SPACE, **how: Any) -> list[Prediction]:
    model = replies if isinstance(replies, ScriptedLLM) else ScriptedLLM(replies)
    return list(Labeler(space, model=model, concurrency=1, one_token=True, **how).predict(texts or ("text",)))


def test_what_is_asked() -> None:
    model = ScriptedLLM(["A"])
    label(model, "My money!", use_case="Triage.", confidence="logprobs")
    [request] = model.requests
    row = {"group": "", "instructions": ""}
    expected = load_prompt("label_code").render(
        use_case="Triage.",
        labels=[
            {**row, "code": "A", "name": "Refund", "description": "Wants money back.", "examples": ["Pay me back"]},
            {**row, "code": "B", "name": "Late parcel", "description": "It has not come.", "examples": []},
        ],
        other={"code": "C", "name": "Other"},
        confidence=False,
        document="My money!",
    )
    assert request == Request(expected, choices=("A", "B", "C"), logprobs=20)
    system = expected[0]["content"]
    assert "\nA = Refund: Wants money back.\n" in system
    assert "\nC = Other: None of the labels above fits.\n" in system


def test_the_probabilities_of_all_codes_are_the_distribution() -> None:
    scored = {"A": math.log(0.3), "B": math.log(0.1), "C": math.log(0.1)}
    [made] = label([Reply("A", choice_logprobs=scored)] * 2)
    assert made.labels == ("Refund",)
    assert dict(made.scores) == {"Refund": pytest.approx(0.6), "Late parcel": pytest.approx(0.2)}
    assert made.confidence == pytest.approx(0.6)
    assert made.source["confidence"] == "logprobs"
    assert (made.source["prompt"], made.source["prompt_hash"]) == ("label_code", load_prompt("label_code").hash)


def test_reported_tokens_are_the_distribution_as_far_as_they_go() -> None:
    [made] = label([Reply("A", logprobs=(TokenLogprob("A", math.log(0.6), LOGGED),))])
    assert dict(made.scores) == {"Refund": pytest.approx(2 / 3), "Late parcel": pytest.approx(1 / 3)}
    assert made.confidence == pytest.approx(2 / 3)
    assert made.source["confidence"] == "logprobs, truncated to the likeliest 20 tokens"
    whole = (*LOGGED, ("C", math.log(0.05)))
    [made] = label([Reply("A", logprobs=(TokenLogprob("A", math.log(0.6), whole),))])
    assert made.source["confidence"] == "logprobs"


def test_a_text_that_fits_nowhere_keeps_its_scores() -> None:
    scored = {"A": math.log(0.25), "B": math.log(0.25), "C": math.log(0.5)}
    [made] = label([Reply("C", choice_logprobs=scored)])
    assert (made.status, made.labels, made.reason, made.confidence) == ("abstained", (), FITS_NOWHERE, None)
    assert dict(made.scores) == {"Refund": pytest.approx(0.25), "Late parcel": pytest.approx(0.25)}


READ = [
    ("B", "Late parcel"),
    ("**B**", "Late parcel"),
    ("B.", "Late parcel"),
    ("B = Late parcel", "Late parcel"),
    ("<think>A? No.</think>\nB", "Late parcel"),
    ("late parcel", "Late parcel"),
    ("b", None),
    ("A refund", None),
    ("D", None),
]


@pytest.mark.parametrize(("reply", "name"), READ)
def test_replies_are_read_strictly(reply: str, name: str | None) -> None:
    [made] = label(lambda _: reply, confidence="logprobs")
    assert made.label == name
    if name is None:
        assert (made.status, made.raw) == ("failed", reply)
        assert str(made.reason).endswith("is not a code. Answer with exactly one of: A; B; C")
    else:
        assert made.confidence is None
        assert made.source["confidence"] == "none: the server gave no log-probabilities"


def test_without_log_probabilities_the_model_says_how_sure_it_is() -> None:
    def answer(request: Request) -> str:
        if request.schema is None:
            return "A"
        document = request.messages[1]["content"]
        return '{"code": "C", "confidence": 50}' if "weather" in document else '{"code": "B", "confidence": 85}'

    model = ScriptedLLM(answer)
    labeler = Labeler(SPACE, model=model, concurrency=1, one_token=True)
    made = list(labeler.predict(["where is it?", "", "the weather"]))
    assert [(one.label, one.confidence, one.status) for one in made] == [
        ("Late parcel", 0.85, "ok"),
        (None, None, "abstained"),
        (None, None, "abstained"),
    ]
    assert made[0].source["confidence"] == "verbalised"
    assert [request.schema is None for request in model.requests] == [True, False, False]
    assert (labeler.stats["rows"], labeler.stats["ok"]) == (2, 2)
    assert "how many times in a hundred" in model.requests[1].messages[0]["content"]
    assert "how many times in a hundred" not in model.requests[0].messages[0]["content"]


@pytest.mark.parametrize("given", ['"sure"', "101", "-1", "true", "null", "[]"])
def test_a_confidence_that_is_no_percentage_is_refused(given: str) -> None:
    [made] = label(lambda _: f'{{"code": "A", "confidence": {given}}}', confidence="verbal")
    assert made.status == "failed"
    assert "a whole number from 0 to 100" in str(made.reason)


def test_a_vote() -> None:
    space = LabelSpace.of(["cat", "dog", "cow"])

    def answer(request: Request) -> str:
        name = ["cat", "cat", "cow", "cat"][request.seed or 0]
        found = re.search(rf"^(\w) = {name}$", request.messages[0]["content"], re.MULTILINE)
        assert found is not None
        return found[1]

    model = ScriptedLLM(answer)
    made = label(model, "one", "two", space=space, confidence="sampled", samples=4)
    assert [one.label for one in made] == ["cat", "cat"]
    assert made[0].confidence == 0.75
    assert dict(made[0].scores) == {"cat": 0.75, "cow": 0.25}
    assert made[0].source["confidence"] == "sampled: 3 of 4 replies"
    assert len(model.requests) == 8
    assert {request.temperature for request in model.requests} == {1.0}
    orders = {tuple(re.findall(r"^\w = (\w+)", one.messages[0]["content"], re.MULTILINE)) for one in model.requests}
    assert len(orders) > 1
    assert len({str(request.messages) for request in model.requests}) == 8


def test_more_votes_than_orders_and_codes_repeat_some() -> None:
    model = ScriptedLLM(lambda _: "A")
    label(model, space=LabelSpace.of(["cat", "cow"]), confidence="sampled", samples=7)
    assert len(model.requests) == 7
    assert len({str(request.messages) for request in model.requests}) == 4, "two orders, two codes"


def test_voters_that_cannot_be_read_are_left_out() -> None:
    made = label(lambda request: "A" if request.seed else "?", confidence="sampled", samples=3)
    assert (made[0].status, made[0].confidence, made[0].source["confidence"]) == ("ok", 1.0, "sampled: 2 of 2 replies")
    [made_none] = label(lambda request: "?", confidence="sampled", samples=3)
    assert (made_none.status, made_none.raw) == ("failed", "?")


def test_a_rerun_asks_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    for how in ({"confidence": "sampled", "samples": 3}, {"confidence": "verbal"}, {"confidence": "auto"}):
        model = ScriptedLLM(lambda request: "A" if request.schema is None else '{"code": "A", "confidence": 9}')
        first = label(model, "a", "b", journal=journal, **how)
        assert label(ScriptedLLM([]), "a", "b", journal=journal, **how) == first


def test_a_stopped_vote_counts_only_whole_votes(tmp_path: Path) -> None:
    how: dict[str, Any] = {"journal": tmp_path / "j.sqlite", "confidence": "sampled", "samples": 3, "set_aside": True}
    labeler = Labeler(
        SPACE, model=ScriptedLLM(lambda _: "A"), one_token=True, concurrency=1, engine={"budget": "4 calls"}, **how
    )
    made = list(labeler.predict(["one", "", "two", "three"]))
    assert [one.status for one in made] == ["ok", "abstained", "failed", "failed"]
    assert made[2].reason == "not asked: the budget of 4 calls is spent: 4 calls"
    assert labeler.stats["calls"] == 4


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"rationale": True}, "one token about one text: leave it out, or rationale"),
        ({"batch_documents": 2}, "or batch_documents"),
        ({"samples": 1}, "at least 2 samples"),
        ({"space": LabelSpace.of(["a", "b"], multi_label=True)}, "one token can name only one"),
        ({"space": LabelSpace.of([f"label {n}" for n in range(901)])}, "901 labels are too many for one token"),
    ],
)
def test_what_does_not_go_together(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        label(["A"], **how)


class Tokenizer(ScriptedLLM):
    """A model for which some texts are one token."""

    def __init__(self, single: Callable[[str], bool]) -> None:
        super().__init__([])
        self.single, self.asked = single, 0

    async def tokenize(self, text: str) -> list[int] | None:
        self.asked += 1
        line, code = text[:1], text[1:]
        ids = [sum(ord(sign) << (8 * place) for place, sign in enumerate(code))] if self.single(code) else [7, 8]
        return [10, *(ids if code else [])] if line == "\n" else ids


@pytest.mark.parametrize(
    ("count", "single", "first", "last"),
    [
        (3, lambda code: True, "A", "C"),
        (27, lambda code: True, "AA", "BA"),
        (27, lambda code: len(code) != 2, "100", "126"),
        (40, lambda code: len(code) == 1, "A", "n"),
        (25, lambda code: code != "B", "A", "Z"),
    ],
)
def test_codes_are_single_tokens_where_the_model_can_tell(
    count: int, single: Callable[[str], bool], first: str, last: str
) -> None:
    model, memory = Tokenizer(single), dict[str, str]()
    codes, ids = run(choose_codes(model, memory, count))
    assert (len(codes), codes[0], codes[-1]) == (count, first, last)
    assert all(single(code) for code in codes)
    assert ids is not None
    assert len(set(ids)) == count
    asked = model.asked
    assert run(choose_codes(model, memory, count)) == (codes, ids)
    assert model.asked == asked, "what was chosen once is remembered"


def test_there_may_be_too_few_single_tokens() -> None:
    with pytest.raises(ConfigError, match="63 labels are too many for one token: only 62 codes are one token"):
        run(choose_codes(Tokenizer(lambda code: len(code) == 1), {}, 63))


@pytest.mark.parametrize(("count", "last"), [(26, "Z"), (27, "a"), (62, "9"), (63, "162"), (900, "999")])
def test_codes_where_nothing_is_known_of_the_tokenizer(count: int, last: str) -> None:
    codes, ids = run(choose_codes(ScriptedLLM([]), {}, count))
    assert (len(set(codes)), codes[-1], ids) == (count, last, None)


def test_vllm_is_asked_for_the_tokens_by_id_and_its_answer_is_read() -> None:
    request = Request(
        [{"role": "user", "content": "x"}], choices=("A", "B"), logprobs=20, max_tokens=1, token_ids={"A": 33, "B": 34}
    )
    body = Dialect("structured_outputs").body("m", request)
    assert body["structured_outputs"] == {"choice": ("A", "B")}
    assert (body["logprobs"], body["logprob_token_ids"], body["return_tokens_as_token_ids"]) == (True, [33, 34], True)
    assert "logprob_token_ids" not in Dialect("json_schema").body("m", request)

    def answer(*top: tuple[str, float]) -> Reply:
        entries = [{"token": token, "logprob": value} for token, value in top]
        content = [{"token": top[0][0], "logprob": top[0][1], "top_logprobs": entries}]
        choice = {"message": {"content": "B"}, "finish_reason": "length", "logprobs": {"content": content}}
        return Dialect("structured_outputs").read(request, json.dumps({"choices": [choice]}).encode(), "")

    whole = answer(("token_id:34", -0.1), ("token_id:33", -2.0))
    assert (whole.choice_logprobs, whole.logprobs) == ({"A": -2.0, "B": -0.1}, None)
    part = answer(("token_id:34", -0.1), ("token_id:99", -3.0))
    assert part.choice_logprobs is None
    assert part.logprobs == (TokenLogprob("B", -0.1, (("B", -0.1), ("token_id:99", -3.0))),)


class Scorer(Tokenizer):
    """A model that gives exact log-probabilities, of 128 tokens at a time."""

    def __init__(self, *, without: int | None = None) -> None:
        super().__init__(lambda code: True)
        self.without = without

    async def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        assert request.choices is not None
        assert request.token_ids is not None
        assert len(request.token_ids) <= 128
        part = list(request.token_ids)
        if self.without is not None and request.choices.index(part[0]) // 128 == self.without:
            raise CallFailed("content_filter", "refused")
        # The label with the number n has a probability proportional to n + 1; the constant is that of the vocabulary.
        scored = {code: math.log(request.choices.index(code) + 1) - 30 for code in part}
        return Reply(request.choices[-1], choice_logprobs=scored)


def test_more_codes_than_one_request_scores_are_scored_in_several(tmp_path: Path) -> None:
    space = LabelSpace.of([f"label {n}" for n in range(300)])
    model = Scorer()
    how: dict[str, Any] = {"space": space, "journal": tmp_path / "journal"}
    made = label(model, "one", "two", **how)
    assert [len(request.token_ids or ()) for request in model.requests] == [128, 128, 44] * 2
    total = 300 * 301 / 2
    for one in made:
        assert one.label == "label 299"
        assert one.confidence == pytest.approx(300 / total)
        assert dict(one.scores) == {f"label {n}": pytest.approx((n + 1) / total) for n in range(290, 300)}
        assert one.source["confidence"] == "logprobs"
    assert label(Scorer(), "one", "two", **how) == made, "from the journal"


def test_half_a_distribution_is_none() -> None:
    space = LabelSpace.of([f"label {n}" for n in range(300)])
    [made] = label(Scorer(without=1), "one", space=space)
    assert (made.status, made.reason, dict(made.scores)) == ("failed", "refused", {})
