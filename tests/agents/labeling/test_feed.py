"""Records on their way to a model."""

from __future__ import annotations

import pytest

from labelspace.agents.labeling.feed import Feed
from labelspace.records import Record


def test_who_reads_is_stopped_and_the_rest_is_all_that_is_not_answered() -> None:
    records = [Record(str(n), "" if n == 1 else f"text {n}") for n in range(5)]
    feed = Feed(records)
    assert [next(feed).id, next(feed).id] == ["0", "2"]
    assert list(feed.blanks_before(records[0])) == []
    left = feed.rest()
    with pytest.raises(StopIteration):
        next(feed)
    assert [record.id for record in left] == ["1", "2", "3", "4"]
