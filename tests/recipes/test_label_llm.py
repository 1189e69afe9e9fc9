"""The recipe of LLM labels replays its table from recorded replies, without a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.errors import DataError
from labelspace.recipes.label_llm import LabelLlmConfig, main

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "label_llm.jsonl"


def test_the_rows_of_trec_are_replayed(data_dir: Path, encoder_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = LabelLlmConfig(data=data_dir, cassette=CASSETTE, embedder=f"st:{encoder_folder}", tasks=("trec",))
    table = main(config)["trec"]
    assert table == {
        "no model: the most similar label": pytest.approx(0.71, abs=0.01),  # embeddings differ a little by machine
        "all labels, 10 texts a request": pytest.approx(0.9767, abs=5e-5),
        "with 20 examples": pytest.approx(0.9733, abs=5e-5),
        "with instructions": pytest.approx(0.9667, abs=5e-5),
    }
    said = capsys.readouterr().out
    assert "p = 0.777); not used" in said
    assert "calibration error 0.026 (0.011 to 0.041), 0.005 (0.000 to 0.018) calibrated on 200 dev" in said


def test_what_was_not_recorded_is_said(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    config = LabelLlmConfig(data=data_dir, cassette=tmp_path / "empty.jsonl", embedder="tfidf", tasks=("trec",))
    with pytest.raises(DataError, match="lacks the replies to 300 of 300"):
        main(config)
