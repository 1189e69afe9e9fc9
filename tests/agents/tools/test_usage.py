"""Usages: read from the forms that people have, and refused where a tool is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.agents.tools import Tool, ToolSet, Usage, read_usages, write_usages
from labelspace.errors import DataError

SPACE = ToolSet([Tool("weather"), Tool("book")]).space
GOOD = [
    '{"query": "will it rain", "tools": ["weather"]}',
    '{"text": "will it rain", "label": "weather"}',
    '{"text": "will it rain", "labels": ["weather", "weather"]}',
]


@pytest.mark.parametrize("line", GOOD)
def test_forms(tmp_path: Path, line: str) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_text(line + "\n")
    assert read_usages(path, SPACE) == [Usage("will it rain", ("weather",))]


def test_usages_are_read_as_they_were_written(tmp_path: Path) -> None:
    usages = [Usage("will it rain", ("weather",)), Usage("both", ("book", "weather")), Usage("hm", ())]
    assert write_usages(tmp_path / "usage.jsonl", usages) == 3
    assert read_usages(tmp_path / "usage.jsonl", SPACE) == usages


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "a", "tools": ["wether"]}',
         "{}, row 1: the label 'wether' is not in the space 'tools'; did you mean 'weather'?"),
        ('{"query": "a", "tools": "weather"}',
         "{}, row 1: 'tools' is no list; give [] where no tool fits"),
        ('{"query": "a"}', "{}: no row says which tools it needs; give a list under 'tools'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError) as caught:
        read_usages(path, SPACE)
    assert str(caught.value) == message.replace("{}", str(path))
