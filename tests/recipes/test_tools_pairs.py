"""Requests for two tools each are written again from recorded replies, and no pair of tools is on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.agents.tools import Tool, ToolSet, Usage, read_usages
from labelspace.agents.tools.synthesis import leaks
from labelspace.recipes._tools_pairs import pairs, with_words

CASSETTES = Path(__file__).resolve().parents[1] / "cassettes"


@pytest.mark.data
def test_pairs_are_written_again_from_recorded_replies(data_dir: Path) -> None:
    tools = ToolSet.load(data_dir / "metatool" / "tools.jsonl.gz")
    train = read_usages(data_dir / "metatool" / "train.jsonl.gz")
    taught, held = pairs(tools, train, CASSETTES / "tools_metatool.jsonl")
    assert len(taught) == 2704
    assert len(held) == 418
    assert {len(usage.tools) for usage in (*taught, *held)} == {2}
    assert not {frozenset(usage.tools) for usage in taught} & {frozenset(usage.tools) for usage in held}
    assert not any(leaks(usage.query, name) for usage in (*taught, *held) for name in usage.tools)
    several = read_usages(data_dir / "metatool" / "test_multi.jsonl.gz")
    assert not {usage.query for usage in several} & {usage.query for usage in (*taught, *held)}


def test_without_replies_there_are_none() -> None:
    assert pairs(ToolSet([Tool("a", "b")]), [], None) == ([], [])


def test_tools_are_shown_with_the_words_that_set_their_usage_apart() -> None:
    tools = ToolSet([Tool("weather", "Forecast."), Tool("mail", "Send mail.")])
    usages = [Usage("will it rain in Rome", ("weather",)), Usage("rain or sun", ("weather",)),
              Usage("write to Ann in Rome", ("mail",))]  # fmt: skip
    shown = with_words(tools, usages)
    assert shown["weather"].description == "Forecast. (People say: rain, it, or, sun, will, in)"
    assert shown["mail"].description == "Send mail. (People say: ann, to, write, in, rome)"
