"""Reading replies: what is plainly said is taken, what could be two things is sent back."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelspace.agents.replies import choice_scores, match_label, probability_of, read_object, without_thoughts
from labelspace.llm import Reply, ReplyError, TokenLogprob

OBJECTS: list[tuple[str, Any]] = [
    ('{"a": 1}', {"a": 1}),
    ('  {"a": 1}\n', {"a": 1}),
    ('```json\n{"a": {"b": [1]}}\n```', {"a": {"b": [1]}}),
    ('Here it is: {"a": "x {y} z"} I hope it helps {really}.', {"a": "x {y} z"}),
    ('{"thought": "no"} {"a": 2}', {"a": 2}),
    ('<think>{"a": 3}?</think>{"a": 4}', {"a": 4}),
    ('I think {"a": 3} </think>\n{"a": 4}', {"a": 4}),
    ('[{"a": 5}]', {"a": 5}),
    ('{not json} {"a": null}', {"a": None}),
]


@pytest.mark.parametrize(("text", "expected"), OBJECTS)
def test_an_object_is_found(text: str, expected: Any) -> None:
    assert read_object(text, ["a"]) == expected


NO_OBJECTS = [
    ("", "there is no JSON object in it"),
    ("I can't help with that.", "there is no JSON object in it"),
    ('{"a": 1', "the JSON is not valid: Expecting ',' delimiter at character 7"),
    ('{"b": 1}', 'the JSON object lacks "a"'),
    ("{" * 5000, "the JSON is not valid"),
    ('{"b":' + "[" * 200_000, "the JSON is nested too deeply"),
]


@pytest.mark.parametrize(("text", "problem"), NO_OBJECTS)
def test_a_reply_without_one_is_sent_back(text: str, problem: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read_object(text, ["a"])
    assert problem in str(caught.value)
    assert 'Answer with one JSON object {"a": ...} and nothing else.' in str(caught.value)


NAMES = ("Refund", "card_arrival", "card arrival delay", "Level 1", "Level 2", "C++", "Übergrößen", "no")
SAID = [
    ("Refund", "Refund"),
    ("refund", "Refund"),
    (' "Refund". ', "Refund"),
    ("**Refund**", "Refund"),
    ("- Refund", "Refund"),
    ("`card arrival`", "card_arrival"),
    ("Card-Arrival", "card_arrival"),
    ("card  arrival\tdelay", "card arrival delay"),
    ("Label: Refund", "Refund"),
    ("The label is Refund.", "Refund"),
    ("The best label is: **card_arrival**", "card_arrival"),
    ("The document asks for its money back, so the label is: refund", "Refund"),
    ("Refund: The customer wants money.", "Refund"),
    ("Refund\nThe customer wants money.", "Refund"),
    ("The customer wants money.\n\nRefund", "Refund"),
    ("card arrival delay: it is late", "card arrival delay"),
    ("Refnud", None),
    ("card arival delay", "card arrival delay"),
    ("card_arival", "card_arrival"),
    ("Level 3", None),
    ("Level", None),
    ("c++", "C++"),
    ("ÜBERGRÖSSEN", "Übergrößen"),
    ("no", "no"),
    ("It is not Refund", None),
    ("Refund, card_arrival", None),
    ("Refund; or the label is: card_arrival", None),
    ("delivery", None),
    ("", None),
    ("?", None),
]


@pytest.mark.parametrize(("said", "expected"), SAID)
def test_a_label_is_matched_or_sent_back(said: str, expected: str | None) -> None:
    if expected is not None:
        assert match_label(said, NAMES) == expected
        return
    with pytest.raises(ReplyError) as caught:
        match_label(said, NAMES)
    assert "nswer with exactly one of" in str(caught.value)


def test_two_near_names_are_not_told_apart() -> None:
    with pytest.raises(ReplyError, match='"cash withdrawel" could mean "cash withdrawal" or "cash withdrawals"'):
        match_label("cash withdrawel", ("cash withdrawal", "cash withdrawals"))
    with pytest.raises(ReplyError, match='could mean "a b" or "A B"'):
        match_label("A b", ("a b", "A B"))
    assert match_label("A B", ("a b", "A B")) == "A B"


def test_of_many_labels_the_nearest_are_listed() -> None:
    names = tuple(f"label number {n}" for n in range(150))
    with pytest.raises(ReplyError) as caught:
        match_label("lable nummer 1490", names)
    assert "a label from the list, such as: label number 149" in str(caught.value)
    assert str(caught.value).count(";") == 39


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=1, unique=True), st.data())
def test_an_exact_name_is_always_itself(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert match_label(name, tuple(names)) == name


@given(st.text(), st.lists(st.text(min_size=1), min_size=1))
def test_a_match_is_a_label_or_an_error(said: str, names: list[str]) -> None:
    with contextlib.suppress(ReplyError):
        assert match_label(said, tuple(names)) in names


def test_thoughts_are_left_out() -> None:
    assert without_thoughts("<think>a\nb</think> c <thinking>d</thinking>") == "c"


def tokens(*pairs: tuple[str, float]) -> Reply:
    return Reply("".join(text for text, _ in pairs), logprobs=tuple(TokenLogprob(t, math.log(p)) for t, p in pairs))


TWICE = tokens(('{"rationale": "says ', 0.1), ("Refund", 0.1), ('", "label": "', 0.1), ("Refund", 0.9), ('"}', 1.0))
PROBABILITIES = [
    (tokens(("Ref", 0.5), ("und", 0.8), ("<eos>", 0.1)), "Refund", False, 0.4),
    (tokens((" ", 0.2), ("ref", 0.5), ("und", 0.5)), "Refund", False, 0.25),
    (tokens(('{"label": "', 0.1), ("Re", 0.5), ('fund"', 0.5), ("}", 0.1)), "Refund", True, 0.25),
    (TWICE, "Refund", True, 0.9),
    (tokens(('{"label": "', 0.1), ("\\u00dc", 0.5), ('"}', 0.1)), "Ü", True, 0.5),
    (tokens(("Something else", 0.5)), "Refund", False, None),
    (Reply("Refund"), "Refund", False, None),
]


@pytest.mark.parametrize(("reply", "answer", "quoted", "expected"), PROBABILITIES)
def test_the_probability_of_an_answer(reply: Reply, answer: str, quoted: bool, expected: float | None) -> None:
    found = probability_of(reply, answer, quoted=quoted)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_choices_become_probabilities() -> None:
    scores = choice_scores({"a": -1000.0, "b": -1000.0 + math.log(3), "c": -1010.0}, keep=2)
    assert list(scores) == ["b", "a"]
    assert scores["b"] == pytest.approx(0.75, abs=1e-4)
