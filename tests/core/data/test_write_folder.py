"""Folders for `datasets`, and text lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.data import RowWriter, read_records, write_rows
from labelspace.errors import DataError

ROWS = [
    {"id": "a", "text": "where is it?", "label": "delivery"},
    {"id": "b", "text": "two\nlines", "label": "refund", "labels": ["refund", "delivery"]},
    {"id": "c", "text": "", "label": None},
]


def test_datasets_loads_the_folder_and_so_do_we(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for _ in range(2):  # the second replaces the first
        assert write_rows(f"{tmp_path}/made/", ROWS) == 3
    loaded = datasets.load_from_disk(str(tmp_path / "made"))
    assert loaded["text"][:] == ["where is it?", "two\nlines", ""]
    assert loaded["label"][:] == ["delivery", "refund", None]
    assert [record.id for record in read_records(tmp_path / "made", label_column="label")] == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="is there already and is no datasets folder; name another"):
        RowWriter(f"{tmp_path}/mine/")


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    rows = (row if row["id"] != "c" else 1 / 0 for row in ROWS)
    with pytest.raises(ZeroDivisionError):
        write_rows(f"{tmp_path}/made/", rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["texts.txt", "texts.txt.gz"])
def test_text_lines_hold_the_texts_alone(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name, ROWS)
    assert [record.text for record in read_records(tmp_path / name)] == ["where is it?", "two lines", ""]
