"""Distillation's recipe replays its recorded replies: every text has one, and the figures stated are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.recipes.distill import DistillConfig, label, load, right

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "distill.jsonl"


@pytest.mark.data
@pytest.mark.parametrize(("name", "on_test", "on_train"), [("clinc150", 0.98, 0.98175), ("trec", 0.9733, 0.95925)])
def test_every_label_is_in_the_cassette(data_dir: Path, name: str, on_test: float, on_train: float) -> None:
    config = DistillConfig(data=data_dir, cassette=CASSETTE)
    task = load(config, name)
    labels = label(config, task)
    assert len(labels) == 4300
    assert all(one.status == "ok" for one in labels.values())
    sample = task.test[: config.sample]
    assert right(sample, [labels[record.id].label for record in sample]).mean() == pytest.approx(on_test, abs=1e-4)
    pool = right(task.pool, [labels[record.id].label for record in task.pool])
    assert pool.mean() == pytest.approx(on_train, abs=1e-4)
