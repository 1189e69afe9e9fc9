"""The few-shot recipe: which texts are drawn, and what it makes of SetFit's environment."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from labelspace.errors import ConfigError
from labelspace.recipes.few_shot import FewShotConfig, draw, main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty training texts of each of two labels, and four to score."""
    (tmp_path / "toy").mkdir()
    for split, count in (("train", 80), ("test", 4)):
        rows = [{"text": f"{split} {n}", "label": "ab"[n % 2]} for n in range(count)]
        with gzip.open(tmp_path / "toy" / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return tmp_path


def test_draws_are_balanced_and_differ_by_seed_and_those_of_dev_from_those_of_test(data: Path) -> None:
    config = FewShotConfig(data=data, most=3)
    seen = set()
    for dev in (False, True):
        for seed in (0, 1):
            drawn, asked = draw("toy", 5, seed, config.model_copy(update={"dev": dev}), scored=20)
            assert [row.label for row in drawn] == ["a"] * 5 + ["b"] * 5
            texts = {row.text for row in drawn}
            assert len(texts) == 10 and not texts & {row.text for row in asked}
            assert {row.text.split()[0] for row in asked} == {"train" if dev else "test"}
            assert len(asked) == (20 if dev else 3)
            seen.add(frozenset(texts))
    assert len(seen) == 4
    again, _ = draw("toy", 5, 1, config)
    assert frozenset(row.text for row in again) in seen


def test_what_setfit_says_is_scored_and_kept(data: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho training\necho '{"labels": ["a", "b", "a", "a"], "seconds": 2.5}'\n""")
    python.chmod(0o755)
    config = FewShotConfig(
        data=data, sets=("toy",), shots=(5,), seeds=(0, 1), methods=("setfit",), setfit=python, out=tmp_path / "out"
    )
    assert main(config) == {("toy", 5, "setfit"): [0.75, 0.75]}
    kept = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [(line["seed"], line["accuracy"], line["seconds"]) for line in kept] == [(0, 0.75, 2.5), (1, 0.75, 2.5)]
    assert main(config.model_copy(update={"setfit": None})) == {}
    with pytest.raises(ConfigError, match="failed: ModuleNotFoundError: No module named 'setfit'"):
        main(config.model_copy(update={"setfit": Path(sys.executable)}))
