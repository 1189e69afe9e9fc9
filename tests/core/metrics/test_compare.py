"""Two systems on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelspace import Label, LabelSpace, Prediction, Record
from labelspace.errors import DataError
from labelspace.metrics import compare, macro_f1, mcnemar, paired_bootstrap

GOLD = ["a", "b"] * 60


def system(share: float, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [name if random.random() < share else {"a": "b", "b": "a"}[name] for name in GOLD]


def test_mcnemar_is_the_binomial_test_on_what_differs():
    first, second = system(0.9, 1), system(0.75, 2)
    found = mcnemar(GOLD, first, second)
    only_first = sum(a == g != b for g, a, b in zip(GOLD, first, second, strict=True))
    only_second = sum(b == g != a for g, a, b in zip(GOLD, first, second, strict=True))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(stats.binomtest(only_first, only_first + only_second).pvalue)
    assert mcnemar(GOLD, second, first).p_value == pytest.approx(found.p_value)


def test_equal_systems_do_not_differ():
    first = system(0.8, 1)
    same = mcnemar(GOLD, first, first)
    assert (same.only_first, same.only_second, same.p_value) == (0, 0, 1)
    found = paired_bootstrap(GOLD, first, first, resamples=100)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("measure", ["accuracy", "macro_f1", "micro_f1", "weighted_f1"])
def test_a_clear_difference_is_seen_and_is_antisymmetric(measure):
    first, second = system(0.95, 1), system(0.7, 2)
    found = paired_bootstrap(GOLD, first, second, measure=measure, resamples=400)
    assert found.low > 0.05
    assert found.low < found.value < found.high
    assert found.p_value < 0.01
    back = paired_bootstrap(GOLD, second, first, measure=measure, resamples=400)
    assert back.value == pytest.approx(-found.value)


def test_values_are_those_of_the_systems():
    first, second = system(0.9, 1), system(0.8, 2)
    found = paired_bootstrap(GOLD, first, second, measure="macro_f1", resamples=50)
    assert found.first == pytest.approx(macro_f1(GOLD, first))
    assert found.value == pytest.approx(macro_f1(GOLD, first) - macro_f1(GOLD, second))


def test_the_interval_is_that_of_paired_rows():
    """The standard error of a difference of paired 0/1 outcomes is known."""
    first, second = system(0.9, 1), system(0.8, 2)
    gap = np.array([(a == g) - (b == g) for g, a, b in zip(GOLD, first, second, strict=True)], dtype=float)
    found = paired_bootstrap(GOLD, first, second, resamples=3000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * gap.std() / np.sqrt(len(gap)), rel=0.1)


def test_what_can_not_be_compared_is_refused():
    with pytest.raises(ValueError, match="no measure 'f1' to compare by"):
        paired_bootstrap(["a"], ["a"], ["b"], measure="f1")
    with pytest.raises(ValueError, match="no rows to compare on"):
        paired_bootstrap([], [], [])
    with pytest.raises(ValueError, match="same rows"):
        mcnemar(["a"], ["a"], ["b", "c"])


def predictions(answers):
    return [Prediction(str(at), (name,)) for at, name in enumerate(answers)]


def test_predictions_are_compared_on_the_rows_that_both_have():
    gold = [Record(str(at), "", (name,)) for at, name in enumerate(GOLD)]
    first, second = system(0.95, 1), system(0.7, 2)
    found = compare(predictions(first), predictions(second)[20:][::-1], gold, resamples=200)
    assert found.rows == 100
    expected = paired_bootstrap(GOLD[20:], first[20:], second[20:], measure="macro_f1", resamples=200)
    assert found.differences["macro_f1"] == expected
    assert found.mcnemar == mcnemar(GOLD[20:], first[20:], second[20:])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([Prediction("0", ("x",)), Prediction("1", ("y",))], "discovered labels can't be compared row by row"),
        ([Prediction("2", ("a",))], "no gold row has predictions of both systems"),
    ],
)
def test_predictions_that_can_not_be_compared_are_refused(second, message):
    gold = [Record(str(at), "", (name,)) for at, name in enumerate("aba")]
    with pytest.raises(DataError, match=message):
        compare(predictions("ab"), second, gold)


def test_predictions_are_compared_at_a_level_of_the_tree():
    space = LabelSpace(labels=(Label(name="top"), *(Label(name=name, parent="top") for name in "ab")))
    gold = [Record(str(at), "", (name,)) for at, name in enumerate(GOLD)]
    found = compare(
        predictions(system(0.9, 1)), predictions(system(0.5, 2)), gold, space=space, at_level=0, resamples=9
    )
    assert found.differences["accuracy"].value == 0
    assert found.differences["accuracy"].first == 1
