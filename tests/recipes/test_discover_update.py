"""The table of `discover_update` from the recorded replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.recipes._discover_llm import Name
from labelspace.recipes.discover_update import DiscoverUpdateConfig, draw, main

CASSETTE = Path(__file__).resolve().parents[1] / "cassettes" / "discover_update.jsonl"
EXPECTED: dict[Name, list[tuple[int, float, int, int]]] = {
    "clinc150": [(500, 0.873, 348, 9), (85, 0.876, 422, 75), (500, 0.880, 425, 78)],
    "bills": [(498, 0.628, 283, 68), (38, 0.642, 309, 68), (498, 0.637, 307, 67)],
}
"""Asked, NMI, right of all, and right of the unseen topics: before, after the migration, and after asking about all."""


@pytest.mark.data
@pytest.mark.parametrize("name", ["clinc150", "bills"])
def test_the_table_comes_from_the_recorded_replies(
    name: Name, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main(DiscoverUpdateConfig(data=data_dir, cassette=CASSETTE, datasets=(name,)))[name]
    rows = [(row.asked, round(row.nmi, 3), *row.right) for row in found.rows.values()]
    assert rows == EXPECTED[name]
    assert all(change.why for change in found.changes.changes)
    assert str(found.changes).splitlines()[1].strip() in capsys.readouterr().out


@pytest.mark.data
def test_no_old_text_is_about_an_unseen_topic(data_dir: Path) -> None:
    texts = draw(data_dir, "clinc150")
    assert not set(texts.gold[:300]) & set(texts.unseen)
    assert sum(topic in texts.unseen for topic in texts.gold[300:]) == 100
    assert len({record.id for record in texts.records}) == 500
    assert all(record.labels is None and not record.metadata for record in texts.records)
