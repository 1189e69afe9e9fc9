"""The made-up space of fifty labels: what is promised comes true, and in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.cli.run import load_recipe
from labelspace.errors import DataError
from labelspace.finetune.conformal import coverage_interval
from labelspace.recipes.conformal_coverage import ConformalCoverageConfig, combinations, main, make_up


def test_fifty_labels(capsys: pytest.CaptureFixture[str]) -> None:
    found = combinations(ConformalCoverageConfig(most_training=600), "fifty", *make_up(0), embedder="tfidf")
    assert len(found) == 6
    for way, observed in found.items():
        low, high = coverage_interval(float(way.split()[-1]), calibration=2000, test=2000)
        assert low <= observed <= high, way
    lines = capsys.readouterr().out.splitlines()
    assert all(float(line.split()[-1]) < 10 for line in lines) and "!" not in "".join(lines)


def test_config_and_missing_data(tmp_path: Path) -> None:
    _, config = load_recipe("conformal_coverage", (f"data={tmp_path}",))
    assert config.coverages == (0.8, 0.9, 0.95)
    with pytest.raises(DataError, match="data=FOLDER"):
        main(config)
