from __future__ import annotations

import numpy as np
import pytest

from labelspace.finetune.batches import Example, collate, cut, epoch_steps

LENGTHS = [3, 9, 1, 4, 4, 12, 7, 2, 5, 30, 6]


@pytest.mark.parametrize("by_length", [True, False])
@pytest.mark.parametrize("tokens", [1, 16, 1000])
def test_an_epoch_has_every_row_once_in_steps_of_the_size_asked_for(tokens: int, by_length: bool) -> None:
    steps = epoch_steps(LENGTHS, batch_size=4, tokens=tokens, seed=1, epoch=0, by_length=by_length)
    assert sorted(row for step in steps for part in step for row in part) == list(range(11))
    assert sorted(sum(map(len, step)) for step in steps) == [3, 4, 4]
    for part in (part for step in steps for part in step):
        assert len(part) == 1 or max(LENGTHS[row] for row in part) * len(part) <= tokens


def test_the_plan_follows_from_seed_and_epoch() -> None:
    def plan(seed: int, epoch: int) -> list[list[list[int]]]:
        return epoch_steps(LENGTHS, batch_size=2, tokens=50, seed=seed, epoch=epoch)

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1) != plan(2, 1)


def test_steps_by_length_hold_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2000).tolist()

    def padded(by_length: bool) -> int:
        steps = epoch_steps(lengths, batch_size=16, tokens=10**6, seed=0, epoch=0, by_length=by_length)
        return sum(max(lengths[row] for row in part) * len(part) for step in steps for part in step)

    assert padded(True) < 1.05 * sum(lengths) < 1.5 * sum(lengths) < padded(False)


def test_a_row_longer_than_the_budget_stands_alone() -> None:
    assert cut([0, 1, 9], LENGTHS, tokens=20) == [[9], [1, 0]]


def test_collate_pads_on_the_right() -> None:
    batch = collate([Example([5, 6, 7], 1), Example([8], 0)], pad=9)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.targets is not None and batch.targets.tolist() == [1, 0]
    assert batch.words is None


def test_collate_of_words_and_of_rows_of_numbers() -> None:
    batch = collate([Example([5, 6, 7], [2, 0], [0, 2]), Example([8], [1], [0]), Example([4], [], [])], pad=0)
    assert batch.words is not None and batch.targets is not None
    assert [part.tolist() for part in batch.words] == [[0, 0, 1], [0, 2, 0]]
    assert batch.targets.tolist() == [2, 0, 1]
    soft = collate([Example([1], np.array([0.0, 1.0])), Example([1], [0.5, 0.5])], pad=0)
    assert soft.targets is not None and soft.targets.tolist() == [[0.0, 1.0], [0.5, 0.5]]
