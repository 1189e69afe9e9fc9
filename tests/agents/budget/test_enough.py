"""Labels are asked for until the classifier that learns from them has stopped changing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import desk
import numpy as np
import pytest

from labelspace import LabelSpace, read_records
from labelspace.agents.budget.enough import kappa_of, label_enough
from labelspace.cli import main
from labelspace.data import write_rows
from labelspace.errors import DataError
from labelspace.recipes.pipeline import is_held_out
from labelspace.records import Prediction, Record, as_records

CASSETTE = Path(__file__).resolve().parents[2] / "cassettes" / "support.jsonl"
NAMES = ("north", "east", "south", "west")


class Compass:
    """Labels texts by the direction of their vectors, counts what it is asked, and can be told to fail."""

    def __init__(self, vectors: np.ndarray, *, multi_label: bool = False, failed: Sequence[int] = ()) -> None:
        self.label_space = LabelSpace.of(list(NAMES), multi_label=multi_label)
        self.vectors, self.failed = vectors, set(failed)
        self.asked: list[int] = []

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        for record in as_records(texts):
            at = int(record.text)
            self.asked.append(at)
            x, y = self.vectors[at]
            one = NAMES[[y > abs(x), x >= abs(y), -y > abs(x), True].index(True)]
            both = tuple(name for name, here in zip(NAMES, (y > 0.3, x > 0.3, y < -0.3, x < -0.3), strict=True) if here)
            if at in self.failed:
                yield Prediction(record.id, status="failed", reason="no reply")
            else:
                yield Prediction(record.id, both if self.label_space.multi_label else (one,))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    turns = np.random.default_rng(0).random(2000) * 2 * np.pi
    return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def records(count: int = 2000) -> list[Record]:
    return [Record(id=f"r{at}", text=str(at)) for at in range(count)]


def embed(vectors: np.ndarray):
    return lambda texts: vectors[[int(text) for text in texts]]


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_stops_early_and_asks_for_no_text_twice(vectors: np.ndarray, multi_label: bool) -> None:
    labeler = Compass(vectors, multi_label=multi_label)
    found = label_enough(records(), labeler, embed(vectors), held_out=records()[1900:], seed=1, shown=False)
    pool = [at for at in labeler.asked if at < 1900]
    assert len(set(pool)) == len(pool)
    assert found.rounds[-1].labelled < 1000
    assert "agree: kappa" in found.reason
    assert found.rounds[0].kappa is None
    assert found.rounds[-1].agreement is not None and found.rounds[-1].agreement > 0.85
    assert set(found.labels) == {f"r{at}" for at in labeler.asked}
    assert json.loads(json.dumps(found.to_data()))["rounds"][0]["labelled"] == 100


def test_the_same_seed_asks_for_the_same_texts(vectors: np.ndarray) -> None:
    asked = []
    for _ in range(2):
        labeler = Compass(vectors)
        label_enough(records(500), labeler, embed(vectors), shown=False)
        asked.append(labeler.asked)
    assert asked[0] == asked[1]


def test_what_failed_is_not_learned_from_and_stays_in_the_labels(vectors: np.ndarray) -> None:
    labeler = Compass(vectors, failed=range(0, 2000, 3))
    found = label_enough(records(600), labeler, embed(vectors), stable=2.0, shown=False)
    assert found.reason == "nothing is left to label"
    assert sum(one.status == "failed" for one in found.labels.values()) == 200


def test_most_is_a_limit(vectors: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    labeler = Compass(vectors)
    label_enough(records(), labeler, embed(vectors), stable=2.0, most=137)
    assert len(labeler.asked) == 137
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "100 of 2,000 texts labelled"
    assert said[-1].startswith("137 of 2,000 texts labelled, kappa with the round before 0.")


def test_no_gain_on_held_out_labels_ends_it(vectors: np.ndarray) -> None:
    labeler = Compass(vectors)
    apart = records()[1900:]
    found = label_enough(records()[:1900], labeler, embed(vectors), held_out=apart, stable=2.0, shown=False)
    assert found.reason == "agreement with held-out labels gained less than 1% in 4 rounds"


def test_one_label_alone_and_no_text_are_refused(vectors: np.ndarray) -> None:
    same = np.tile(np.array([[1.0, 0.0]], np.float32), (50, 1))
    with pytest.raises(DataError, match="have the same label"):
        label_enough(records(50), Compass(same), embed(same), shown=False)
    with pytest.raises(DataError, match="no record has a text"):
        label_enough([Record("a", " ")], Compass(vectors), embed(vectors), shown=False)


def test_kappa_by_hand() -> None:
    first, second = np.eye(2, dtype=bool)[[0, 0, 1, 1]], np.eye(2, dtype=bool)[[0, 0, 1, 0]]
    assert kappa_of(first, second) == pytest.approx((0.75 - 0.5) / 0.5)
    assert kappa_of(first, first) == 1
    several = np.array([[True, True], [False, False]])
    assert kappa_of(several, ~several) == pytest.approx(-1)


def test_the_pipeline_asks_an_llm_for_no_more_than_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "texts.jsonl"
    write_rows(texts, ({"id": one.id, "text": one.text} for one in islice(read_records("sample:support"), 200)))
    with desk.serve(CASSETTE) as server:
        run = ["run", "pipeline", f"data={texts}", f"out={tmp_path / 'run'}", f"model={server.url}"]
        with pytest.raises(SystemExit) as done:
            main(run)
        assert not done.value.code, server.lacked
        asked = len(server.answered)
        with pytest.raises(SystemExit):
            main(run)
        assert len(server.answered) == asked
    assert not server.lacked
    said = capsys.readouterr().out
    curve = json.loads((tmp_path / "run" / "curve.json").read_text())
    labelled = len((tmp_path / "run" / "labels.jsonl").read_text().splitlines())
    apart = [one for one in read_records(texts) if is_held_out(one, 0.2) and not one.is_blank]
    assert labelled == curve["rounds"][-1]["labelled"] + len(apart)
    assert f"labels.jsonl       {labelled:,} of 200 records" in said
    assert f"curve.json         why no more: {curve['reason']}" in said
