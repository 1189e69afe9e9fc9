"""The cascade: who answers, at what cost, and how the point is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.cli import main
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.cascade import SPENT, UNSURE, Cascade, Point, choose, curve, is_sure, load_point, save_point
from labelspace.finetune.classifier import HeadClassifier
from labelspace.records import Prediction, Record, as_records
from labelspace.space import LabelSpace

SPACE = LabelSpace.of(["a", "b", "c"])


class Head:
    """Texts are the probability of "a", that of "b" being the rest."""

    multi_label = False
    classes_ = ("a", "b", "c")
    thresholds_ = None

    def predict_proba(self, texts: Any) -> Any:
        return np.array([[float(text), 1 - float(text), 0.0] for text in texts], np.float32)


class Other:
    """Always says "c", and remembers what it was asked."""

    label_space = SPACE

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        for record in as_records(texts):
            self.asked.append(record.text)
            yield Prediction(record.id, ("c",), source={"model": "other"})


TEXTS = ["0.99", "0.6", "", "0.02", "0.45", "0.5"]


def test_the_head_where_it_is_sure_and_the_other_where_not() -> None:
    other = Other()
    made = list(Cascade(HeadClassifier(Head(), SPACE), other, limit=0.3).predict(TEXTS))
    assert [one.label for one in made] == ["a", "c", None, "b", "c", "c"]
    assert other.asked == ["0.6", "0.45", "0.5"]
    assert [one.record_id for one in made] == list("012345")
    assert made[1].source["model"] == "other" and "space" in made[1].source["after"]


def test_a_budget_and_a_person() -> None:
    head = HeadClassifier(Head(), SPACE)
    cascade = Cascade(head, Other(), limit=0.3, budget=2)
    assert [one.reason for one in cascade.predict(TEXTS)] == [None, None, "empty text", None, None, SPENT]
    assert [one.status for one in cascade.predict(["0.5"])] == ["abstained"]
    [made] = Cascade(head, None, limit=0.3).predict(["0.6"])
    assert (made.status, made.reason, made.labels) == ("abstained", UNSURE, ())
    assert made.scores["a"] == pytest.approx(0.6)


def test_sets_of_no_label_or_several_are_not_sure() -> None:
    rows = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]])
    assert is_sure(rows, 0.45).tolist() == [True, False, False]


def test_the_curve_by_hand() -> None:
    calibration = (np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]), [0, 0, 1, 1])
    rows = (np.array([[0.95, 0.05], [0.55, 0.45], [0.35, 0.65], [0.41, 0.59]]), [0, 1, 1, 0])
    other = [None, 1, None, 0]
    # Strangeness of the right labels is .1, .2, .3 and .6. Of four, the fourth keeps a promise of 0.8, and no row one
    # of 0.99; for 0.6 the third does, but would ask about the third row, of which the other's answer is not known.
    [point] = curve(calibration, rows, other, coverages=(0.6, 0.8, 0.99))
    assert (point.coverage, point.limit, point.asked, point.accuracy) == (0.8, pytest.approx(0.4), 0.5, 1.0)


def test_the_choice() -> None:
    points = [
        Point(0.9, 0.5, 0.1, 0.95),
        Point(0.95, 0.4, 0.3, 0.97),
        Point(0.97, 0.3, 0.31, 0.97),
        Point(0.99, 0.1, 0.6, 0.99),
    ]
    assert choose(points, most_asked=0.33) is points[1]
    assert choose(points, most_asked=0.2) is points[0]
    with pytest.raises(ConfigError, match="no coverage asks about 5% of the rows or fewer"):
        choose(points, most_asked=0.05)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    head = HeadClassifier(Head(), SPACE)
    other = Other()
    other.label_space = LabelSpace.of(["a", "b"])
    with pytest.raises(ConfigError, match="different labels"):
        Cascade(head, other, limit=0.5)
    save_point(tmp_path / "c.json", Point(0.9, 0.5, 0.1, 0.95), SPACE)
    assert load_point(tmp_path / "c.json", SPACE) == Point(0.9, 0.5, 0.1, 0.95)
    with pytest.raises(DataError, match="tuned for another label space"):
        load_point(tmp_path / "c.json", LabelSpace.of(["x", "y"]))
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="is no tuned cascade"):
        load_point(tmp_path / "c.json", SPACE)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> None:
        with pytest.raises(SystemExit) as done:
            main(list(arguments))
        assert not done.value.code, capsys.readouterr().err

    model, other, tuned, out = (str(tmp_path / name) for name in ("model", "other.jsonl", "c.json", "out.jsonl"))
    call("train", "sample:support", "--space", "sample:support", "--out", model)
    call("label", "sample:support", "--space", "sample:support", "--out", other)
    call("cascade", "tune", model, "sample:support", "--other", other, "--out", tuned, "--most-asked", "0.5")
    table = capsys.readouterr().out
    assert "<- chosen" in table and "the other alone: " in table
    call("cascade", "run", model, "sample:support", "--tuned", tuned, "--out", out)
    rows = [json.loads(line) for line in Path(out).read_text().splitlines()]
    point = json.loads(Path(tuned).read_text())
    unsure = [row for row in rows if row.get("reason") == UNSURE]
    assert len(rows) == 634 and all(row["label"] is None and row["scores"] for row in unsure)
    assert bool(unsure) == (point["asked"] > 0)
