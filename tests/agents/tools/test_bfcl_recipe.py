"""The BFCL recipe: usage is written again from recorded replies alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.agents.tools import ToolSet
from labelspace.agents.tools.synthesis import leaks
from labelspace.recipes.tools_bfcl import ToolsBfclConfig, read, write_usage

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"


@pytest.mark.data
def test_usage_is_written_again_from_recorded_replies(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data_dir / "bfcl"
    config = ToolsBfclConfig(
        data=folder, replies=CASSETTES / "tools_bfcl.jsonl", company=CASSETTES / "tools_bfcl.company.json"
    )
    tools = ToolSet.load(folder / "tools.jsonl.gz")
    fits = [*read(folder / "test.jsonl.gz"), *read(folder / "test_live.jsonl.gz")]
    usages = write_usage(config, tools, fits)
    assert capsys.readouterr().out == "117 usages written for 64 tools; 351 replies\n"
    written = [name for usage in usages for name in usage.tools]
    assert len(set(written)) == 64
    assert all(written.count(name) >= 2 for name in set(written))
    asked = {item.query for item in fits}
    assert not asked & {usage.query for usage in usages}
    assert not any(leaks(usage.query, name) for usage in usages for name in usage.tools)
