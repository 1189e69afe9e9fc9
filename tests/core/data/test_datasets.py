"""Folders and Parquet files that the real `datasets` library wrote, read without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labelspace.data import count_rows, read_records
from labelspace.errors import DataError
from labelspace.records import Record, derive_id

MAKE = """
import sys, datasets as d
d.disable_progress_bars()
folder = sys.argv[1]
one = d.Dataset.from_dict(
    {"text": ["a", "b", None], "label": [1, 0, -1], "id": [10, 11, 12], "score": [0.5, None, 1.0]},
    features=d.Features({"text": d.Value("string"), "label": d.ClassLabel(names=["neg", "pos"]),
                         "id": d.Value("int64"), "score": d.Value("float32")}),
)
one.save_to_disk(folder + "/one")
one.select([2, 0]).save_to_disk(folder + "/selected")
one.select([]).save_to_disk(folder + "/empty")
one.to_parquet(folder + "/one.parquet")
splits = d.DatasetDict({"train": one, "test": one.select([1])})
splits.save_to_disk(folder + "/splits", num_shards={"train": 2, "test": 1})
d.DatasetDict({"only": one}).save_to_disk(folder + "/single")
names = d.List(d.ClassLabel(names=["O", "B"]))
d.Dataset.from_dict(
    {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]], "labels": [[1, 0], []]},
    features=d.Features({"tokens": d.List(d.Value("string")), "ner_tags": names,
                         "labels": d.List(d.ClassLabel(names=["x", "y"]))}),
).save_to_disk(folder + "/tokens")
big = d.Dataset.from_dict({"text": [f"text {i}" for i in range(5000)]})
big.save_to_disk(folder + "/big")
"""

ONE = [
    Record("10", "a", ("pos",), metadata={"score": 0.5}),
    Record("11", "b", ("neg",), metadata={"score": None}),
    Record("12", "", None, metadata={"score": 1.0}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("datasets")
    made = tmp_path_factory.mktemp("datasets")
    subprocess.run([sys.executable, "-c", MAKE, str(made)], check=True, capture_output=True)
    return made


@pytest.mark.parametrize(
    ("named", "records"),
    [
        ("one", ONE),
        ("one/", ONE),
        ("one.parquet", ONE),
        ("selected", [ONE[2], ONE[0]]),
        ("splits#train", ONE),
        ("splits/train", ONE),
        ("splits#test", [ONE[1]]),
        ("single", ONE),
        ("single#only", ONE),
        (
            "tokens",
            [
                Record(derive_id("a b"), "a b", ("y", "x"), ("a", "b"), ("O", "B")),
                Record(derive_id("c"), "c", (), ("c",), ("O",)),
            ],
        ),
    ],
)
def test_what_datasets_wrote(folder: Path, named: str, records: list[Record]) -> None:
    source = f"{folder}/{named}"
    assert list(read_records(source)) == records
    assert count_rows(source) == len(records)


def test_many_rows(folder: Path) -> None:
    assert [record.text for record in read_records(folder / "big")] == [f"text {i}" for i in range(5000)]
    assert count_rows(folder / "big") == 5000


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("splits", "the folder has 2 splits; name one of: {folder}/splits#test, {folder}/splits#train"),
        ("splits#dev", "there is no split 'dev'; name one of: {folder}/splits#test, {folder}/splits#train"),
        ("one#train", "this `datasets` folder has no splits; name it as {folder}/one"),
        ("empty", "it has no rows; give at least one record"),
    ],
)
def test_wrong_splits(folder: Path, named: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_records(f"{folder}/{named}"))
    assert str(caught.value) == f"{folder}/{named}: {problem.replace('{folder}', str(folder))}"


def test_damaged_folders(folder: Path) -> None:
    cut = folder / "big" / "data-00000-of-00001.arrow"
    whole = cut.read_bytes()
    try:
        cut.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError) as caught:
            list(read_records(folder / "big"))
        assert str(caught.value).startswith(f"{folder}/big: not a readable `datasets` folder: ")
        cut.unlink()
        with pytest.raises(DataError) as caught:
            list(read_records(folder / "big"))
        assert str(caught.value) == f"{folder}/big: its file {cut.name} is missing; save the dataset again"
    finally:
        cut.write_bytes(whole)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("{", "its state.json is damaged; save the dataset again"),
        ("[]", "its state.json is damaged; save the dataset again"),
        (
            json.dumps({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}),
            "it was saved by an old `datasets`, with its rows in another order;"
            " load it and save it again with datasets 2 or later",
        ),
    ],
)
def test_damaged_state(state: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError) as caught:
        list(read_records(tmp_path))
    assert str(caught.value) == f"{tmp_path}: {problem}"
