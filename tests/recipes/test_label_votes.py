"""The recipe of votes replays its table; what it measures of confidences is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelspace.agents.labeling.form import Answer
from labelspace.embed import load_embedder
from labelspace.recipes._label_llm import Task
from labelspace.recipes.label_votes import (
    ALL,
    ONE,
    STATED,
    LabelVotesConfig,
    ask,
    load,
    separation,
    surety,
    voted,
    ways_of,
)
from labelspace.records import Prediction, Record
from labelspace.space import Label, LabelSpace

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "label_votes.jsonl"
SPACE = LabelSpace(name="colours", labels=tuple(Label(name=name) for name in ("red", "green")))


def test_voters_that_stand_for_three_count_thrice() -> None:
    task = Task("colours", SPACE, [], [], [Record("1", "x", ("red",))], {}, 0.9)
    made = {way: [Prediction("1", ("red",))] for way in ("one reply", "with 20 examples", "with the reason first")}
    made["3 orders of the labels"] = [Prediction("1", ("green",), {"green": 2 / 3, "red": 1 / 3})]
    made["3 replies at temperature 1"] = [Prediction("1", ("green",), {"green": 1.0})]
    made[STATED] = [Prediction("1", ("red",), {"red": 0.8}, 0.8)]
    answers = voted(task, made)
    assert answers[ALL][0].scores == {"green": pytest.approx(5 / 9), "red": pytest.approx(4 / 9)}
    assert (answers[STATED][0].confidence, answers[ONE][0].confidence) == (0.8, 1.0)


def test_how_sure_of_each_label_that_any_way_names() -> None:
    task = Task("colours", SPACE.model_copy(update={"multi_label": True}), [], [], [], {}, 0.9)
    stated, right, owner = surety(
        task, [("red",), ("green",)], [Answer(("red",), scores={"red": 0.9}), Answer(())], [["green", "red"], ["green"]]
    )
    assert (stated.tolist(), right.tolist(), owner.tolist()) == ([0.0, 0.9, 0.0], [0, 1, 1], [0, 0, 1])


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    area, low, high = separation(np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0]), np.arange(4))
    assert area == pytest.approx(3.5 / 4)
    assert low <= area <= high


@pytest.mark.data
def test_one_reply_about_banking77_is_replayed(data_dir: Path) -> None:
    task = load(data_dir, "banking77")
    gold = [record.labels or () for record in task.test]
    ways = {way: how for way, how in ways_of(task).items() if way in (ONE, STATED)}
    made = ask(LabelVotesConfig(cassette=CASSETTE), task, load_embedder("tfidf", cache=None), ways)
    assert sum(one.labels == own for one, own in zip(made[ONE], gold, strict=True)) == 176
    stated = [Answer(one.labels, scores=one.scores, confidence=one.confidence) for one in made[STATED]]
    assert separation(*surety(task, gold, stated, []))[0] == pytest.approx(0.894, abs=5e-4)
