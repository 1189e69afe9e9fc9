"""The recipe that times the engine runs, loses no row, and asks nothing on the replay."""

from __future__ import annotations

import pytest

from labelspace.recipes.labeling_throughput import LabelingThroughputConfig, main


def test_every_system_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    rates = main(LabelingThroughputConfig(rows=100, latencies=(0,), concurrency=(8,)))
    assert [name for name, _, _ in rates] == ["bare aiohttp", "engine", "labeler", "replay"]
    assert all(rate > 0 for rate in rates.values())
    assert len(capsys.readouterr().out.splitlines()) == 5
