"""The recipe of the order of many examples replays its table, and groups as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelspace.embed import load_embedder
from labelspace.recipes._label_llm import Task
from labelspace.recipes.label_order import Grouped, LabelOrderConfig, counted, f1, halves, main
from labelspace.records import Record
from labelspace.space import Label, LabelSpace

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "label_order.jsonl"
SPACE = LabelSpace(name="colours", labels=tuple(Label(name=name) for name in ("red", "green", "blue", "grey")))


@pytest.mark.parametrize(("way", "shown"), [(1, ["red", "green", "blue"]), (-1, ["blue", "green", "red"])])
def test_examples_stand_by_label(way: int, shown: list[str]) -> None:
    labelled = [Record(f"{name}{n}", f"{name} {n}", (name,)) for n in range(3) for name in ("blue", "red", "green")]
    made = Grouped(SPACE, labelled, embedder=load_embedder("tfidf", cache=None), way="many", context=1000)
    made.rank = {name: way * at for at, name in enumerate(SPACE.leaves)}
    chosen = made.choose(["a text"], [()], among=None)
    assert [one.labels[0] for one in chosen] == [name for name in shown for _ in range(3)]


def test_a_gold_label_is_first_in_one_order_and_last_in_the_other() -> None:
    records = [Record("1", "x", ("red",)), Record("2", "y", ("grey",))]
    task = Task("colours", SPACE, [], [], records, {}, 0.9)
    first, last, wanted = halves(task, records, [("red",), ("red",)], [("blue",), ("grey",)])
    assert (first.tolist(), last.tolist(), wanted.tolist()) == ([1, 1], [0, 0], [1, 1])
    counts = counted(records, [("red", "blue"), ("grey",)])
    assert f1(np.ones((1, 2)), counts)[0] == pytest.approx(0.8)


@pytest.mark.data
def test_trec_is_replayed(data_dir: Path, encoder_folder: str) -> None:
    config = LabelOrderConfig(data=data_dir, cassette=CASSETTE, embedder=f"st:{encoder_folder}", tasks=("trec",))
    table = main(config)["trec"]
    assert table["not grouped, drawn anew"] == table["grouped"] == pytest.approx(0.98)
    assert (table["gain"], table["late"]) == (0.0, 0.0)
