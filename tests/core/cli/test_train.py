"""`labelspace train` from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.cli.train import EPILOG
from labelspace.finetune.store import load_classifier, read_model

SPACE = "labels: [money, delivery, account, other topics]\n"


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, arguments)])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def rows(count: int = 20):
    for number in range(count):
        for thing, label in (("refund", "money"), ("parcel", "delivery"), ("password", "account")):
            yield {"id": f"{label}-{number}", "text": f"{thing} please {number}", "label": label}


def write(name: str, data) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    return tmp_path


def test_a_model_is_trained_measured_and_written(folder, capsys) -> None:
    write(
        "data.jsonl", [*rows(), {"id": "b", "text": " ", "label": "money"}, {"id": "n", "text": "who", "label": None}]
    )
    code, out, err = run(capsys, "data.jsonl", "--space", "space.yaml", "--out", "model", "--dev-fraction", "0.3")
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert lines[0] == "left out: 1 blank, 1 without a label"
    assert lines[1] == "1 of 4 labels have no text and will never be given: other topics"
    assert lines[2].startswith("held out: ")
    assert "accuracy 1.000" in lines[2]
    assert lines[3] == "a linear head for 3 labels, trained on 60 texts; written to model"
    assert lines[4] == "Next: labelspace predict model NEW_DATA --out predictions.jsonl"
    card = read_model("model")["card"]
    assert card["data"] == {
        "source": "data.jsonl",
        "texts": 60,
        "left_out": {"blank": 1, "without a label": 1},
        "labels": {"money": 20, "delivery": 20, "account": 20},
    }
    assert card["held_out"]["accuracy"] == 1.0
    assert card["settings"]["embedder"] == "tfidf"
    (made,) = load_classifier("model").predict(["a parcel"])
    assert made.label == "delivery"


def test_labels_of_a_machine_count_by_their_confidence(folder, capsys) -> None:
    made = [{**row, "labels": [row["label"]], "confidence": 0.9, "status": "ok"} for row in rows(8)]
    wrong = [
        {"id": f"w{at}", "text": f"refund please {at}", "label": "account", "labels": ["account"], "confidence": 0.2}
        for at in range(30)
    ]
    aside = {"id": "s", "text": "hm", "label": None, "labels": [], "status": "abstained"}
    write("labels.jsonl", [*made, *wrong, aside])
    arguments = ["labels.jsonl", "--space", "space.yaml", "--dev-fraction", "0"]
    answers = {}
    for name, options in (("weighed", []), ("alike", ["--no-weigh"]), ("sure", ["--min-confidence", "0.5"])):
        code, _, err = run(capsys, *arguments, "--out", name, *options)
        assert code == 0
        assert ("30 not sure enough" in err) == (name == "sure")
        assert "held out" not in err
        answers[name] = next(load_classifier(name).predict(["refund please"])).scores
    assert answers["alike"]["money"] < answers["weighed"]["money"] < answers["sure"]["money"]
    assert next(iter(answers["sure"])) == "money"


def test_probabilities_of_labels_are_learned(folder, capsys) -> None:
    told = {"money": 0.75, "account": 0.25}
    write("data.jsonl", [{**row, **({"label": told} if row["label"] == "money" else {})} for row in rows(8)])
    arguments = ["data.jsonl", "--space", "space.yaml", "--dev-fraction", "0"]
    code, _, err = run(capsys, *arguments, "--out", "soft", "--soft")
    assert code == 0, err
    assert "trained on 24 texts, 8 of them with probabilities" in err
    assert run(capsys, *arguments, "--out", "hard")[0] == 0
    found = {name: next(load_classifier(name).predict(["refund please"])).scores for name in ("soft", "hard")}
    assert found["soft"]["account"] > found["hard"]["account"] + 0.05


def test_scores_of_a_labeling_run_are_learned_but_not_against_a_label_set_right(folder, capsys) -> None:
    unsure = {"money": 0.6, "account": 0.4}
    data = [{**row, "scores": unsure if row["label"] == "money" else {row["label"]: 1.0}} for row in rows(8)]
    data.append({"id": "set-right", "text": "refund my card", "label": "delivery", "scores": unsure})
    write("data.jsonl", data)
    arguments = ["--space", "space.yaml", "--dev-fraction", "0", "--soft"]
    code, _, err = run(capsys, "data.jsonl", *arguments, "--out", "soft")
    assert code == 0, err
    assert "1 labels are not what their probabilities say, and are learned as they stand" in err
    assert "trained on 25 texts, 24 of them with probabilities" in err
    table = ["id,text,label,scores", *(f'{row["id"]},{row["text"]},{row["label"]},"{cell(row)}"' for row in data)]
    Path("data.csv").write_text("\n".join(table) + "\n")
    assert run(capsys, "data.csv", *arguments, "--out", "csv")[0] == 0
    soft, csv = (next(load_classifier(name).predict(["refund please"])).scores for name in ("soft", "csv"))
    assert csv == pytest.approx(soft)
    assert 0.2 < soft["account"] < soft["money"]


def cell(row) -> str:
    return json.dumps(row["scores"]).replace('"', '""')


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "--soft, and no text has probabilities that agree with its label"),
        ({"money": -1}, "has -1 for the label 'money'"),
        ({"money": 0.5, "weather": 0.5}, "'weather'"),
    ],
)
def test_probabilities_that_can_not_be_learned(folder, capsys, scores, message: str) -> None:
    write("data.jsonl", [{**row, **({"scores": scores} if scores else {})} for row in rows(4)])
    code, _, err = run(capsys, "data.jsonl", "--space", "space.yaml", "--out", "model", "--soft")
    assert code != 0
    assert message in err
    assert not Path("model").exists()


def test_without_a_space_the_labels_of_the_data_make_one(folder, capsys) -> None:
    write("data.jsonl", rows(4))
    assert run(capsys, "data.jsonl", "--out", "single", "--dev-fraction", "0")[0] == 0
    assert load_classifier("single").label_space.names == ("account", "delivery", "money")
    several = [{**row, "label": [row["label"], "question"][: 1 + at % 2]} for at, row in enumerate(rows(6))]
    write("several.jsonl", several)
    assert run(capsys, "several.jsonl", "--out", "several", "--dev-fraction", "0")[0] == 0
    assert load_classifier("several").label_space.multi_label


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([{"text": "a", "label": "money"}] * 2, [], "fewer than two labels to tell apart: only 'money' in 2 texts"),
        ([{"text": " ", "label": "money"}], [], "no row can be trained on: 1 blank"),
        ([{"text": "a", "label": None}], [], "no row can be trained on: 1 without a label"),
        ([{"text": "a", "label": "money"}, {"text": "b", "label": "mony"}], [], "row 2: "),
        ([{"text": "a"}, {"text": "b"}], [], "no row can be trained on: 2 without a label"),
        (
            [{"text": "a", "label": "money", "confidence": 0.1}, {"text": "b", "label": "account", "confidence": 0.2}],
            ["--min-confidence", "0.5"],
            "no row can be trained on: 2 not sure enough",
        ),
    ],
)
def test_what_can_not_be_learnt_from_is_refused(folder, capsys, data, options, message: str) -> None:
    write("data.jsonl", data)
    code, out, err = run(capsys, "data.jsonl", "--space", "space.yaml", "--out", "model", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("model").exists()


def test_a_label_with_one_text_is_remarked(folder, capsys) -> None:
    write("data.jsonl", [*rows(4), {"text": "who are you", "label": "other topics"}])
    code, _, err = run(capsys, "data.jsonl", "--space", "space.yaml", "--out", "model", "--dev-fraction", "0")
    assert code == 0
    assert "1 labels have a single text, too few to learn or to measure: other topics" in err


def test_a_folder_that_is_no_model_is_kept(folder, capsys) -> None:
    write("data.jsonl", rows(4))
    Path("diary").mkdir()
    Path("diary/today.txt").write_text("dear diary")
    code, _, err = run(capsys, "data.jsonl", "--space", "space.yaml", "--out", "diary")
    assert code == 2
    assert "is there already and is no model; name another folder" in err


def test_the_example_of_the_help_runs(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = shlex.split(EPILOG.strip().splitlines()[-1])
    assert command[:2] == ["labelspace", "train"]
    code, _, err = run(capsys, *command[2:])
    assert code == 0
    assert "a linear head for 18 labels, trained on 632 texts; written to model" in err


def test_a_search_takes_what_does_best_on_the_texts_held_out(folder, capsys) -> None:
    write("data.jsonl", rows())
    code, _, err = run(
        capsys, "data.jsonl", "--out", "model", "--dev-fraction", "0.3", "--try", "C=[1e-4, 30]", "--try", "words=[0]"
    )
    assert code == 0, err
    assert err.startswith("search: 2 choices of settings, each scored on the texts that are held out\n  1.0000  C=")
    assert "by which the settings were chosen: accuracy 1.000" in err
    card = read_model("model")["card"]
    best, worst = card["search"]
    assert best["score"] >= worst["score"]
    assert card["settings"]["C"] == best["settings"]["C"]
    assert not list(Path().glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--try", "depth=[1]"], "LinearHead has no parameter 'depth'"),
        (["--try", "C=3"], "names no values to try"),
        (["--search", "--dev-fraction", "0"], "needs texts to score settings on"),
    ],
)
def test_a_search_that_cannot_be_is_refused(folder, capsys, arguments, message) -> None:
    write("data.jsonl", rows(4))
    code, _, err = run(capsys, "data.jsonl", "--out", "model", *arguments)
    assert code == 2
    assert message in err
    assert not Path("model").exists()
