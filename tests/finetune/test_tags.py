from __future__ import annotations

import itertools

import numpy as np
import pytest

from labelspace.errors import DataError
from labelspace.finetune.tags import check_tags, decode, repair, span_scores, spans_of

TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]


@pytest.mark.parametrize(
    ("tags", "spans", "repaired"),
    [
        ("", [], ""),
        ("O O", [], "O O"),
        ("B-a I-a O", [("a", 0, 2)], "B-a I-a O"),
        ("B-a B-a I-a", [("a", 0, 1), ("a", 1, 3)], "B-a B-a I-a"),
        # strictly, an I that continues nothing is part of no span; repaired, it starts one
        ("I-a I-a O", [], "B-a I-a O"),
        ("B-a I-b I-b", [("a", 0, 1)], "B-a B-b I-b"),
        ("O I-a B-a", [("a", 2, 3)], "O B-a B-a"),
        ("B-a O I-a", [("a", 0, 1)], "B-a O B-a"),
    ],
)
def test_spans_and_repair(tags: str, spans: list[tuple[str, int, int]], repaired: str) -> None:
    assert spans_of(tags.split()) == spans
    assert repair(tags.split()) == repaired.split()


def test_scores_by_hand() -> None:
    gold = [["B-a", "I-a", "O", "B-b"], ["B-a", "O"], ["O", "O"]]
    guess = [["B-a", "I-a", "O", "B-a"], ["B-a", "I-a"], ["B-b", "O"]]
    scores = span_scores(gold, guess)
    # a: gold 2 (0-2, 0-1), guessed 3 (0-2, 3-4, 0-2), right 1; b: gold 1, guessed 1, right 0
    assert (scores["a"].right, scores["a"].predicted, scores["a"].gold) == (1, 3, 2)
    assert (scores["b"].right, scores["b"].predicted, scores["b"].gold) == (0, 1, 1)
    assert scores["a"].precision == pytest.approx(1 / 3) and scores["a"].recall == 0.5
    assert scores["a"].f1 == pytest.approx(0.4)
    assert scores["micro"].f1 == pytest.approx(2 * 1 / (4 + 3))
    assert span_scores([["O"]], [["O"]])["micro"].f1 == 0.0


def test_words_that_were_cut_off_count_as_missed() -> None:
    assert span_scores([["B-a", "O", "B-a"]], [["B-a", "O", "O"]])["micro"].recall == 0.5


@pytest.mark.parametrize(
    ("gold", "guess", "message"),
    [([["O"]], [], "1 sentences but predictions for 0"), ([["O"]], [["O", "O"]], "sentence 1 has 1 words but 2")],
)
def test_sides_that_do_not_match(gold: list[list[str]], guess: list[list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        span_scores(gold, guess)


def test_tags_of_another_scheme() -> None:
    check_tags(TAGS)
    with pytest.raises(DataError, match="'S-a' is no tag of the BIO scheme"):
        check_tags(["O", "S-a"])


@pytest.mark.parametrize("seed", range(5))
def test_decoding_finds_the_best_of_all_valid_sequences(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 5)) * 2
    valid = [
        path
        for path in itertools.product(range(5), repeat=4)
        if repair([TAGS[i] for i in path]) == [TAGS[i] for i in path]
    ]
    best = max(valid, key=lambda path: sum(scores[row, i] for row, i in enumerate(path)))
    assert decode(scores, TAGS) == [TAGS[i] for i in best]


def test_decoding_of_nothing() -> None:
    assert decode(np.zeros((0, 5)), TAGS) == []
