"""Cheap and expensive labels under one budget: the regimes, the budget's limit, and what is asked again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from labelspace import LabelSpace
from labelspace.agents.balance import balance, plan, worth
from labelspace.errors import ConfigError
from labelspace.records import Prediction, Record, as_records

NAMES = ["a", "b", "c", "d"]


class Teacher:
    """Right but for a share of texts, and unsure of those if it knows; counts what it is asked."""

    def __init__(self, wrong: float, *, knows: bool = True) -> None:
        self.label_space = LabelSpace.of(NAMES)
        self.wrong, self.knows, self.asked = wrong, knows, 0

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        for record in as_records(texts):
            self.asked += 1
            random = np.random.default_rng(int(record.text))
            errs = bool(random.random() < self.wrong)
            label = NAMES[(int(record.text) + errs) % 4]
            sure = 0.4 if errs else 0.9
            noise = float(random.random() * 0.1)
            yield Prediction(record.id, (label,), confidence=(sure if self.knows else 0.7) + noise)


RECORDS = [Record(f"r{at}", str(at)) for at in range(3000)]


def test_what_a_label_is_worth() -> None:
    assert worth([0, 0.375, 0.75, 0.9], 4) == pytest.approx([1, 0.25, 0, 0])


@pytest.mark.parametrize(
    ("wrong", "prices", "texts", "expected"),
    [
        (0.05, (1, 20), 3000, "cheap"),  # nearly as good at a twentieth: quantity
        (0.7, (1, 2), 3000, "expensive"),  # nearly worthless: quality
        (0.3, (1, 3), 600, "both"),  # money is left when all texts have a label
    ],
)
def test_the_regimes(wrong: float, prices: tuple[float, float], texts: int, expected: str) -> None:
    cheap, expensive = Teacher(wrong, knows=expected == "both"), Teacher(0.0)
    found = balance(RECORDS[:texts], cheap, expensive, prices=prices, budget=60 * sum(prices) + 900)
    shares = found.shares
    spent_on = {
        "cheap": shares.cheap > 60 and shares.redone == 60 and shares.expensive < 10,
        "expensive": shares.cheap == 60 and shares.expensive > 100,
        "both": shares.redone > 160 and shares.cheap == 600,
    }
    assert [name for name, holds in spent_on.items() if holds] == [expected], shares
    assert found.spent == cheap.asked * prices[0] + expensive.asked * prices[1] <= 60 * sum(prices) + 900
    assert found.spent > 0.98 * (60 * sum(prices) + 900)
    assert len(found.labels) == shares.cheap + shares.expensive


def test_labels_that_are_asked_for_again_are_the_wrong_ones() -> None:
    found = balance(RECORDS[:600], Teacher(0.3), Teacher(0.0), prices=(1, 3), budget=1500)
    right = np.mean([one.labels[0] == NAMES[int(name[1:]) % 4] for name, one in found.labels.items()])
    assert right > 0.97


def test_a_budget_that_outlasts_the_texts_ends_with_them() -> None:
    found = balance(RECORDS[:200], Teacher(0.1), Teacher(0.0), prices=(1, 2), budget=10_000)
    assert len(found.labels) == 200
    assert found.spent <= 600


def test_of_equal_prices_only_the_better_labels_are_bought() -> None:
    count, _, alone = plan(np.full(50, 0.2), labels=4, prices=(1, 1), money=100, texts=1000)
    assert (count, alone) == (0, 100)


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not pay for 60 labels of each"):
        balance(RECORDS, Teacher(0.1), Teacher(0.0), prices=(1, 2), budget=100)
    several = Teacher(0.0)
    several.label_space = LabelSpace.of(NAMES, multi_label=True)
    with pytest.raises(ConfigError, match="for one label a text only"):
        balance(RECORDS, Teacher(0.1), several, prices=(1, 2), budget=1000)
