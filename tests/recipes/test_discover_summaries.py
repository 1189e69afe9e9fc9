"""The table of `discover_summaries` from the recorded replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.recipes._discover_llm import load
from labelspace.recipes.discover_summaries import ENDS, SHORT, TEXTS, DiscoverSummariesConfig, gain, main, summaries
from labelspace.records import Prediction

CASSETTES = Path(__file__).resolve().parents[1] / "cassettes"


def config(data: Path, *names: str) -> DiscoverSummariesConfig:
    return DiscoverSummariesConfig(
        data=data,
        cassette=CASSETTES / "discover_summaries.jsonl",
        truncated=CASSETTES / "discover_llm.jsonl",
        datasets=names,
    )


@pytest.mark.data
def test_the_table_of_bills_comes_from_the_recorded_replies(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = main(config(data_dir, "bills"))
    found = {name: (row.nmi, row.ari, row.f1) for (_, name), row in table.items()}
    assert found[f"{ENDS}, 1"] == pytest.approx((0.617, 0.423, 0.582), abs=6e-4)
    assert found[f"{TEXTS}, 1"] == pytest.approx((0.638, 0.442, 0.623), abs=6e-4)
    assert found[f"{SHORT}, 1"] == pytest.approx((0.637, 0.440, 0.626), abs=6e-4)
    assert found[f"{ENDS}, 2"] == pytest.approx((0.630, 0.432, 0.609), abs=6e-4)
    assert found[f"{TEXTS}, 2"] == pytest.approx((0.631, 0.434, 0.618), abs=6e-4)
    assert "mean over seeds: +0.011 (-0.002 to +0.022, paired)" in capsys.readouterr().out


@pytest.mark.data
def test_the_table_of_ai_arxiv_comes_from_the_recorded_replies(data_dir: Path) -> None:
    rows = main(config(data_dir, "ai_arxiv"))
    assert {(row.labels, row.accuracy) for row in rows.values()} == {(20, 1.0)}
    assert [row.relevance for row in rows.values()] == pytest.approx([0.983] * 3, abs=6e-4)


@pytest.mark.data
def test_summaries_are_short(data_dir: Path) -> None:
    short = summaries(config(data_dir), load(data_dir, "bills"), 1)
    assert len(short) == 500
    assert max(len(said.split()) for said in short) <= 40
    assert sum(len(said.split()) <= 20 for said in short) > 450


def test_the_gain_is_of_what_is_given() -> None:
    gold = ["a", "b"] * 30
    right = [Prediction(str(at), (name,)) for at, name in enumerate(gold)]
    wrong = [Prediction(str(at), (gold[at // 2],)) for at in range(60)]
    value, low, high = gain(gold, [(wrong, right)])
    assert value == pytest.approx(1.0, abs=0.05)
    assert 0.9 < low <= high <= 1.0
    assert gain(gold, [(right, right), (wrong, wrong)]) == (0.0, 0.0, 0.0)
