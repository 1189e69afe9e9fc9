"""A sample of very many documents holds topics that a random one would miss, also among documents that have no like."""

from __future__ import annotations

import numpy as np
import pytest

from labelspace.agents.taxonomy.rare_sample import middles, near_in_groups, rare_sample


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def topics(
    sizes: list[int], oddities: int, *, width: int = 64, noise: float = 0.8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1 around one direction for each topic, and others that are like no row (topic -1); shuffled."""
    rng = np.random.default_rng(seed)
    directions = unit(rng.standard_normal((len(sizes), width)))
    topic = np.repeat(np.arange(len(sizes)), sizes)
    rows = unit(directions[topic] + noise * rng.standard_normal((len(topic), width)) / width**0.5)
    rows = np.concatenate([rows, unit(rng.standard_normal((oddities, width)))])
    order = rng.permutation(len(rows))
    return rows[order], np.concatenate([topic, np.full(oddities, -1)])[order]


def seen(sample: np.ndarray, topic: np.ndarray, rare: range) -> float:
    return float(np.isin(rare, topic[sample]).mean())


@pytest.mark.parametrize("size", [10_000, 21_000])
def test_rare_topics_are_seen_among_oddities(size: int) -> None:
    # A third of the rows are oddities; ten topics have a tenth of a percent each. The larger is searched in groups.
    rows, topic = topics([size // 30] * 20 + [size // 1000] * 10, size // 3)
    rare = range(20, 30)
    ours = seen(rare_sample(rows, size // 50), topic, rare)
    plain = np.mean(
        [seen(np.random.default_rng(seed).choice(size, size // 50, False), topic, rare) for seed in range(20)]
    )
    assert plain < 0.4
    assert ours >= 0.9


def test_middles_are_of_topics_and_not_of_oddities() -> None:
    rows, topic = topics([400, 400, 12], 300, noise=0.4)
    cell, likeness = middles(rows, 24, np.random.default_rng(0))
    nearest = [int(np.flatnonzero(cell == number)[likeness[cell == number].argmax()]) for number in np.unique(cell)]
    found = topic[nearest]
    assert set(found.tolist()) >= {0, 1, 2}
    assert (found == -1).mean() < 0.6


@pytest.mark.parametrize("count", [1, 2, 7, 50, 99])
def test_it_draws_as_many_as_asked_and_no_row_twice(count: int) -> None:
    rows, _ = topics([50, 30, 5], 15)
    drawn = rare_sample(rows, count, seed=1)
    assert len(set(drawn.tolist())) == count
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == rare_sample(rows, count, seed=1).tolist()
    assert 0 <= drawn.min() <= drawn.max() < 100


def test_all_are_taken_where_there_are_no_more() -> None:
    rows, _ = topics([5, 5], 0)
    assert rare_sample(rows, 10).tolist() == rare_sample(rows, 99).tolist() == list(range(10))


def test_copies_and_blank_rows_do_not_stop_it() -> None:
    rows = np.zeros((100, 4), np.float32)
    rows[:50, 0] = 1
    assert len(rare_sample(rows, 20)) == 20
    assert len(rare_sample(rows[:50], 20)) == 20
    assert len(rare_sample(rows[50:], 20)) == 20


def test_neighbours_in_groups_are_mostly_those_of_the_topic() -> None:
    rows, topic = topics([40] * 60, 0, noise=0.5)
    near = near_in_groups(rows, 5, np.random.default_rng(0))
    assert near.shape == (2400, 5)
    assert (topic[near] == topic[:, None]).mean() > 0.9
    assert all(len(set(row)) == 5 for row in near.tolist())
    copies = np.zeros((1500, 4), np.float32)
    copies[:, 0] = 1
    near = near_in_groups(copies, 5, np.random.default_rng(0))  # two groups, and the second is empty
    assert all(len(set(row)) == 5 for row in near.tolist())
