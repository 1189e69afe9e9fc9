"""The recipe of the descent replays its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.errors import DataError
from labelspace.recipes.label_descend import LabelDescendConfig, main

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "label_descend.jsonl"


def test_what_was_not_recorded_is_said(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="lacks"):
        main(LabelDescendConfig(data=data_dir, cassette=tmp_path / "empty.jsonl", texts=20))


@pytest.mark.data
def test_the_table_is_replayed(data_dir: Path) -> None:
    assert main(LabelDescendConfig(data=data_dir, cassette=CASSETTE)) == {
        "all 150 labels at once": {"accuracy": pytest.approx(0.98), "requests": 30, "tokens": 81744},
        "down the tree": {"accuracy": pytest.approx(0.98), "requests": 65, "tokens": 62949},
    }
