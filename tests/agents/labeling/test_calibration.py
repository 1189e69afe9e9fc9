"""Calibrated confidences, thresholds, and the queue of what is left to people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.agents.labeling.calibrated import apply
from labelspace.agents.labeling.calibration import (
    Calibration,
    Calibrator,
    best_f1,
    calibrate,
    decide,
    pairs_of,
)
from labelspace.cli import main
from labelspace.data import read_predictions, write_rows
from labelspace.errors import DataError
from labelspace.metrics import expected_calibration_error
from labelspace.records import Prediction
from labelspace.space import LabelSpace


def overconfident(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences whose log-odds are twice what they should be, and outcomes."""
    random = np.random.default_rng(seed)
    odds = random.normal(1.0, 1.0, rows)
    return 1 / (1 + np.exp(-2 * odds)), (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)


@pytest.mark.parametrize("method", ["auto", "temperature", "sigmoid", "isotonic"])
def test_it_makes_new_confidences_honest(method: Any) -> None:
    found = calibrate(*overconfident(600, 0), method=method)
    stated, correct = overconfident(4000, 1)
    before = expected_calibration_error(stated, correct)
    after = expected_calibration_error(found.calibrator(stated), correct)
    assert before > 0.08
    assert after < 0.05
    assert found.before.value == pytest.approx(before, abs=0.03)
    assert found.after.value is not None
    assert found.after.value < before - 0.03


def test_a_temperature_is_found() -> None:
    [(slope, intercept)] = Calibrator.fit(*overconfident(20_000, 0), "temperature").parameters
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == 0.0


def test_isotonic_regression_is_measured_on_rows_it_has_not_seen() -> None:
    on_its_own, across = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        stated, correct = random.random(60), (random.random(60) < 0.5).astype(float)
        found = calibrate(stated, correct, method="isotonic")
        on_its_own.append(expected_calibration_error(found.calibrator(stated), correct))
        across.append(found.after.value or 0.0)
    assert np.mean(across) > 2 * np.mean(on_its_own)


def test_honest_confidences_are_left_alone() -> None:
    random = np.random.default_rng(3)
    stated = random.random(5000)
    found = calibrate(stated, (random.random(5000) < stated).astype(float))
    assert found.calibrator.method in ("none", "sigmoid", "temperature")
    assert np.abs(found.calibrator(stated) - stated).max() < 0.03


