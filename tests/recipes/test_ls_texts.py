"""Label-supervised texts: the folds that settings are chosen on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from labelspace.cli.run import load_recipe
from labelspace.errors import DataError
from labelspace.recipes.ls_texts import main, splits


def test_a_quarter_is_held_out_where_there_is_no_dev(tmp_path: Path) -> None:
    (tmp_path / "banking77").mkdir()
    rows = [json.dumps({"text": f"text {number}", "label": "ab"[number % 2]}) for number in range(20)]
    with gzip.open(tmp_path / "banking77" / "train.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    _, config = load_recipe("ls_texts", (f"data={tmp_path}", "dev=true"))
    train, dev, test = splits("banking77", config)
    assert (len(train), len(dev), test) == (15, 5, [])
    assert {record.text for record in train + dev} == {f"text {number}" for number in range(20)}
    with pytest.raises(DataError, match="data=FOLDER"):
        main(config.model_copy(update={"sets": ("clinc150",)}))
