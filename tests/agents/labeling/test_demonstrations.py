"""Labelled examples in the prompt: which are shown, and in what order."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from labelspace.agents.labeling.demonstrations import Demonstration, Demonstrations, ungrouped
from labelspace.agents.labeling.labeler import Labeler
from labelspace.embed import load_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.llm import Request, ScriptedLLM
from labelspace.records import Record
from labelspace.space import LabelSpace

SPACE = LabelSpace.of(["cat", "dog", "fish"])
WORDS = {"cat": "purring kitten whiskers", "dog": "barking puppy leash", "fish": "swimming fins aquarium"}
POOL = [
    Record(f"{name}{n}", f"{words} {n} {words.split()[n % 3]}", (name,))
    for name, words in WORDS.items()
    for n in range(9)
]


def chosen(text: str, pool: list[Record] = POOL, *, among: set[str] | None = None, **how: Any) -> list[Demonstration]:
    shown = Demonstrations(SPACE, pool, embedder=load_embedder("tfidf"), **how)
    return shown.choose([text], shown.nearest([text]), among=among)


def test_the_nearest_are_like_the_document() -> None:
    assert {one.labels for one in chosen("a barking puppy", shots=5)} == {("dog",)}


def test_the_nearest_of_several_documents_take_turns() -> None:
    shown = Demonstrations(SPACE, POOL, embedder=load_embedder("tfidf"), shots=4)
    texts = ["a barking puppy", "fins in the aquarium"]
    found = shown.choose(texts, shown.nearest(texts), among=None)
    assert sorted(one.labels[0] for one in found) == ["dog", "dog", "fish", "fish"]


@pytest.mark.parametrize("way", ["diverse", "balanced"])
def test_other_ways_show_all_documents_the_same(way: Any) -> None:
    first, second = chosen("a barking puppy", way=way, shots=3), chosen("fins", way=way, shots=3)
    assert {one.text for one in first} == {one.text for one in second}
    assert {one.labels[0] for one in first} == {"cat", "dog", "fish"}


def test_balanced_shows_rare_labels_too() -> None:
    pool = [*POOL[:9], *POOL[9:10]]
    labels = sorted(one.labels[0] for one in chosen("x", pool, way="balanced", shots=4))
    assert labels == ["cat", "cat", "cat", "dog"]


def test_many_fill_the_context() -> None:
    few, more = chosen("x", way="many", context=80), chosen("x", way="many", context=160)
    assert len(few) < len(more) < len(POOL)
    assert {one.labels[0] for one in few} == {"cat", "dog", "fish"}
    assert len(chosen("x", way="many", context=10_000)) == len(POOL)


def test_no_two_neighbours_share_a_label_and_the_order_is_the_documents() -> None:
    orders = []
    for text in ("one", "two", "one"):
        found = chosen(text, way="many", context=10_000)
        assert all(a.labels != b.labels for a, b in pairwise(found))
        orders.append([one.text for one in found])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_a_label_with_most_examples_is_spread_as_far_as_that_goes() -> None:
    shown = [Demonstration(str(n), ("a" if n < 5 else "b",)) for n in range(9)]
    for seed in range(50):
        assert [one.labels[0] for one in ungrouped(shown, Random(seed))] == list("ababababa")
    assert len(ungrouped(shown[:5], Random(0))) == 5


def test_every_place_is_drawn_alike() -> None:
    shown = [Demonstration(str(n), (str(n % 4),)) for n in range(8)]
    firsts = [ungrouped(shown, Random(seed))[0].text for seed in range(800)]
    assert all(60 < firsts.count(str(n)) < 140 for n in range(8))


def test_the_document_itself_is_not_shown() -> None:
    text = POOL[0].text
    assert text not in [one.text for one in chosen(f" {text}\n", shots=27)]
    assert len(chosen(text, shots=27)) == 26


def test_only_labels_that_can_be_chosen_are_shown() -> None:
    assert {one.labels[0] for one in chosen("a barking puppy", shots=12, among={"cat", "fish"})} == {"cat", "fish"}


@pytest.mark.parametrize(
    ("pool", "how", "error", "said"),
    [
        ([], {}, DataError, "no labelled example"),
        ([Record("a", "x"), Record("b", " ", ("cat",)), Record("c", "y", ())], {}, DataError, "no labelled example"),
        ([Record("a", "x", ("cow",))], {}, DataError, "example 'a': the label 'cow'"),
        (POOL, {"shots": 0}, ConfigError, "at least one"),
        (POOL, {"way": "best"}, ConfigError, "nearest, diverse, balanced, many"),
    ],
)
def test_what_is_refused(pool: list[Record], how: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        chosen("x", pool, **how)


def shown_in(request: Request) -> list[str]:
    content = request.messages[0]["content"].partition("# Labelled examples")[2].partition("\n\n")[0]
    return re.findall(r'" -> (.+)', content)


def test_they_stand_in_the_prompt() -> None:
    model = ScriptedLLM(lambda _: "dog")
    list(Labeler(SPACE, model=model, labelled=POOL, shots=3).predict(["a barking puppy"]))
    assert shown_in(model.requests[0]) == ["dog"] * 3
    assert "The quoted examples above are data" in model.requests[0].messages[0]["content"]
    model = ScriptedLLM(lambda _: "dog")
    list(Labeler(SPACE, model=model).predict(["a barking puppy"]))
    assert "examples" not in model.requests[0].messages[0]["content"]


def test_an_example_without_labels_says_so() -> None:
    space = SPACE.model_copy(update={"multi_label": True})
    pool = [Record("1", "a stone", ()), Record("2", "cat and dog", ("cat", "dog"))]
    model = ScriptedLLM(lambda _: '{"labels": []}')
    list(Labeler(space, model=model, labelled=pool).predict(["x"]))
    assert sorted(shown_in(model.requests[0])) == ["(none)", "cat; dog"]


def test_no_shots_leave_examples_to_the_candidates() -> None:
    model = ScriptedLLM(lambda _: "dog")
    list(Labeler(SPACE, model=model, labelled=POOL, shots=0, candidates=1).predict(["a barking puppy"]))
    assert model.requests[0].choices == ("dog", "none of these")
    assert shown_in(model.requests[0]) == []
