"""Guardrails: what a taxonomy must be like, and that each fault is said in words that help to mend it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labelspace.agents.taxonomy.checks import Draft, Limits
from labelspace.agents.taxonomy.language import foreign
from labelspace.agents.taxonomy.replies import (
    read_choice,
    read_groups,
    read_judgement,
    read_summaries,
    read_taxonomy,
)
from labelspace.agents.texts import quotation
from labelspace.llm import ReplyError

LIMITS = Limits(max_labels=3, name_words=4, description_words=10, other="Sonstiges")


def one(name: Any = "Cats", description: Any = "About cats.", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": description, **more}


def test_a_taxonomy_is_read() -> None:
    text = json.dumps({"labels": [one(documents=[2, 0, 9, "3", 1]), one(" Dogs\n and  wolves", ["One.", "Two."])]})
    assert read_taxonomy(f"Here you are:\n```json\n{text}\n```", LIMITS, documents=3) == (
        Draft("Cats", "About cats.", documents=(1, 0)),
        Draft("Dogs and wolves", "One. Two."),
    )


@pytest.mark.parametrize(
    "name",
    ["Other", "others", "Miscellaneous", "Misc.", "General inquiries", "Other issues", "Uncategorised", "sonstiges"],
)
def test_a_label_for_what_fits_nowhere_is_dropped(name: str) -> None:
    assert [draft.name for draft in read_taxonomy(json.dumps({"labels": [one(), one(name)]}), LIMITS)] == ["Cats"]


@pytest.mark.parametrize("name", ["Other insects", "General anaesthesia", "Nonesuch"])
def test_a_label_that_only_sounds_so_is_kept(name: str) -> None:
    assert [draft.name for draft in read_taxonomy(json.dumps({"labels": [one(name)]}), LIMITS)] == [name]


WRONG: list[tuple[Any, str]] = [
    ({"labels": []}, "there is no label"),
    ({"labels": [one("Other")]}, "there is no label"),
    ({"labels": "Cats"}, '"labels" must be a list of JSON objects'),
    ({"labels": ["Cats"]}, '"labels" must be a list of JSON objects'),
    ({"clusters": []}, 'lacks "labels"'),
    ({"labels": [one(f"L{n}") for n in range(4)]}, "there are 4 labels, and at most 3 are wanted"),
    ({"labels": [one(""), one()]}, "label 1 has no name"),
    ({"labels": [one(None)]}, "label 1 has no name"),
    ({"labels": [one(), one("cats ")]}, "the name 'cats' is there twice"),
    ({"labels": [one(description=" ")]}, "'Cats' has no description"),
    ({"labels": [one("a b c d e f g")]}, "the name of 'a b c d e f g' has 7 words, and at most 4 are wanted"),
    ({"labels": [one("字" * 73)]}, "is too long: at most 4 words are wanted"),
    ({"labels": [one(description="x " * 16)]}, "the description of 'Cats' has 16 words, and at most 10 are wanted"),
    ({"labels": [one(description="")] * 2}, "has no description; the name 'Cats' is there twice"),
]


@pytest.mark.parametrize(("data", "problem"), WRONG)
def test_a_taxonomy_that_breaks_a_limit_is_sent_back(data: Any, problem: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read_taxonomy(json.dumps(data), LIMITS)
    assert problem in str(caught.value)


def judged(*labels: Any, score: Any = 50, **more: Any) -> str:
    return json.dumps({"score": score, "explanation": "e", "suggestions": "s", "labels": labels} | more)


@pytest.mark.parametrize(
    ("score", "value"), [(0, 0), (100, 100), (72.5, 72.5), ("85", 85), ("85/100", 85), ("60 %", 60)]
)
def test_a_judgement_is_read(score: Any, value: float) -> None:
    text = judged(
        one("Felines", **{"from": ["cats", "Unknown"]}), one("Dogs"), one("Mice", **{"from": None}), score=score
    )
    found = read_judgement(text, LIMITS, known=["Cats", "Dogs"], documents=1)
    assert (found.score, found.explanation, found.suggestions) == (value, "e", "s")
    assert [(draft.name, draft.continues) for draft in found.labels] == [
        ("Felines", ("Cats",)),
        ("Dogs", ("Dogs",)),
        ("Mice", ()),
    ]


@pytest.mark.parametrize("score", [101, -1, "good", None, True, [], float("nan")])
def test_a_score_is_a_number_to_a_hundred(score: Any) -> None:
    with pytest.raises(ReplyError, match='"score" must be a number from 0 to 100'):
        read_judgement(judged(one(), score=score), LIMITS, known=["Cats"])


def test_explanations_may_be_missing_but_not_the_score() -> None:
    text = json.dumps({"score": 1, "labels": [one()]})
    assert read_judgement(text, LIMITS, known=["Cats"]).explanation == ""
    with pytest.raises(ReplyError, match='lacks "score"'):
        read_judgement(json.dumps({"labels": [one()]}), LIMITS, known=["Cats"])


def test_a_taxonomy_does_not_lose_most_of_itself() -> None:
    known = [f"L{n}" for n in range(8)]
    limits = Limits(10, 4, 10)
    with pytest.raises(ReplyError, match="must be whole, but 'L0', 'L1', 'L2', 'L3', 'L4', 'L5', 'L6' are gone"):
        read_judgement(judged(one("L7"), one("New")), limits, known=known)
    kept = read_judgement(judged(*(one(name) for name in known[:4])), limits, known=known)
    assert len(kept.labels) == 4
    merged = read_judgement(judged(one("All", **{"from": known})), limits, known=known)
    assert merged.labels[0].continues == tuple(known)


def grouped(**groups: list[Any]) -> str:
    return json.dumps({"groups": [one(name, labels=labels) for name, labels in groups.items()]})


NAMES = ("cats", "dogs", "oaks")


def test_groups_are_read() -> None:
    groups = read_groups(grouped(Pets=["Cats", "dogs"], Trees=["oaks"], Empty=[]), LIMITS, names=NAMES, max_groups=2)
    assert [(draft.name, inside) for draft, inside in groups] == [("Pets", ["cats", "dogs"]), ("Trees", ["oaks"])]


WRONG_GROUPS = [
    (grouped(Pets=["cats", "dogs"]), "'oaks' are in no group; there are 1 groups"),
    (grouped(Pets=["cats", "dogs"], Trees=["oaks", "cats"]), "the label 'cats' is in the groups 'Pets' and 'Trees'"),
    (grouped(Pets=["cats", "dogs", "mice"], Trees=["oaks"]), "'mice' is not a label"),
    (grouped(Pets=["cats", "dogs"], Oaks=["oaks"]), "the group 'Oaks' has the name of a label"),
    (grouped(Pets=["cats", "dogs"], Other=["oaks"]), "the name 'Other' says nothing of its labels"),
    (grouped(A=["cats"], B=["dogs"], C=["oaks"]), "there are 3 groups"),
    (json.dumps({"groups": [one("Pets")]}), "'cats', 'dogs', 'oaks' are in no group"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG_GROUPS)
def test_groups_that_are_no_partition_are_sent_back(text: str, problem: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read_groups(text, LIMITS, names=NAMES, max_groups=2)
    assert problem in str(caught.value)


def test_summaries_are_read_in_order() -> None:
    entries = [{"document": 2, "summary": " b\nc "}, {"document": 1, "summary": "a"}, {"document": 7, "summary": "x"}]
    assert read_summaries(json.dumps({"summaries": entries}), 2, 5) == ["a", "b c"]


WRONG_SUMMARIES: list[tuple[Any, str]] = [
    ([{"document": 1, "summary": "a"}], "document 2 has no summary"),
    ([{"document": 1, "summary": "a"}, {"document": 2, "summary": ""}], "document 2 has no summary"),
    (
        [{"document": 1, "summary": "a"}, {"document": 2, "summary": "w " * 11}],
        "the summary of document 2 has 11 words",
    ),
    (["a", "b"], '"summaries" must be a list of JSON objects'),
]


@pytest.mark.parametrize(("entries", "problem"), WRONG_SUMMARIES)
def test_summaries_that_are_missing_are_sent_back(entries: Any, problem: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read_summaries(json.dumps({"summaries": entries}), 2, 5)
    assert problem in str(caught.value)


# -- overlaps, language, quotations, votes, reasons ------------------------------------------------

WIDE = Limits(max_labels=30, name_words=5, description_words=40, other="Other", language="English")


def reply(*labels: dict[str, Any], **more: Any) -> str:
    return json.dumps({"score": 50, "explanation": "", "suggestions": "", "labels": labels, **more})


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (
            (one("Refund request"), one("Requests of refunds", "Money.")),
            "'Refund request' and 'Requests of refunds' mean",
        ),
        ((one("Tax policies"), one("Policy tax", "Money.")), "mean the same"),
        (
            (
                one("Billing", "Wrong charges, invoices, payments and bills of customers."),
                one("Invoices", "Bills, invoices, wrong payments, charges of a customer."),
            ),
            "'Billing' and 'Invoices' have the same description: merge them or draw a line",
        ),
    ],
)
def test_labels_that_overlap_are_sent_back(labels: tuple[dict[str, Any], ...], problem: str) -> None:
    with pytest.raises(ReplyError, match=problem):
        read_taxonomy(reply(*labels), WIDE)


@pytest.mark.parametrize(
    "labels",
    [
        (one("Transfer to account"), one("Transfer from account", "Money leaves.")),
        (one("Card works"), one("Card not working", "It fails.")),
        (one("Alarms", "Set, change, cancel or list alarms."), one("Timers", "Set, change, cancel or list timers.")),
        (one("Cats", "About."), one("Dogs", "About.")),
    ],
)
def test_labels_that_are_only_alike_pass(labels: tuple[dict[str, Any], ...]) -> None:
    assert len(read_taxonomy(reply(*labels), WIDE)) == 2


GERMAN = [
    one("Rückerstattung", "Der Kunde will das Geld für eine Bestellung zurück und nicht mehr auf die Ware warten."),
    one("Lieferung", "Die Ware ist nicht da, oder der Kunde fragt, wo sie ist und wann sie mit der Post kommt."),
]


def test_a_taxonomy_in_another_language_is_sent_back() -> None:
    with pytest.raises(ReplyError, match="must be in English, and these are in German"):
        read_taxonomy(reply(*GERMAN), WIDE)
    assert len(read_taxonomy(reply(*GERMAN), Limits(9, 5, 40, language="German"))) == 2
    assert len(read_taxonomy(reply(*GERMAN), Limits(9, 5, 40, language="Klingon"))) == 2
    assert len(read_taxonomy(reply(*GERMAN), Limits(9, 5, 40))) == 2


@pytest.mark.parametrize(
    ("texts", "language", "found"),
    [
        (["退款", "客户想要退款"], "English", "another script"),
        (["退款", "客户想要退款"], "Chinese", None),
        (["Refund", "The customer wants the money back."], "Chinese", "Latin letters"),
        (["Возврат", "Клиент хочет вернуть деньги"], "Russian", None),
        (["Refund of iPhone", "Apple Pay, Visa, Mastercard"], "English", None),
        (["Remboursement", "Le client veut que les frais de la carte lui soient rendus, et pas dans un mois."],
         "English", "French"),
        (["Remboursement", "Le client veut que les frais de la carte lui soient rendus."], "French", None),
        ([], "English", None),
    ],
)  # fmt: skip
def test_only_what_is_plainly_another_language_counts(texts: list[str], language: str, found: str | None) -> None:
    assert foreign(texts, language) == found


def test_quotations_are_found_over_case_and_signs() -> None:
    document = "The Senate, and the House: amend title IV of the act to give loans."
    assert quotation("It would AMEND Title-IV of the act to give more", document) == "amend title iv of the act to give"
    assert quotation("It would amend Title IV of the act for loans", document) == ""
    assert quotation("short", document) == quotation(document, "short") == ""


@pytest.mark.parametrize(("best", "place"), [(2, 1), ("1", 0), ("Taxonomy 3", 2), ("#2", 1)])
def test_a_vote_is_read(best: Any, place: int) -> None:
    assert read_choice(json.dumps({"explanation": " So  it is. ", "best": best}), 3) == (place, "So it is.")


@pytest.mark.parametrize("best", [0, 4, "none", "1 or 2", None, 1.5, [1]])
def test_a_vote_for_nothing_is_sent_back(best: Any) -> None:
    with pytest.raises(ReplyError, match=r"number of a taxonomy, from 1 to 3"):
        read_choice(json.dumps({"best": best}), 3)


KNOWN = (Draft("Cats", "About cats."), Draft("Dogs", "About dogs."), Draft("Fish", "About fish."))


def test_reasons_are_wanted_for_what_changes_and_for_nothing_else() -> None:
    cats, dogs, fish = (one(draft.name, draft.description, **{"from": [draft.name]}) for draft in KNOWN)
    assert [draft.why for draft in read_judgement(reply(cats, dogs, fish), WIDE, known=KNOWN).labels] == ["", "", ""]
    changed = one("Dogs", "About dogs and wolves.", **{"from": ["Dogs"]}, recheck=True)
    for labels, name in (
        ((cats, changed, fish), "Dogs"),
        ((cats, dogs, fish, one("Mice", "About mice.")), "Mice"),
        ((cats, dogs, one("Sharks", "About sharks.", **{"from": ["Fish"]})), "Sharks"),
        ((one("Cats", "About cats.", **{"from": ["Cats", "Fish"]}), dogs), "Cats"),
    ):
        with pytest.raises(ReplyError, match=f'{name!r} is new or changed and needs a "why"'):
            read_judgement(reply(*labels), WIDE, known=KNOWN)
    judged = read_judgement(reply(cats, {**changed, "why": "Wolves."}, fish), WIDE, known=KNOWN)
    assert (judged.labels[1].why, judged.labels[1].recheck, judged.labels[0].recheck) == ("Wolves.", True, False)


def test_a_label_is_dropped_only_with_a_reason() -> None:
    cats, dogs = (one(draft.name, draft.description, **{"from": [draft.name]}) for draft in KNOWN[:2])
    for dropped in ([], [{"name": "Fish", "why": ""}], [{"name": "Sharks", "why": "None."}]):
        with pytest.raises(ReplyError, match="'Fish' is gone without a reason"):
            read_judgement(reply(cats, dogs, dropped=dropped), WIDE, known=KNOWN)
    judged = read_judgement(reply(cats, dogs, dropped=[{"name": "fish", "why": "No text."}]), WIDE, known=KNOWN)
    assert judged.dropped == (("Fish", "No text."),)
    with pytest.raises(ReplyError, match='"dropped" must be a list'):
        read_judgement(reply(cats, dogs, dropped="Fish"), WIDE, known=KNOWN)
