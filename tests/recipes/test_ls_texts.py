"""Label-supervised texts: the thresholds, and the folds that settings are chosen on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from labelspace.cli.run import load_recipe
from labelspace.errors import DataError
from labelspace.recipes.ls_texts import best_thresholds, main, splits


def test_thresholds_have_the_highest_f1_of_each_label() -> None:
    chances = np.array([[0.9, 0.4], [0.6, 0.3], [0.5, 0.2], [0.1, 0.8]])
    # a: right at 0.9 and 0.5, so that three answers have F1 4/5; b: never right above 0.3, where F1 is 2/4
    found = best_thresholds(chances, [["a"], ["b"], ["a"], []], ["a", "b"])
    assert found.tolist() == [0.5, 0.3]


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
