"""Benchmark stability: lines, crossings and rankings by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.agents.audit.stability import benchmark_stability
from labelspace.errors import DataError

# 10 items; the last two labels are wrong. Big learns the noise; small does not.
ORIGINAL = ["a"] * 8 + ["a", "a"]
CORRECTED = ["a"] * 8 + ["b", "b"]
BIG = ["a"] * 8 + ["a", "a"]
SMALL = ["a"] * 6 + ["b", "b"] + ["b", "b"]


def test_ranking_turns_by_correction() -> None:
    found = benchmark_stability({"big": BIG, "small": SMALL}, ORIGINAL, CORRECTED)
    assert found.share == 0.2
    assert found.models[0].accuracy(0.2, corrected=False) == pytest.approx(np.mean(np.array(BIG) == ORIGINAL))
    assert found.models[1].accuracy(0.2, corrected=True) == pytest.approx(np.mean(np.array(SMALL) == CORRECTED))
    assert found.ranking(corrected=False) == ("big", "small")
    # On corrected labels big falls as 1 - p and small rises as 0.75 + 0.25 p: they meet at p = 0.2.
    (cross,) = found.crossings
    assert (cross.better_before, cross.better_after, cross.corrected) == ("big", "small", True)
    assert cross.share == pytest.approx(0.2)
    assert found.ranking(0.1, corrected=True) == ("big", "small")
    assert found.ranking(0.3, corrected=True) == ("small", "big")
    lines = str(found).split("\n")
    assert lines[4].split()[-6:] == ["0.0%", "5.0%", "10.0%", "20.0%", "30.0%", "50.0%"]
    assert lines[5].split() == ["big", "1.0000", "0.9500", "0.9000", "0.8000", "0.7000", "0.5000"]
    assert lines[6].split() == ["small", "0.7500", "0.7625", "0.7750", "0.8000", "0.8250", "0.8750"]
    assert "from 20.0% wrong labels on, small is ahead of big (corrected)" in str(found)


def test_lines_are_the_expectation_of_leaving_right_items_out() -> None:
    generator = np.random.default_rng(0)
    original = generator.choice(list("abc"), 3000)
    corrected = np.where(generator.random(3000) < 0.1, "d", original)
    said = np.where(generator.random(3000) < 0.7, corrected, generator.choice(list("abcd"), 3000))
    found = benchmark_stability({"m": said.tolist()}, original.tolist(), corrected.tolist())
    wrong = original != corrected
    right_kept = generator.choice(np.flatnonzero(~wrong), wrong.sum(), replace=False)
    kept = np.concatenate([np.flatnonzero(wrong), right_kept])
    assert found.models[0].accuracy(0.5, corrected=True) == pytest.approx((said == corrected)[kept].mean(), abs=0.04)


def test_nothing_corrected_is_an_error() -> None:
    with pytest.raises(DataError, match="none or all"):
        benchmark_stability({"m": ORIGINAL}, ORIGINAL, ORIGINAL)
    with pytest.raises(DataError, match="1 predictions for 10 items"):
        benchmark_stability({"m": ["a"]}, ORIGINAL, CORRECTED)
