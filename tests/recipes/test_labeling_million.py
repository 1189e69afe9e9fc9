"""The recipe of a million rows, with few: nothing is asked twice, and every row is there in order."""

from __future__ import annotations

import pytest

from labelspace.recipes.labeling_million import LabelingMillionConfig, main


def test_the_second_run_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    figures = main(LabelingMillionConfig(rows=600, concurrency=8))
    assert figures["calls"] == 600
    assert 10 < figures["mb"] < 400
    assert 0 < figures["journal_mb"] < 1
    said = capsys.readouterr().out
    assert "asked" in said
    assert "replayed" in said
