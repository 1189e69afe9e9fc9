"""The pipeline as a user runs it: from the command line, over real files, twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelspace import LabelSpace, load_classifier
from labelspace.cli import main
from labelspace.data import read_predictions, read_records


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["run", "pipeline", *arguments])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the sample data, as `make quickstart` makes it."""
    out = tmp_path_factory.mktemp("run") / "sample"
    assert run(f"out={out}") == 0
    return out


def test_everything_that_the_summary_names_is_there(finished: Path) -> None:
    space = LabelSpace.load(finished / "space.yaml")
    assert 5 <= len(space.leaves) <= 60
    labels = list(read_predictions(finished / "labels.jsonl", space=space))
    assert len(labels) == 634
    assert [(one.record_id, one.reason) for one in labels if one.status != "ok"] == [
        ("msg-0138", "empty text"),
        ("msg-0403", "empty text"),
    ]
    assert [one.record_id for one in labels] == [one.id for one in read_records("sample:support")]
    reports = {path.stem: json.loads(path.read_text()) for path in (finished / "reports").glob("*.json")}
    assert set(reports) == {"labels", "classifier", "agreement"}
    assert reports["labels"]["kind"] == "discovered"
    assert reports["labels"]["rows"]["scored"] == 632
    assert 80 <= reports["agreement"]["rows"]["scored"] <= 180
    prediction = next(load_classifier(finished / "model").predict(["where is my parcel?"]))
    assert prediction.label in space.leaves


def test_the_same_command_does_nothing_twice(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name not in ("config.yaml", ".lock")
    }
    assert run(f"out={finished}") == 0
    told = capsys.readouterr()
    assert told.err.count("done before, kept") == 5
    assert "labels.jsonl       634 records: 632 labelled, 2 set aside, 0 failed" in told.out
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_a_changed_setting_redoes_what_it_affects(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"out={finished}", "held_out=0.3") == 0
    told = capsys.readouterr().err
    assert [
        name for name in ("discover", "label", "train", "predict", "evaluate") if f"{name}: done before" in told
    ] == [
        "discover",
        "label",
    ]


def test_a_given_space_is_used_and_scored_by_its_names(tmp_path: Path) -> None:
    records = [record for record in read_records("sample:support") if record.labels][:120]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"text": one.text, "intent": one.label}) + "\n" for one in records))
    LabelSpace.of(sorted({one.label for one in records if one.label})).save(tmp_path / "space.yaml")
    assert run(f"data={data}", f"space={tmp_path / 'space.yaml'}", f"out={tmp_path / 'run'}") == 0
    report = json.loads((tmp_path / "run" / "reports" / "labels.json").read_text())
    assert report["kind"] == "single"
    assert report["rows"]["scored"] == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data=-",), "labelspace: a run reads its data more than once, which standard input can't; name a file"),
        (("data=none.jsonl",), "labelspace: none.jsonl: no such file"),
        (("levels=3",), "labelspace: {configs}/pipeline.yaml: levels: input should be 1 or 2, not 3"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import labelspace.configs

    assert run(f"out={tmp_path}", *arguments) == 2
    wanted = message.format(configs=Path(str(labelspace.configs.__file__)).parent)
    assert capsys.readouterr().err.splitlines()[-1].startswith(wanted)


@pytest.mark.slow
@pytest.mark.data
def test_real_text_goes_through(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "bills" / "train.jsonl.gz"
    assert run(f"data={source}", f"out={tmp_path / 'run'}", "levels=2") == 0
    report = json.loads((tmp_path / "run" / "reports" / "labels.json").read_text())
    assert report["rows"]["scored"] == 500
    assert report["measures"]["nmi"]["all_rows"]["value"] > 0.3
