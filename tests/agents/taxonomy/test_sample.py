"""A sample of very many documents holds topics that a random one would miss."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.agents.taxonomy.sample import diverse_sample, middles


def topics(sizes: list[int], *, width: int = 32, noise: float = 0.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1 around one direction for each topic, shuffled; and the topic of each."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((len(sizes), width))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    topic = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = middles[topic] + noise * rng.standard_normal((len(topic), width)) / width**0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), topic


def test_of_100_000_rows_a_topic_of_a_tenth_of_a_percent_is_in_a_sample_of_300() -> None:
    rows, topic = topics([99_900 // 30] * 30 + [100])
    held = [int((topic[diverse_sample(rows, 300, seed=seed)] == 30).sum()) for seed in range(2)]
    assert min(held) >= 2, held
    # At random, three samples in four have none.
    plain = [(topic[np.random.default_rng(seed).choice(len(rows), 300, False)] == 30).sum() for seed in range(40)]
    assert np.mean([count == 0 for count in plain]) > 0.5


@pytest.mark.parametrize("count", [1, 2, 7, 50, 99])
def test_it_draws_as_many_as_asked_and_no_row_twice(count: int) -> None:
    rows, _ = topics([50, 45, 5])
    drawn = diverse_sample(rows, count, seed=1)
    assert len(set(drawn.tolist())) == count
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == diverse_sample(rows, count, seed=1).tolist()
    assert 0 <= drawn.min() <= drawn.max() < 100


def test_all_are_taken_where_there_are_no_more() -> None:
    rows, _ = topics([5, 5])
    assert diverse_sample(rows, 10).tolist() == diverse_sample(rows, 99).tolist() == list(range(10))


def test_copies_and_blank_rows_do_not_stop_it() -> None:
    rows = np.zeros((100, 4), np.float32)
    rows[:50, 0] = 1
    assert len(diverse_sample(rows, 20)) == 20
    assert len(diverse_sample(rows[:50], 20)) == 20
    assert len(diverse_sample(rows[48:52], 2)) == 2


def test_middles_are_of_topics_and_not_of_oddities() -> None:
    rows, topic = topics([400, 400, 12], noise=0.3)
    found = middles(rows, 3, np.random.default_rng(0))
    assert {int(topic[(rows @ middle).argmax()]) for middle in found} == {0, 1, 2}
