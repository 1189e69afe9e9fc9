"""Distillation's recipe replays its recorded replies: every text has one, and the figures stated are theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelspace.recipes._distill import label, load
from labelspace.recipes.distill import lost, right

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "distill.jsonl"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "on_test", "on_train"),
    [
        ("clinc150", 15000, 0.98, 0.97247),
        ("clinc150_intents", 15000, 0.98333, 0.99027),
        ("trec", 5452, 0.97333, 0.95451),
        ("banking77", 10003, 0.89, 0.88603),
    ],
)
def test_every_label_is_in_the_cassette(data_dir: Path, name: str, count: int, on_test: float, on_train: float) -> None:
    task = load(data_dir, name)
    labels = label(task, cassette=CASSETTE, sample=300)
    assert len(task.pool) == count
    assert len(labels) == count + 300
    assert all(one.status == "ok" for one in labels.values())
    sample = task.test[:300]
    assert right(sample, [labels[record.id].label for record in sample]).mean() == pytest.approx(on_test, abs=1e-4)
    pool = right(task.pool, [labels[record.id].label for record in task.pool])
    assert pool.mean() == pytest.approx(on_train, abs=1e-4)


def test_what_is_lost_is_in_points_with_its_interval() -> None:
    mean, low, high = lost(np.array([0.0] * 90 + [-1.0] * 10))
    assert mean == pytest.approx(-10)
    assert (low, high) == pytest.approx((-16, -5), abs=1.5)