@pytest.mark.parametrize("method", ["temperature", "sigmoid", "isotonic"])
def test_no_order_is_reversed_and_the_ends_are_finite(method: Any) -> None:
    calibrator = Calibrator.fit(*overconfident(200, 2), method)
    values = calibrator(np.linspace(0, 1, 101))
    assert np.isfinite(values).all()
    assert (np.diff(values) >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize(
    ("stated", "correct", "said"), [([0.5] * 9, [1.0] * 9, "too few"), ([0.5] * 30, [1.0] * 30, "one outcome")]
)
def test_what_can_not_be_calibrated(stated: list[float], correct: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        calibrate(np.array(stated), np.array(correct))


def test_it_is_kept_as_plain_data() -> None:
    stated, correct = overconfident(300, 0)
    found = decide(calibrate(stated, correct, method="isotonic"), stated, correct, target=0.8)
    again = Calibration.from_data(json.loads(json.dumps(found.to_data())))
    assert again == found
    with pytest.raises(DataError, match="not a calibration"):
        Calibration.from_data({"method": "isotonic"})


def test_the_threshold_that_reaches_a_precision() -> None:
    stated, correct = overconfident(500, 0)
    found = decide(calibrate(stated, correct), stated, correct, target=0.9)
    kept = found.calibrator(stated) >= (found.threshold or 0)
    assert correct[kept].mean() >= 0.9
    assert found.reached is not None
    assert found.reached.coverage == pytest.approx(kept.mean())
    assert found.reached.accuracy.low is not None
    assert found.reached.accuracy.low < 0.9
    sure = decide(found, stated, correct, target=0.75, sure=True)
    assert (sure.threshold or 0) > (decide(found, stated, correct, target=0.75).threshold or 0)
    with pytest.raises(DataError, match="no threshold reaches a precision of 1"):
        decide(found, np.array([0.9, 0.8]), np.array([0.0, 1.0]), target=1.0)


def test_pairs_are_answers_or_labels_with_scores() -> None:
    made = [
        Prediction("1", ("a",), {"a": 0.9}, 0.9),
        Prediction("2", ("b",), {"b": 0.6, "c": 0.2}, 0.6),
        Prediction("3", status="failed"),
        None,
        Prediction("5", status="abstained"),
    ]
    gold = [("a",), ("c",), ("a",), ("a",), ("a",)]
    stated, correct = pairs_of(made, gold, several=False)
    assert (stated.tolist(), correct.tolist()) == ([0.9, 0.6], [1.0, 0.0])
    stated, correct = pairs_of(made, gold, several=True)
    assert (stated.tolist(), correct.tolist()) == ([0.9, 0.6, 0.2], [1.0, 0.0, 1.0])


HALF = Calibrator("sigmoid", ((0.0, 0.0),))
SAME = Calibrator("none")


def calibration(calibrator: Calibrator, *, several: bool = False, **more: Any) -> Calibration:
    stated, correct = overconfident(50, 0)
    found = calibrate(stated, correct, several=several)
    return Calibration(calibrator, found.pairs, found.before, found.after, several, **more)


def test_one_label_is_calibrated_and_the_rest_shares_what_is_left() -> None:
    one = Prediction("1", ("a",), {"a": 0.8, "b": 0.1}, 0.8, source={"model": "m"})
    [made] = apply(calibration(HALF), [one])
    assert made.confidence == 0.5
    assert dict(made.scores) == {"a": 0.5, "b": pytest.approx(0.25)}
    assert dict(made.source) == {"model": "m", "calibrated": "sigmoid"}


def test_unsure_answers_are_set_aside_with_what_they_would_be() -> None:
    rows = [
        Prediction("1", ("a",), confidence=0.7),
        Prediction("2", ("a",), confidence=0.69),
        Prediction("3", ("a",)),
        Prediction("4", status="failed", reason="x"),
        Prediction("5", status="abstained", reason="y"),
    ]
    made = list(apply(calibration(SAME, threshold=0.7, target=0.9), rows))
    assert [one.status for one in made] == ["ok", "abstained", "ok", "failed", "abstained"]
    assert made[1].reason == "confidence below the threshold (0.690 < 0.700); it would be: a"
    assert made[2:] == rows[2:]


def test_of_several_labels_each_is_kept_or_not() -> None:
    rows = [
        Prediction("1", ("a",), {"a": 0.6, "b": 0.4}, 0.36),
        Prediction("2", (), {"b": 0.2}, 0.8),
        Prediction("3", (), {}, 1.0),
    ]
    made = list(apply(calibration(SAME, several=True, threshold=0.3), rows))
    assert [one.labels for one in made] == [("a", "b"), (), ()]
    assert made[0].confidence == pytest.approx(0.24)
    made = list(apply(calibration(SAME, several=True, threshold=0.7, target=0.9), rows))
    assert [(one.labels, one.status) for one in made] == [((), "abstained"), ((), "ok"), ((), "ok")]
    assert made[0].reason == "confidence below the threshold (0.600 < 0.700); it would be: a"
    bare = Prediction("4", ("a",))
    made = list(apply(calibration(HALF, several=True), [*rows, bare]))
    assert [one.labels for one in made] == [("a",), (), (), ("a",)]
    assert dict(made[0].scores) == {"a": 0.5, "b": 0.5}
    assert made[3] == bare


def test_the_threshold_with_the_best_f1() -> None:
    stated, correct = np.array([0.9, 0.8, 0.4, 0.3, 0.2]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    assert best_f1(calibration(SAME, several=True), stated, correct, missed=0).threshold == 0.3
    assert best_f1(calibration(SAME, several=True), stated, correct, missed=50).threshold == 0.3
    assert best_f1(calibration(SAME, several=True), stated[:2], correct[:2], missed=0).threshold == 0.9


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    stated, correct = overconfident(400, 5)
    rows = [
        {
            "id": str(n),
            "text": f"text {n}",
            "label": "a",
            "labels": ["a"],
            "scores": {"a": round(float(p), 6)},
            "confidence": round(float(p), 6),
            "status": "ok",
        }
        for n, p in enumerate(stated)
    ]
    write_rows(tmp_path / "labels.jsonl", rows)
    gold = ({"id": str(n), "label": "a" if correct[n] else "b"} for n in range(0, 400, 2))
    write_rows(tmp_path / "gold.jsonl", gold)
    LabelSpace.of(["a", "b"]).save(tmp_path / "space.yaml")
    LabelSpace.of(["a", "b"], multi_label=True).save(tmp_path / "several.yaml")
    return tmp_path


def run(files: Path, *more: str, space: str = "space.yaml") -> int:
    names = [
        "calibrate",
        str(files / "labels.jsonl"),
        "--space",
        str(files / space),
        "--out",
        str(files / "sure.jsonl"),
    ]
    with pytest.raises(SystemExit) as done:
        main([*names, *more])
    return int(done.value.code or 0)


def test_on_the_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--gold", str(files / "gold.jsonl"), "--target-precision", "0.9") == 0
    said = capsys.readouterr().err
    assert "Calibration error on 200 answers: " in said
    assert "measured across folds" in said
    made = list(read_predictions(files / "sure.jsonl"))
    queue = list(read_predictions(files / "sure.queue.jsonl"))
    aside = [one for one in made if one.status == "abstained"]
    assert len(made) == 400
    assert aside == queue
    assert 0 < len(queue) < 400
    assert f"{len(queue)} are for people to label" in said
    rows = (files / "sure.queue.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["text"].startswith("text ")
    first = (files / "sure.jsonl").read_bytes()
    # The same by what was kept, without any gold label.
    assert run(files, "--using", str(files / "sure.jsonl.calibration.json")) == 0
    assert (files / "sure.jsonl").read_bytes() == first


def test_several_labels_on_the_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--gold", str(files / "gold.jsonl"), "--best-f1", space="several.yaml") == 0
    assert "labels with scores" in (said := capsys.readouterr().err)
    assert "Labels are given from a confidence of" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "give --gold"),
        (["--gold", "x", "--using", "y"], "give --gold"),
        (["--gold", "x", "--best-f1"], "several labels"),
        (["--gold", "x", "--sure"], "--target-precision: name one"),
        (["--using", "nowhere.json"], "can't be read"),
    ],
)
def test_what_does_not_go_together(files: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, *more) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_calibration(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("{", "{}", "[]"):
        (files / "other.json").write_text(content)
        assert run(files, "--using", str(files / "other.json")) == 2
        assert "other.json" in capsys.readouterr().err
    assert run(files, "--gold", str(files / "gold.jsonl")) == 0
    assert run(files, "--using", str(files / "sure.jsonl.calibration.json"), space="several.yaml") == 2
    assert "was fitted for one label a text" in capsys.readouterr().err


def test_the_input_is_not_overwritten(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--gold", str(files / "gold.jsonl"), "--out", str(files / "labels.jsonl")) == 2
    assert "write to another file" in capsys.readouterr().err
