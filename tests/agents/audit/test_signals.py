"""Every signal of `labelspace audit` alone: classifier, neighbours, annotators, judges; tags, scales, calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from click.testing import CliRunner, Result

from labelspace.cli.audit import command
from labelspace.data import read_records, write_rows
from labelspace.errors import LabelspaceError
from labelspace.space import LabelSpace

WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "ripe", "juicy", "orchard"],
    "sea": ["wave", "harbour", "sail", "tide", "salt", "gull", "anchor"],
    "tools": ["hammer", "saw", "drill", "wrench", "steel", "workshop", "bolt"],
}
NAMES = list(WORDS)
WRONG = {f"r{at}" for at in range(150) if at % 15 == 7}
ACCURACY = {"ann": 0.95, "bob": 0.8, "carl": 0.4, "dora": 0.9}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments], catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows, truth = [], []
    for at in range(150):
        true = NAMES[at % 3]
        said = {
            name: true if generator.random() < right else str(generator.choice([one for one in NAMES if one != true]))
            for name, right in ACCURACY.items()
        }
        label = NAMES[(at + 1) % 3] if f"r{at}" in WRONG else true
        text = " ".join(generator.choice(WORDS[true], 8))
        rows.append({"id": f"r{at}", "text": text, "label": label, "said": said, "heard": "well"})
        truth.append({"id": f"r{at}", "label": true})
    write_rows(tmp_path / "data.jsonl", rows)
    write_rows(tmp_path / "wide.csv", ({"id": row["id"], "text": row["text"], **row["said"]} for row in rows))
    write_rows(tmp_path / "truth.jsonl", truth)
    for name in ACCURACY:
        write_rows(tmp_path / f"{name}.jsonl", ({"id": row["id"], "label": row["said"][name]} for row in rows))
    return tmp_path


def rows_of(folder: Path, name: str = "records.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("options", "evidence"),
    [
        (["--no-neighbours"], {"classifier", "self_confidence"}),
        (["--no-cross-validate"], {"neighbours", "self_confidence"}),
        (["--no-cross-validate", "--no-neighbours", "--annotations", "said"], {"annotators", "consensus"}),
        (["--no-neighbours", "--score", "normalized_margin", "--adjusted"], {"classifier", "normalized_margin"}),
    ],
)
def test_a_signal_alone_puts_the_wrong_labels_first(data: Path, options: list[str], evidence: set[str]) -> None:
    assert call(data / "data.jsonl", *options, "--out", data / "audit").exit_code == 0
    rows = rows_of(data / "audit")
    assert set(rows[0]["evidence"]) == evidence
    assert len({row["id"] for row in rows[:12]} & WRONG) >= 9


def test_any_head_can_be_cross_validated(data: Path) -> None:
    tiny.build_base(data / "base")
    options = ["--head", "ls", "--base", data / "base", "--set", "training.epochs=1", "--folds", 2, "--no-neighbours"]
    assert call(data / "data.jsonl", *options, "--out", data / "audit").exit_code == 0
    assert json.loads((data / "audit" / "report.json").read_text(encoding="utf-8"))["signals"] == ["classifier"]
    assert len(rows_of(data / "audit")) == 150


@pytest.mark.parametrize("wide", [False, True])
def test_annotators_make_labels_and_are_judged(data: Path, wide: bool) -> None:
    file = data / "wide.csv"
    annotators = list(ACCURACY) if wide else [f"{name}={data / f'{name}.jsonl'}" for name in ACCURACY]
    options = [part for name in annotators for part in ("--annotator", name)]
    done = call(file, *options, "--truth", data / "truth.jsonl", "--out", data / "audit")
    assert done.exit_code == 0
    quality = {row["name"]: row["accuracy"] for row in rows_of(data / "audit", "annotators.jsonl")}
    for name, right in ACCURACY.items():
        assert quality[name] == pytest.approx(right, abs=0.12)
    page = (data / "audit" / "label.md").read_text(encoding="utf-8")
    assert "| annotators | 4; two of them agree on" in page
    assert "1 annotator estimated to be right in less than 60%: carl" in page
    truth = {one.id: one.label for one in read_records(data / "truth.jsonl", needs_text=False)}
    suggested = [row["suggested"] == [truth[row["id"]]] for row in rows_of(data / "audit")]
    majority = [row["labels"] == [truth[row["id"]]] for row in rows_of(data / "audit")]
    assert np.mean(suggested) > 0.97 > np.mean(majority)


@pytest.fixture
def judge(data: Path, chat_server: Callable[..., str]) -> tuple[str, list[str]]:
    """Address of a model that is right with 90%, and the questions that it was asked."""
    truth = {one.id: one.label for one in read_records(data / "truth.jsonl", needs_text=False)}
    texts = {one.text: truth[one.id] for one in read_records(data / "data.jsonl")}
    asked: list[str] = []

    def answer(body: dict[str, Any]) -> str:
        question = body["messages"][-1]["content"]
        right = next(f'"{true}"' in question for text, true in texts.items() if text in question)
        against = "wrong?" in question or "changed?" in question
        asked.append(question.rsplit("\n", 1)[-1])
        if "Percent:" not in question:
            return "yes"
        return "90" if right != against else "10"

    return f"{chat_server(answer)}#judge", asked


def test_a_second_model_judges_the_sample(data: Path, judge: tuple[str, list[str]]) -> None:
    audit = data / "audit"
    call(data / "data.jsonl", "--out", audit)
    call("sample", audit, "--size", 60, "--out", data / "sheet.csv")
    by_model = json.loads(call("estimate", audit, "--model", judge[0], "--json").stdout)
    assert by_model == json.loads(call("estimate", audit, "--truth", data / "truth.jsonl", "--json").stdout)
    assert by_model["judged"] == 60


def test_judges_alone_are_asked_in_the_wordings_given(data: Path, judge: tuple[str, list[str]]) -> None:
    model, asked = judge
    options = ["--no-cross-validate", "--no-neighbours", "--model", model, "--wording", "right", "--wording", "change"]
    done = call(data / "data.jsonl", *options, "--truth", data / "truth.jsonl", "--out", data / "audit")
    assert "precision of the flags 100.0% (10 of 10), recall 100.0%" in done.output
    assert len(asked) == 1 + 2 * 150  # one to see whether there are log-probabilities
    judges = json.loads((data / "audit" / "judges.json").read_text(encoding="utf-8"))
    assert judges["judges"] == ["judge (right)", "judge (change)"]
    assert judges["disagreement_by_confidence"][-2] == {"low": 0.9, "high": 0.95, "records": 150, "disagree": 10}
    assert rows_of(data / "audit")[0]["evidence"]["judges"] == pytest.approx(0.1)


def test_near_duplicates_with_different_labels_are_listed(data: Path) -> None:
    rows = [
        {"id": "a", "text": "Ripe plum, ripe pear!", "label": "fruit"},
        {"id": "b", "text": "ripe plum ripe pear", "label": "sea"},
        {"id": "c", "text": "steel bolt", "label": "tools"},
        {"id": "d", "text": "Steel bolt.", "label": "tools"},
    ]
    write_rows(data / "twins.jsonl", [*rows, *({"id": f"x{at}", "text": f"gull {at}", "label": "sea"} for at in "ef")])
    done = call(data / "twins.jsonl", "--folds", 2, "--out", data / "audit")
    assert "2 records have a near-duplicate with another label" in done.output
    found = [(row["group"], row["id"], row["labels"]) for row in rows_of(data / "audit", "duplicates.jsonl")]
    assert found == [(0, "a", ["fruit"]), (0, "b", ["sea"])]


@pytest.mark.parametrize(("tolerance", "wrong"), [(None, 20), (1, 10)])
def test_labels_that_are_a_scale_have_a_tolerance(tmp_path: Path, tolerance: int | None, wrong: int) -> None:
    words = ["awful broke", "bad weak", "okay fine", "good solid", "great superb"]
    generator = np.random.default_rng(1)
    rows, truth = [], []
    for at in range(200):
        star = at % 5
        text = " ".join(generator.choice([*words[star].split() * 3, "box", "item"], 8))
        given = abs(star - 1) if at % 20 == 3 else (star + 3) % 5 if at % 20 == 9 else star
        rows.append({"id": f"s{at}", "text": text, "label": f"{given + 1}"})
        truth.append({"id": f"s{at}", "label": f"{star + 1}"})
    write_rows(tmp_path / "stars.jsonl", rows)
    write_rows(tmp_path / "truth.jsonl", truth)
    LabelSpace.of("12345").save(tmp_path / "space.yaml")
    options = [] if tolerance is None else ["--tolerance", tolerance]
    done = call(
        tmp_path / "stars.jsonl", "--space", tmp_path / "space.yaml", "--truth", tmp_path / "truth.jsonl", *options,
        "--out", tmp_path / "audit",
    )  # fmt: skip
    assert f"{wrong} labels are wrong; precision of the flags 100.0%" in done.output
    assert [row["id"] for row in rows_of(tmp_path / "audit") if row["flagged"] and int(row["id"][1:]) % 20 == 9]
    off_by_one = [row for row in rows_of(tmp_path / "audit") if row["flagged"] and int(row["id"][1:]) % 20 == 3]
    assert bool(off_by_one) == (tolerance is None)


def test_truth_calibrates(data: Path) -> None:
    audit = data / "audit"
    done = call(data / "data.jsonl", "--truth", data / "truth.jsonl", "--calibrate", "--out", audit)
    assert "calibrated on 150 records: about 10 of 150 labels are wrong" in done.output
    chances = [row["probability_wrong"] for row in rows_of(audit)]
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) == pytest.approx(10, abs=2)
    assert call("sample", audit, "--size", 120, "--out", data / "sheet.csv").exit_code == 0
    done = call("estimate", audit, "--truth", data / "truth.jsonl", "--calibrate")
    assert "calibrated on 120 records: about" in done.output
    rows = rows_of(audit)
    assert {row["id"] for row in rows[:8]} <= WRONG
    assert sum(row["probability_wrong"] for row in rows) == pytest.approx(10, abs=4)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    generator = np.random.default_rng(2)
    names, verbs = ["Ann", "Bob", "Cid", "Dee"], ["met", "saw", "rang", "paid"]
    rows, truth = [], []
    for at in range(120):
        tokens = [str(generator.choice(part)) for part in (names, verbs, names)] + ["today", str(at)]
        tags = ["B-who", "O", "B-who", "O", "O"]
        truth.append({"id": f"t{at}", "tokens": tokens, "tags": list(tags)})
        if at % 12 == 5:
            tags[2] = "O"
        rows.append({"id": f"t{at}", "tokens": tokens, "tags": tags})
    for some in (rows, truth):
        some[5]["tokens"] = some[4]["tokens"]
    write_rows(tmp_path / "tokens.jsonl", rows)
    write_rows(tmp_path / "truth.jsonl", truth)
    return tmp_path


def test_tags_from_audit_to_repair_and_back(tagged: Path) -> None:
    audit, data = tagged / "audit", tagged / "tokens.jsonl"
    done = call(data, "--filter", "predicted_neq_given", "--truth", tagged / "truth.jsonl", "--out", audit)
    assert "10 tags are wrong; precision of the flags 100.0% (10 of 10), recall 100.0%" in done.output
    assert "10 of 600 tags are flagged, in 10 of 120 texts" in done.output
    rows = rows_of(audit)
    assert {int(row["id"][1:]) % 12 for row in rows if row["flagged"]} == {5}
    [token] = rows[0]["evidence"]["tokens"]
    assert (token["position"], token["tag"], token["suggested"]) == (2, "O", "B-who")
    assert rows[0]["suggested"] == ["B-who", "O", "B-who", "O", "O"]
    page = (audit / "label.md").read_text(encoding="utf-8")
    assert "| B-who | 230 | 38.3% | 0.0% |" in page
    assert "| near-duplicates | 2 texts, 2 with different tags |" in page

    assert call("sample", audit, "--size", 30, "--out", tagged / "sheet.csv").exit_code == 0
    said = json.loads(call("estimate", audit, "--truth", tagged / "truth.jsonl", "--json").stdout)
    assert said["precision"]["value"] == 1.0
    assert said["strata"][1]["wrong"] == 0

    assert call("apply", data, audit, "--how", "flip", "--out", tagged / "flip.jsonl").exit_code == 0
    assert [one.tags for one in read_records(tagged / "flip.jsonl")] == [
        one.tags for one in read_records(tagged / "truth.jsonl")
    ]
    assert call("undo", tagged / "flip.jsonl", "--out", tagged / "back.jsonl").exit_code == 0
    assert (tagged / "back.jsonl").read_bytes() == data.read_bytes()


def test_given_scores_of_tokens(tagged: Path) -> None:
    scores = np.tile([0.9, 0.1], (600, 1))
    np.save(tagged / "scores.npy", scores[:, ::-1])
    call(tagged / "tokens.jsonl", "--scores", tagged / "scores.npy", "--out", tagged / "audit", "--folds", 2)
    report = json.loads((tagged / "audit" / "report.json").read_text(encoding="utf-8"))
    assert (report["tokens"], report["tags"]) == (600, ["B-who", "O"])
    np.save(tagged / "scores.npy", scores[:10])
    with pytest.raises(LabelspaceError, match=r"10 by 2, not 600 tokens by 2 tags"):
        call(tagged / "tokens.jsonl", "--scores", tagged / "scores.npy", "--out", tagged / "audit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibrate"], "learns from --truth"),
        (["--no-cross-validate", "--no-neighbours"], "there is no signal"),
        (["--annotator", "nobody"], "no record has anything in the column 'nobody'"),
        (["--annotations", "heard"], "'heard' is not what annotators said"),
    ],
)
def test_wrong_use_is_named(data: Path, options: list[str], message: str) -> None:
    with pytest.raises(LabelspaceError, match=message):
        call(data / "data.jsonl", *options, "--out", data / "audit")
