"""Search over settings: what is tried, what is kept, and what a stop costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import ConfigError
from labelspace.finetune.search import GRIDS, SCORES, choices, read_grid, search


def test_values_to_try_are_read_as_yaml_and_rates_as_numbers() -> None:
    grid = read_grid(["training.learning_rate=[1e-4, 0.5]", "pooling=[last, mean]", "lora=[null]"])
    assert grid == {"training.learning_rate": [1e-4, 0.5], "pooling": ["last", "mean"], "lora": [None]}


@pytest.mark.parametrize("pair", ["C", "C=3", "C=[]", "=[1]", "C=[1"])
def test_what_names_no_values_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="names no values to try"):
        read_grid([pair])


def test_a_random_part_of_a_grid_is_drawn_without_repeats_and_by_the_seed() -> None:
    grid = {"a": list(range(10)), "b": list(range(10))}
    assert len(choices(grid)) == len(choices(grid, trials=100)) == 100
    drawn = choices(grid, trials=12, seed=1)
    assert drawn == choices(grid, trials=12, seed=1) != choices(grid, trials=12, seed=2)
    assert len({tuple(one.items()) for one in drawn}) == 12


@pytest.mark.parametrize("head", sorted(GRIDS))
def test_default_grids_name_settings_that_there_are(head: str) -> None:
    from labelspace.finetune.head_settings import read_head_settings
    from labelspace.finetune.store import EMBEDDED

    for settings in choices(GRIDS[head]):
        if head in EMBEDDED:
            assert EMBEDDED[head](**settings).get_params().items() >= settings.items()
        else:
            pairs = [f"{name}={'null' if value is None else value}" for name, value in settings.items()]
            read_head_settings(head, None, pairs, seed=0)


class Scored:
    """Scores settings by a formula, counts how often, and stops when told to."""

    def __init__(self, stop_at: int = -1) -> None:
        self.asked: list[dict[str, Any]] = []
        self.stop_at = stop_at

    def __call__(self, settings: dict[str, Any]) -> float:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(settings)
        return -abs(float(settings["x"]) - 3)


def test_the_best_comes_first_and_of_equal_ones_the_first_named(tmp_path: Path) -> None:
    trials = search(Scored(), [{"x": x} for x in (0, 2, 4, 9)], folder=tmp_path, identity="a")
    assert [trial.settings["x"] for trial in trials] == [2, 4, 0, 9]
    assert [trial.score for trial in trials] == [-1.0, -1.0, -3.0, -6.0]


def test_a_stop_costs_only_the_trial_that_it_stopped(tmp_path: Path) -> None:
    tried = [{"x": x} for x in range(5)]
    with pytest.raises(KeyboardInterrupt):
        search(Scored(stop_at=3), tried, folder=tmp_path, identity="a")
    with (tmp_path / SCORES).open("a") as file:
        file.write('{"identity": "a", "settings": {"x": 4}, "sco')  # a line that a kill cut off
    again = Scored()
    assert search(again, tried, folder=tmp_path, identity="a")[0].settings == {"x": 3}
    assert again.asked == [{"x": 3}, {"x": 4}]
    idle = Scored(stop_at=0)
    assert len(search(idle, tried, folder=tmp_path, identity="a")) == 5


def test_scores_of_other_data_are_not_used(tmp_path: Path) -> None:
    search(Scored(), [{"x": 1}], folder=tmp_path, identity="a")
    other = Scored()
    search(other, [{"x": 1}], folder=tmp_path, identity="b")
    assert other.asked == [{"x": 1}]
