from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.baselines import GzipNeighbour
from labelspace.metrics import macro_f1

TEXTS = ["the cat sat on the mat", "dogs bark at night", "the cat sat on the hat", "stocks fell sharply today"]


def distance(a: str, b: str) -> float:
    """As the paper's listing has it."""
    lengths = [len(gzip.compress(text.encode())) for text in (a, b, f"{a} {b}")]
    return (lengths[2] - min(lengths[:2])) / max(lengths[:2])


@pytest.mark.parametrize("query", ["the cat sat on a mat", "dogs bark", "stocks rose today", "", "the cat sat on the"])
def test_the_nearest_is_that_of_the_listing_and_the_first_of_equals(query: str) -> None:
    expected = min(range(4), key=lambda i: distance(query, TEXTS[i]))
    assert GzipNeighbour().fit(TEXTS, "abcd").nearest([query]) == [expected]


def test_ties_go_to_the_first() -> None:
    assert GzipNeighbour().fit(["same text"] * 3, [["x"], ["y"], []]).predict(["same text"]) == [["x"]]


def test_what_can_not_be_asked() -> None:
    with pytest.raises(ConfigError, match="call fit"):
        GzipNeighbour().predict(["a"])
    with pytest.raises(DataError, match="2 texts and 1 labels"):
        GzipNeighbour().fit(["a", "b"], ["x"])


@pytest.mark.data
def test_hate_speech(data_dir: Path) -> None:
    """The first texts of PTEC's data; the whole of it (.13258) takes a minute, see the recipe ptec_hatespeech."""

    def read(split: str) -> list[dict[str, Any]]:
        with gzip.open(data_dir / "ptec_hatespeech" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def prompts(rows: list[dict[str, Any]]) -> list[str]:
        end = "This message classifies into the following types of hate speech:"
        return [f"Title: {row['title']} Message: {row['text']} {end}" for row in rows]

    train, test = read("train"), read("test")[:24]
    found = GzipNeighbour().fit(prompts(train), [row["labels"] for row in train]).predict(prompts(test))
    assert macro_f1([row["labels"] for row in test], found) == pytest.approx(0.11862990810359231, abs=1e-9)
