"""The LLM judge against people's labels, from the recorded replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.recipes._discover_llm import load
from labelspace.recipes.judge_gold import JudgeGoldConfig, Level, draw, main

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "judge_gold.jsonl"


@pytest.mark.data
def test_the_table_comes_from_the_recorded_replies(data_dir: Path) -> None:
    table = main(JudgeGoldConfig(data=data_dir, cassette=CASSETTE))
    kappas = {f"{name} {level}": found.kappa for (name, level), found in table.items()}
    assert kappas == pytest.approx(
        {"clinc150 topics": 0.974, "clinc150 leaves": 0.995, "bills topics": 0.844, "bills leaves": 0.840}, abs=6e-4
    )
    bills = table["bills", "topics"]
    assert bills.interval == pytest.approx((0.798, 0.883), abs=6e-4)
    assert bills.by_label["Law and Crime"].kappa == pytest.approx(0.529, abs=6e-4)
    assert sum(one.items for one in bills.by_label.values()) == 500


@pytest.mark.data
@pytest.mark.parametrize("level", ["topics", "leaves"])
def test_what_is_shown_holds_peoples_label_or_none_of_its_topic(data_dir: Path, level: Level) -> None:
    texts = load(data_dir, "bills")
    gold = dict(zip((one.id for one in texts.records), texts.leaves, strict=True))
    items, kinds, topics = draw(texts, level, 60)
    firsts = 0
    for item, kind, topic in zip(items, kinds, topics, strict=True):
        own = topic if level == "topics" else gold[item.record.id].replace(" > ", ": ").replace("_", " ")
        assert (item.assigned == own) == (kind != "neither")
        assert item.other.startswith(topic) == (kind == "sibling")
        firsts += item.assigned_first
    assert 0.35 < firsts / len(items) < 0.65
    assert {"neither"} < set(kinds)
