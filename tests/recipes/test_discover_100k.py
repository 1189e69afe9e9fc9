"""`discover_100k` on a small mixture: how it is composed, and `labelspace discover` from end to end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from labelspace.recipes._rare_topics import compose
from labelspace.recipes.discover_100k import Discover100kConfig, main


@pytest.mark.data
def test_rare_topics_have_the_sizes_that_are_said_and_no_text_is_twice(data_dir: Path) -> None:
    texts = compose(data_dir, "test", 20_000)
    assert len(texts.texts) == len(set(texts.texts)) == 20_000
    counts = Counter(texts.topics)
    assert {topic: counts[topic] for topic in texts.rare} == texts.rare
    assert Counter(texts.rare.values()) == {10: 20, 4: 20}
    assert all(topic.startswith("clinc150: ") for topic in texts.rare)
    assert 0.4 < sum(topic.startswith("goemotions") for topic in texts.topics) / 20_000 < 0.65
    assert texts.seen([texts.topics.index(topic) for topic in texts.rare], 10) == 1.0
    assert texts.seen([], 10) == 0.0


@pytest.mark.data
def test_discover_reads_a_sample_of_all_documents(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = main(Discover100kConfig(data=data_dir, rows=3_000, sample=250, seeds=(0,)))
    said = capsys.readouterr().out
    # Two batches and the review.
    assert "3,000 documents, 3 requests, 10 labels" in said
    # Of topics of three texts a random sample has one text at least in 23 of 100; ours has more in what is read.
    assert table["test random"][0] < 0.3
    assert table["discover"][0] > table["test random"][0]
