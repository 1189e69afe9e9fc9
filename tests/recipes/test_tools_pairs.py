"""Requests for two tools each are written again from recorded replies, and no pair of tools is on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.agents.tools import Tool, ToolSet, read_usages
from labelspace.agents.tools.synthesis import leaks
from labelspace.recipes._tools_pairs import pairs

CASSETTES = Path(__file__).resolve().parents[1] / "cassettes"


@pytest.mark.data
def test_pairs_are_written_again_from_recorded_replies(data_dir: Path) -> None:
    tools = ToolSet.load(data_dir / "metatool" / "tools.jsonl.gz")
    taught, held = pairs(tools, CASSETTES / "tools_metatool.jsonl", CASSETTES / "tools_metatool.company.json")
    assert len(taught) > 150
    assert len(held) > 150
    assert {len(usage.tools) for usage in (*taught, *held)} == {2}
    assert not {frozenset(usage.tools) for usage in taught} & {frozenset(usage.tools) for usage in held}
    assert not any(leaks(usage.query, name) for usage in (*taught, *held) for name in usage.tools)
    several = read_usages(data_dir / "metatool" / "test_multi.jsonl.gz")
    assert not {usage.query for usage in several} & {usage.query for usage in (*taught, *held)}


def test_without_replies_there_are_none() -> None:
    assert pairs(ToolSet([Tool("a", "b")]), None, Path("nowhere")) == ([], [])
