"""`labelspace discover` with a model, from the command line: a space in use is updated, and its labels migrate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.taxonomy.changes import Changes
from labelspace.cli import main
from labelspace.data import read_predictions, write_rows
from labelspace.space import LabelSpace

OLD = LabelSpace.from_data(
    {
        "name": "mail",
        "labels": [
            {"name": "Delivery", "description": "Parcels that are late or lost."},
            {"name": "Account", "description": "Passwords and addresses."},
            {"name": "Fax", "description": "Fax machines."},
        ],
    }
)
UPDATED = {
    "score": 60,
    "explanation": "Returns have no label.",
    "suggestions": "Add one.",
    "labels": [
        {"name": "Delivery", "description": "Parcels that are late or lost.", "from": ["Delivery"], "documents": [],
         "why": "", "recheck": False},
        {"name": "Sign-in", "description": "Passwords and codes.", "from": ["Account"], "documents": [],
         "why": "Texts 1 to 3 are on codes.", "recheck": False},
        {"name": "Returns", "description": "Goods that go back.", "from": [], "documents": [1],
         "why": "Texts 4 to 9.", "recheck": False},
    ],
    "dropped": [{"name": "Fax", "why": "Nobody has one."}],
}  # fmt: skip


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def server(chat_server: Callable[..., str], asked: list[dict[str, Any]]) -> str:
    def answer(body: dict[str, Any]) -> str:
        asked.append(body)
        system = body["messages"][0]["content"]
        if system.startswith("You improve"):
            return json.dumps(UPDATED)
        if system.startswith("You name clusters"):
            return json.dumps({"name": f"Cluster {len(asked)}", "description": "What it is."})
        if system.startswith("You compare labels"):
            count = body["messages"][1]["content"].count("</document ")
            return json.dumps({str(number): "A" for number in range(1, count + 1)})
        if system.startswith("You check whether labels"):
            count = body["messages"][1]["content"].count("</document ")
            return json.dumps({str(number): "yes" for number in range(1, count + 1)})
        return "Returns"

    return chat_server(answer)


def test_a_space_in_use_is_updated_and_its_labels_migrate(
    server: str, asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    OLD.save(tmp_path / "old.yaml")
    write_rows(tmp_path / "new.jsonl", ({"id": str(n), "text": f"a new text {n}"} for n in range(9)))
    what = ("discover", tmp_path / "new.jsonl", "--update", tmp_path / "old.yaml", "--out", tmp_path / "space.yaml")
    assert run(*what, "--model", server) == 0
    said = capsys.readouterr().err
    assert "~ Account -> Sign-in: renamed\n    Texts 1 to 3 are on codes.\n+ Returns: added\n    Texts 4 to 9." in said
    assert "- Fax: dropped (asked again)\n    Nobody has one." in said
    assert f"labelspace migrate LABELS DATA --space {tmp_path / 'space.yaml'} --changes" in said
    space = LabelSpace.load(tmp_path / "space.yaml")
    assert space.names == ("Delivery", "Sign-in", "Returns")
    changes = Changes.load(tmp_path / "space.yaml.changes.json")
    assert (changes.old, changes.new) == (OLD.version, space.version)
    [step] = json.loads((tmp_path / "space.yaml.steps.json").read_text())
    assert (step["what"], step["score"], step["explanation"]) == ("update", 60, "Returns have no label.")
    assert len(asked) == 1
    assert run(*what, "--model", server) == 0
    assert len(asked) == 1, "a rerun asked again"

    names = ["Delivery", "Account", "Fax", "Account"]
    write_rows(tmp_path / "data.jsonl", ({"id": f"d{n}", "text": f"text {n}"} for n in range(5)))
    labels = [{"id": f"d{n}", "label": name} for n, name in enumerate(names)]
    write_rows(tmp_path / "labels.jsonl", [*labels, {"id": "d4", "labels": [], "status": "abstained"}])
    carry = ("migrate", tmp_path / "labels.jsonl", tmp_path / "data.jsonl", "--space", tmp_path / "space.yaml")
    out = ("--changes", tmp_path / "space.yaml.changes.json", "--out", tmp_path / "out.jsonl", "--model", server)
    assert run(*carry, *out) == 0
    made = list(read_predictions(tmp_path / "out.jsonl", space=space))
    assert [one.label for one in made] == ["Delivery", "Sign-in", "Returns", "Sign-in", "Returns"]
    assert len(asked) == 3, "only the dropped label and the text that fitted nowhere are asked about"
    assert run(*carry, *out) == 0
    assert len(asked) == 3, "a rerun asked again"


def test_clusters_are_named_by_the_model(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"the {what} is {how} {n}" for what in ("card", "parcel") for how in ("late", "lost") for n in range(9)]
    write_rows(tmp_path / "texts.jsonl", ({"text": text} for text in texts))
    out = ("--out", tmp_path / "space.yaml", "--method", "clusters", "--max-labels", "2", "--model", server)
    assert run("discover", tmp_path / "texts.jsonl", *out) == 0
    space = LabelSpace.load(tmp_path / "space.yaml")
    assert all(name.startswith("Cluster ") for name in space.leaves)
    assert "texts)" in capsys.readouterr().err


def test_a_model_judges_labels_and_a_rerun_asks_nothing(
    server: str, asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    OLD.save(tmp_path / "space.yaml")
    write_rows(tmp_path / "data.jsonl", ({"id": str(n), "text": f"text {n}"} for n in range(25)))
    write_rows(tmp_path / "labels.jsonl", ({"id": str(n), "label": OLD.leaves[n % 3]} for n in range(25)))
    what = ("judge", tmp_path / "labels.jsonl", tmp_path / "data.jsonl", "--space", tmp_path / "space.yaml")
    for _ in range(2):
        assert run(*what, "--model", server, "--sheet", tmp_path / "sheet.csv") == 0
        shown = capsys.readouterr().out
        assert "relevance  100.0%" in shown
        assert "by the model" in shown
    assert len(asked) == 6, "three batches of ten, two questions"


def test_a_judge_is_compared_with_people_per_language_and_label(
    chat_server: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    useless = {"judge": (0, 1, 2, 3), "ann": (0, 1, 2, 10), "bob": (0, 1, 3, 10), "cleo": (0, 1, 2, 11)}

    def answer(body: dict[str, Any]) -> str:
        shown = re.findall(r"^text (\d+)$", body["messages"][1]["content"], re.MULTILINE)
        choice = body["messages"][0]["content"].startswith("You compare labels")
        said = ["A" if choice else "no" if int(one) in useless["judge"] else "yes" for one in shown]
        return json.dumps({str(number): word for number, word in enumerate(said, start=1)})

    OLD.save(tmp_path / "space.yaml")
    languages = {n: "en" if n < 10 else "de" for n in range(20)}
    write_rows(
        tmp_path / "data.jsonl", ({"id": str(n), "text": f"text {n}", "language": languages[n]} for n in range(20))
    )
    write_rows(tmp_path / "labels.jsonl", ({"id": str(n), "label": OLD.leaves[n % 2]} for n in range(20)))
    what = ("judge", tmp_path / "labels.jsonl", tmp_path / "data.jsonl", "--space", tmp_path / "space.yaml")
    assert run(*what, "--sheet", tmp_path / "sheet.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "sheet.jsonl").read_text().splitlines()]
    sheets: list[object] = []
    for name in ("ann", "bob", "cleo"):
        for row in rows:
            row["answer"] = (
                ("no" if int(row["id"]) in useless[name] else "yes") if row["question"] != "accuracy" else ""
            )
        write_rows(tmp_path / f"{name}.csv", rows)
        sheets += ["--people", tmp_path / f"{name}.csv"]
    how = ("--model", f"{chat_server(answer)}#tiny", "--by", "language")
    assert run(*what, *sheets, *how, "--json", tmp_path / "found.json") == 0
    shown = capsys.readouterr().out
    assert "kappa of relevance (20 items, 3 people): people 0.583, judge and person 0.688" in shown
    assert "language en: 90.0% the same, kappa 0.783 (n=10)" in shown
    assert "people, language de: kappa 0.259 (n=10)" in shown
    [found] = json.loads((tmp_path / "found.json").read_text())["agreement"]
    # By hand. Three people agree on all but two texts of each group, where two of them do: 26 of 30 pairs.
    assert found["fleiss"] == pytest.approx((26 / 30 - 0.68) / 0.32)
    assert found["judge"] == found["majority"] == pytest.approx((0.9 - 0.68) / 0.32)
    assert found["people_by"] == {
        "label": {
            "Delivery": [10, pytest.approx((26 / 30 - (7**2 + 23**2) / 900) / (1 - (7**2 + 23**2) / 900))],
            "Account": [10, pytest.approx((26 / 30 - 26 / 36) / (1 - 26 / 36))],
        },
        "language": {
            "en": [10, pytest.approx((26 / 30 - 0.58) / 0.42)],
            "de": [10, pytest.approx((26 / 30 - 0.82) / 0.18)],
        },
    }
    assert found["by"] == {
        "label": {
            "Delivery": [10, 0.9, pytest.approx((0.9 - 0.62) / 0.38)],
            "Account": [10, 0.9, pytest.approx((0.9 - 0.74) / 0.26)],
        },
        "language": {"en": [10, 0.9, pytest.approx((0.9 - 0.54) / 0.46)], "de": [10, 0.9, 0.0]},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--start", "a.yaml", "--update", "b.yaml"), "give one"),
        (("--start", "a.yaml"), "--start is for a model"),
        (("--update", "a.yaml", "--method", "clusters"), "--update is for a model"),
        (("--candidates", "2"), "--candidates is for a model"),
        (("--update", "nowhere.yaml", "--model", "http://127.0.0.1:9/v1#m"), "nowhere.yaml: no such label space"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "texts.jsonl", ({"text": f"text {n}"} for n in range(5)))
    assert run("discover", tmp_path / "texts.jsonl", "--out", tmp_path / "space.yaml", *options) == 2
    assert message in capsys.readouterr().err
