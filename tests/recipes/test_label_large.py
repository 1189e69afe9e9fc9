"""The recipe of large label spaces: what it makes up, and the recall that it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelspace.recipes.label_large import LabelLargeConfig, enlarged, main
from labelspace.space import Label, LabelSpace

SPACE = LabelSpace(
    labels=(
        Label(name="money"),
        Label(name="pay", description="Pay a bill at a bank now.", parent="money"),
        Label(name="move", description="Move some money to somebody.", parent="money"),
        Label(name="home"),
        Label(name="clean", description="Clean the kitchen after a meal.", parent="home"),
    )
)


def test_labels_are_made_of_two_descriptions_of_different_groups() -> None:
    made = enlarged(SPACE, 12)
    assert made.leaves[:3] == ("pay", "move", "clean")
    said = [made[name].description for name in made.leaves]
    assert len(set(said)) == len(said) == 12
    firsts, lasts = {"Pay", "Move", "Clean"}, {"now.", "somebody.", "meal."}
    assert all(text.split()[0] in firsts and text.split()[-1] in lasts for text in said)
    assert not any(text.startswith("Pay") and text.endswith("somebody.") for text in said)


@pytest.mark.data
def test_more_labels_hide_the_right_one(data_dir: Path) -> None:
    found = main(LabelLargeConfig(data=data_dir, labels=(150, 1000), candidates=(12,), texts=100))
    assert found[150][12] == pytest.approx(0.78, abs=0.06)
    assert found[1000][12] < found[150][12]
