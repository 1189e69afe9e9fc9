"""Cheap and expensive labels under one budget: what is bought, what cheap labels count, and the budget's limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from labelspace import LabelSpace
from labelspace.agents.budget.balance import WEIGHTS, balance
from labelspace.errors import ConfigError
from labelspace.records import Prediction, Record, as_records

NAMES = ["a", "b", "c", "d"]
TRUTH = np.random.default_rng(0).integers(4, size=2000)
CENTRES = np.random.default_rng(1).normal(size=(4, 16))
VECTORS = CENTRES[TRUTH] + 1.4 * np.random.default_rng(2).normal(size=(2000, 16))
VECTORS = (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)).astype(np.float32)
RECORDS = [Record(f"r{at}", str(at)) for at in range(2000)]


class Teacher:
    """Right but for a share of texts, whose labels are any other, or always the next; counts what it is asked."""

    def __init__(self, wrong: float, *, pattern: bool = False) -> None:
        self.label_space = LabelSpace.of(NAMES)
        self.wrong, self.pattern, self.asked = wrong, pattern, 0

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        for record in as_records(texts):
            self.asked += 1
            at = int(record.text)
            random = np.random.default_rng(at)
            errs = random.random() < self.wrong
            step = (1 if self.pattern else int(random.integers(1, 4))) if errs else 0
            yield Prediction(record.id, (NAMES[(TRUTH[at] + step) % 4],))


def embed(texts: Sequence[str]) -> np.ndarray:
    return VECTORS[[int(text) for text in texts]]


def test_labels_that_are_nearly_as_good_at_a_twentieth_are_bought_and_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cheap, expensive = Teacher(0.05), Teacher(0.0)
    found = balance(RECORDS, cheap, expensive, embed, prices=(1, 20), budget=3000)
    assert found.weight >= 0.3
    assert found.cheap > 1000
    assert found.agreement > 0.85
    assert found.spent == cheap.asked * 1 + expensive.asked * 20 <= 3000
    assert found.spent > 2980
    assert {one.confidence for one in found.labels.values()} == {1.0, found.weight}
    assert f"{found.spent:g} of 3000 spent: {found.cheap:,} cheap" in capsys.readouterr().err


def test_labels_whose_errors_follow_a_pattern_are_weighed_down_and_money_goes_to_the_others() -> None:
    cheap, expensive = Teacher(0.7, pattern=True), Teacher(0.0)
    found = balance(RECORDS, cheap, expensive, embed, prices=(1, 5), budget=2500, shown=False)
    assert found.weight <= 0.03
    assert found.cheap == 60
    assert found.expensive * 5 > 0.95 * 2500
    assert found.spent <= 2500


def test_a_label_that_was_paid_for_dearly_stands_before_a_cheap_one() -> None:
    found = balance(RECORDS, Teacher(0.5), Teacher(0.0), embed, prices=(1, 2), budget=600, shown=False)
    dear = [RECORDS.index(Record(name, name[1:])) for name, one in found.labels.items() if one.confidence == 1.0]
    assert len(dear) >= found.expensive
    if found.weight < 1:
        assert all(found.labels[f"r{at}"].labels == (NAMES[TRUTH[at]],) for at in dear)
    assert found.weight in WEIGHTS


def test_a_budget_that_outlasts_the_texts_ends_with_them() -> None:
    found = balance(RECORDS[:150], Teacher(0.1), Teacher(0.0), embed, prices=(1, 2), budget=10_000, shown=False)
    assert (found.cheap, found.expensive, found.spent) == (150, 150, 450)


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not pay for 60 labels of each"):
        balance(RECORDS, Teacher(0.1), Teacher(0.0), embed, prices=(1, 2), budget=100)
    several = Teacher(0.0)
    several.label_space = LabelSpace.of(NAMES, multi_label=True)
    with pytest.raises(ConfigError, match="for one label a text only"):
        balance(RECORDS, Teacher(0.1), several, embed, prices=(1, 2), budget=1000)
