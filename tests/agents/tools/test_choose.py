"""How many tools: the promised rates hold on queries that were not seen, and no tool is an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from labelspace.agents.tools import Retriever, ToolChooser, Usage
from labelspace.agents.tools.choose import NO_TOOL, lower_bound
from labelspace.errors import ConfigError, DataError
from labelspace.space import LabelSpace

NAMES = tuple(f"tool{i}" for i in range(20))


class Noisy(Retriever):
    """Scores by what a query says it needs, plus noise that the query's number seeds."""

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        rows = []
        for query in queries:
            number, *needed = map(int, query.split())
            row = np.random.default_rng(number).normal(size=len(self.tools))
            row[needed] += 3
            rows.append(row)
        return np.array(rows, np.float32).reshape(len(queries), len(self.tools))


def usages(start: int, count: int) -> list[Usage]:
    draw = np.random.default_rng(start)
    made = []
    for number in range(start, start + count):
        needed = draw.choice(20, size=draw.integers(1, 4), replace=False)
        made.append(Usage(" ".join(map(str, [number, *needed])), tuple(NAMES[i] for i in needed)))
    return made


RETRIEVER = Noisy(LabelSpace.of(NAMES, multi_label=True))


@pytest.mark.parametrize(("coverage", "false_alarms"), [(0.9, 0.05), (0.8, 0.1), (0.98, 0.01), (0.9, 0)])
def test_the_promised_rates_hold(coverage: float, false_alarms: float) -> None:
    chooser = ToolChooser.of(RETRIEVER, usages(0, 1000), coverage=coverage, false_alarms=false_alarms)
    fresh = usages(10_000, 2000)
    chosen = chooser.choose([usage.query for usage in fresh])
    alarms = np.mean([not taken for taken in chosen])
    complete = np.mean([set(usage.tools) <= set(taken) for usage, taken in zip(fresh, chosen, strict=True)])
    slack = 3 * 0.5 / np.sqrt(1000) * np.sqrt(2) * 0.6
    assert alarms <= false_alarms + slack
    # The two errors overlap at times, so that the promise is more than kept, but not by more than false alarms.
    assert coverage - slack <= complete <= coverage + false_alarms + slack


def test_a_query_that_no_tool_answers_abstains() -> None:
    chooser = ToolChooser.of(RETRIEVER, usages(0, 1000), coverage=0.9, false_alarms=0.05)
    nothing = [str(number) for number in range(50_000, 50_500)]
    found = list(chooser.predict([*nothing, " "]))
    abstained = [prediction for prediction in found[:-1] if prediction.status == "abstained"]
    assert len(abstained) > 200
    assert {prediction.reason for prediction in abstained} == {NO_TOOL}
    assert (found[-1].status, found[-1].reason) == ("abstained", "empty text")


def test_shares_are_probabilities_and_the_best_tool_comes_first() -> None:
    chooser = ToolChooser.of(RETRIEVER, usages(0, 100), coverage=0.9, false_alarms=0.05)
    for prediction in chooser.predict([usage.query for usage in usages(70_000, 20)]):
        values = list(prediction.scores.values())
        assert tuple(prediction.scores) == prediction.labels
        assert values == sorted(values, reverse=True)
        assert sum(values) <= 1 + 1e-6


def test_only_available_tools_are_chosen() -> None:
    chooser = ToolChooser.of(RETRIEVER, usages(0, 100), coverage=0.9, false_alarms=0.05)
    assert chooser.choose(["7 3"], available=["tool3"]) == [("tool3",)]
    assert chooser.choose(["7 3"], available=["tool9"]) == [()]


@pytest.mark.parametrize(
    ("values", "rate", "expected"), [([1, 2, 3, 4], 0.2, 1), ([1, 2, 3, 4], 0.4, 2), ([4, 1, 3, 2], 0.79, 3)]
)
def test_the_bound_is_the_right_order_statistic(values: list[float], rate: float, expected: float) -> None:
    assert lower_bound(values, rate) == expected


def test_too_much_promised_on_too_little_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        lower_bound([1.0] * 18, 0.05)
    assert str(caught.value) == (
        "18 held-out usages are too few to promise a rate of 0.05; it takes 19; give more, or promise less"
    )
    assert lower_bound([1.0] * 19, 0.05) == 1
    with pytest.raises(ConfigError, match=r"must be at least 0 and below 0.05, not 0.05"):
        ToolChooser.of(RETRIEVER, usages(0, 100), coverage=0.95, false_alarms=0.05)
    with pytest.raises(ConfigError, match=r"a coverage lies between 0 and 1, not 1.5"):
        ToolChooser.of(RETRIEVER, usages(0, 100), coverage=1.5)
    with pytest.raises(ConfigError, match="a rate lies between 0 and 1, not 1"):
        lower_bound([1.0], 1.0)
