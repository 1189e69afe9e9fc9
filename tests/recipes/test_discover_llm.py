"""The table of `discover_llm` from the recorded replies, and what these may not hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from labelspace.cli.run import load_recipe
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.recipes.discover_llm import DiscoverLlmConfig, main

CASSETTES = Path(__file__).resolve().parents[1] / "cassettes"
CASSETTE = CASSETTES / "discover_llm.jsonl"
QUOTING = {"discover_llm.jsonl": 0, "discover_update.jsonl": 0, "judge_gold.jsonl": 0, "discover_summaries.jsonl": 1}
"""Runs of so many words of a text that one reply may have: a summary of one tax bill shares eight with another bill."""
QUOTED = 8
TITLE = "taxonomy of the model, its labels"
EXPECTED = {
    "clinc150": (10, 1.0, 1.0, 1.0, 0.956, 0.939, 0.968),
    "bills": (25, 1.0, 1.0, 1.0, 0.617, 0.427, 0.581),
    "ai_arxiv": (20, 1.0, 1.0, 0.983),
}
"""Labels, coverage, accuracy and relevance by the judge; NMI, ARI and best-match F1 against the gold labels."""


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["clinc150", "bills", "ai_arxiv"])
def test_the_table_comes_from_the_recorded_replies(name: str, data_dir: Path, encoder_folder: str) -> None:
    # Where there is no gold label the clusters are not measured, and long abstracts take long to embed.
    embedder = encoder_folder if len(EXPECTED[name]) > 4 else "tfidf"
    config = DiscoverLlmConfig(data=data_dir, cassette=CASSETTE, embedder=embedder, datasets=(name,))
    table = {method: row for (_, method), row in main(config).items()}
    ours = table.pop(TITLE)
    expected = EXPECTED[name]
    assert (ours.labels, ours.coverage, ours.accuracy, ours.relevance) == pytest.approx(expected[:4], abs=6e-4)
    if len(expected) > 4:
        assert (ours.nmi, ours.ari, ours.f1) == pytest.approx(expected[4:], abs=6e-4)
        others = [row for method, row in table.items() if not method.startswith(TITLE)]
        assert len(others) >= 2
        for row in others:
            assert ours.nmi > row.nmi and ours.ari > row.ari and ours.f1 > row.f1, row


@pytest.mark.data
def test_no_reply_quotes_a_text(data_dir: Path) -> None:
    runs: set[tuple[str, ...]] = set()
    for file in ("clinc150/train", "bills/train", "ai_arxiv/corpus"):
        for record in read_records(data_dir / f"{file}.jsonl.gz"):
            words = re.findall(r"\w+", record.text.casefold())
            runs.update(tuple(words[at : at + QUOTED]) for at in range(len(words) - QUOTED + 1))
    for name, most in QUOTING.items():
        replies = [json.loads(line)["reply"] for line in (CASSETTES / name).read_text(encoding="utf-8").splitlines()]
        for reply in replies:
            words = re.findall(r"\w+", reply.casefold())
            found = [words[at : at + QUOTED] for at in range(len(words)) if tuple(words[at : at + QUOTED]) in runs]
            assert len(found) <= most, " ".join(found[0])


def test_a_cassette_holds_keys_and_replies_alone() -> None:
    entries = [json.loads(line) for line in CASSETTE.read_text(encoding="utf-8").splitlines()]
    assert all(entry.keys() == {"key", "reply"} for entry in entries)
    assert len({entry["key"] for entry in entries}) == len(entries)


def test_config_and_missing_data(tmp_path: Path) -> None:
    _, config = load_recipe("discover_llm", (f"data={tmp_path}",))
    assert config.datasets == ("clinc150", "bills", "ai_arxiv")
    with pytest.raises(DataError, match="data=FOLDER"):
        main(config)
