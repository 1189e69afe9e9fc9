"""Which texts are chosen: informative ones, and not only those that a wrong label would spoil."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from labelspace.agents.budget.acquire import choose, informativeness, robust_distribution


def test_informativeness_is_one_less_the_margin() -> None:
    assert informativeness(np.ones((3, 1))).tolist() == [1, 1, 1], "of a single label, nothing tells texts apart"
    chances = np.array([[0.5, 0.5, 0.0], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    assert informativeness(chances) == pytest.approx([1.0, 0.5, 0.0])
    assert informativeness(np.array([[0.9, 0.5], [1.0, 0.1]]), multi_label=True) == pytest.approx([1.0, 0.2])


@pytest.mark.parametrize("wrong", [0, 1, 3, 5])
def test_the_robust_draw_is_the_best_answer_to_the_worst_labels(wrong: int) -> None:
    gains = np.array([0.9, 0.8, 0.75, 0.5, 0.3, 0.2, 0.05, 0.01])
    drawn = robust_distribution(gains, wrong)
    assert drawn.sum() == pytest.approx(1)
    kept = np.sort(drawn * gains)[: len(gains) - wrong].sum()  # the adversary spoils the most valuable
    # The game as a linear program: max over p of the sum less the m largest, which is min over t of m t + sum (x - t)+.
    count = len(gains)
    cost = np.concatenate([-gains, [wrong], np.ones(count)])
    above = np.hstack([np.diag(gains), -np.ones((count, 1)), -np.eye(count)])
    found = linprog(
        cost,
        A_ub=above,
        b_ub=np.zeros(count),
        A_eq=np.concatenate([np.ones(count), np.zeros(count + 1)])[None],
        b_eq=[1],
        bounds=[(0, None)] * (2 * count + 1),
    )
    assert kept == pytest.approx(-found.fun, abs=1e-6)


def test_the_more_labels_are_wrong_the_wider_the_draw() -> None:
    gains = np.linspace(1, 0.01, 200)
    sizes = [int((robust_distribution(gains, wrong) > 0).sum()) for wrong in (0, 10, 50)]
    assert sizes[0] == 1
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("way", ["robust", "uncertain", "random"])
def test_each_way_gives_so_many_and_the_same_again(way: str) -> None:
    chances = np.random.default_rng(0).dirichlet(np.ones(4), size=300)
    picked = choose(chances, 20, way=way, seed=3)  # type: ignore[arg-type]
    assert len(set(picked.tolist())) == 20
    assert np.array_equal(picked, choose(chances, 20, way=way, seed=3))  # type: ignore[arg-type]
    assert np.array_equal(choose(chances, 500, way=way), np.arange(300))  # type: ignore[arg-type]
    gains = informativeness(chances)
    if way == "random":
        assert not np.array_equal(picked, choose(chances, 20, way=way, seed=4))
    else:
        assert gains[picked].mean() > gains.mean() + 0.1
    if way == "uncertain":
        assert gains[picked].min() >= np.sort(gains)[-20]
