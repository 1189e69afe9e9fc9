"""Candidate labels: which are found, what is asked about them, and how their recall is counted."""

from __future__ import annotations

from typing import Any

import pytest

from labelspace.agents.labeling.candidates import Candidates, label_text
from labelspace.agents.labeling.labeler import FITS_NOWHERE, Labeler
from labelspace.agents.labeling.lookup import Lookup
from labelspace.agents.labeling.views import NONE_OF_THESE
from labelspace.embed import load_embedder
from labelspace.errors import ConfigError
from labelspace.llm import Request, ScriptedLLM
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="refund", description="money back for an order"),
        Label(name="parcel_lost", description="a parcel that never came"),
        Label(name="password", description="can not log in to the account"),
        Label(name="opening_hours", description="when the shop is open"),
        Label(name="gift_card", description="buying or using a voucher"),
    )
)


def names(size: int, text: str, **how: Any) -> tuple[str, ...]:
    return Candidates(SPACE, size, embedder=load_embedder("tfidf"), **how).find([text])[0]


def test_the_likeliest_labels_come_first() -> None:
    assert names(2, "I want my money back for this order")[0] == "refund"
    assert names(2, "the parcel never came")[0] == "parcel_lost"
    assert len(names(2, "the shop")) == 2


def test_as_many_as_there_are_labels_is_all_of_them() -> None:
    assert names(9, "whatever") == SPACE.leaves


def test_labelled_examples_find_what_names_do_not() -> None:
    text = "zurück geben bitte"
    assert "gift_card" not in names(1, text)
    labelled = [Record("a", "bitte zurück", ("gift_card",)), Record("b", "bitte öffnen", ("opening_hours",))]
    assert names(1, text, labelled=labelled) == ("gift_card",)


def test_examples_of_other_labels_are_passed_over() -> None:
    assert names(2, "money back", labelled=[Record("a", "money back", ("no such label",))])[0] == "refund"


def test_what_a_label_says_of_itself() -> None:
    assert label_text(Label(name="cardLost", parent="cards")) == "cards: card lost"
    assert label_text(Label(name="a_b", description="C.", examples=("d", "e", "f", "g"))) == "a b: C.. d. e. f"


def test_no_candidates_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 candidate label or more, not 0"):
        names(0, "x")


TEXTS = ["money back for the order", "my parcel never came", "log in to the account"]


def test_each_text_is_asked_about_its_own_candidates() -> None:
    model = ScriptedLLM(lambda request: (request.choices or ("",))[0])
    made = list(Labeler(SPACE, model=model, candidates=2).predict(TEXTS))
    assert {one.status for one in made} == {"ok"}
    for request, wanted in zip(model.requests, ("refund", "parcel_lost", "password"), strict=True):
        assert request.choices is not None
        assert len(request.choices) == 3
        assert wanted in request.choices
        assert request.choices[-1] == NONE_OF_THESE
        shown = [line for line in request.messages[0]["content"].splitlines() if line.startswith("- ")]
        assert shown[2] == "- none of these: None of the labels above fits."


@pytest.mark.parametrize(
    ("reply", "labels", "status"),
    [
        ("None of these", (), "abstained"),
        ("gift_card", ("gift_card",), "ok"),  # not shown, but a label as it is written
        ("Gift card!", (), "failed"),
    ],
)
def test_answers_outside_the_candidates(reply: str, labels: tuple[str, ...], status: str) -> None:
    [made] = Labeler(SPACE, model=ScriptedLLM(lambda _: reply), candidates=1).predict(["money back for an order"])
    assert (made.labels, made.status) == (labels, status)
    if status == "abstained":
        assert made.reason == FITS_NOWHERE


def test_a_bucket_of_the_space_takes_what_fits_no_candidate() -> None:
    model = ScriptedLLM(lambda _: "Other")
    [made] = Labeler(SPACE.model_copy(update={"other": "Other"}), model=model, candidates=1).predict(["money back"])
    assert model.requests[0].choices == ("refund", "Other")
    assert made.status == "abstained"


def test_a_label_can_not_be_named_as_the_answer_for_none() -> None:
    space = LabelSpace.of(["a", NONE_OF_THESE])
    with pytest.raises(ConfigError, match="rename it"):
        Labeler(space, model=ScriptedLLM([]), candidates=1)


def test_the_recall_is_counted_where_gold_labels_are_known() -> None:
    records = [
        Record("1", TEXTS[0], ("refund",)),
        Record("2", TEXTS[1], ("opening_hours",)),
        Record("3", TEXTS[2]),
        Record("4", "", ("refund",)),
        Record("5", TEXTS[0], ("no label of the space",)),
    ]
    labeler = Labeler(SPACE, model=ScriptedLLM(lambda request: (request.choices or ("",))[0]), candidates=1)
    list(labeler.predict(records))
    assert labeler.account["candidates"] == {"texts": 2, "held": 1, "labels": 2, "labels_held": 1}


def test_a_batch_sees_the_candidates_of_all_its_documents() -> None:
    model = ScriptedLLM(lambda _: '{"1": "refund", "2": "parcel_lost"}')
    made = list(Labeler(SPACE, model=model, candidates=1, batch_documents=2).predict(TEXTS[:2]))
    [request] = model.requests
    assert request.schema is not None
    assert request.schema["$defs"]["answer"]["enum"] == ["refund", "parcel_lost", NONE_OF_THESE]
    assert [one.label for one in made] == ["refund", "parcel_lost"]


def test_several_labels_among_candidates() -> None:
    space = SPACE.model_copy(update={"multi_label": True})
    model = ScriptedLLM(lambda _: '{"labels": ["refund"]}')
    [made] = Labeler(space, model=model, candidates=2).predict([TEXTS[0]])
    assert made.labels == ("refund",)
    assert model.requests[0].schema is not None
    assert len(model.requests[0].schema["properties"]["labels"]["items"]["enum"]) == 2


def test_fifty_thousand_labels() -> None:
    """Built, looked up and asked about in seconds; the prompt stays short."""
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    space = LabelSpace.of(f"{words[n % 720]} {words[n // 720 * 7 % 720]} {n}" for n in range(50_000))
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return (request.choices or ("",))[0]

    records = [Record(str(n), f"all about {name}", (name,)) for n, name in enumerate(space.leaves[::2500])]
    labeler = Labeler(space, model=ScriptedLLM(answer), candidates=20)
    made = list(labeler.predict(records))
    assert {len(request.choices or ()) for request in asked} == {21}
    assert max(len(str(request.messages)) for request in asked) < 5000
    assert len(made) == 20
    assert labeler.account["candidates"]["labels"] == 20


def test_what_was_found_is_forgotten_in_time_and_found_again() -> None:
    lookup = Lookup(Candidates(SPACE, 1, embedder=load_embedder("tfidf")))
    first = lookup.find([TEXTS[0]])
    for start in range(0, 4500, 500):
        lookup.find([f"text {n}" for n in range(start, start + 500)])
    assert lookup.find([TEXTS[0], "text 4499", TEXTS[0]]) == [*first, *lookup.find(["text 4499"]), *first]
