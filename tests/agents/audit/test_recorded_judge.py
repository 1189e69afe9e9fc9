"""A real LLM's recorded judgements of 200 film reviews: the requests are still the same, and so is the ranking."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from labelspace.llm.recorded import RecordedModel
from labelspace.recipes.audit_imdb import AuditImdbConfig, draw, judge

CASSETTE = Path(__file__).resolve().parents[2] / "cassettes" / "audit_imdb.jsonl"


def test_recorded_judgements_are_found_and_rank_the_errors(data_dir: Path) -> None:
    with gzip.open(data_dir / "imdb_label_errors" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    drawn = [rows[at] for at in draw(rows, AuditImdbConfig())]
    said = judge(drawn, RecordedModel(CASSETTE))
    assert not np.isnan(said.right).any(), "the prompts have changed since the cassette was recorded"
    error = [row["votes"]["given"] < 3 for row in drawn]
    assert round(roc_auc_score(error, -said.mean), 3) == 0.843
