"""The estimate from a judged sample: values by hand, exact limits, and coverage in simulated audits."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from labelspace.agents.audit.estimate import Stratum, allocate, estimate_errors
from labelspace.errors import DataError


def strata(flagged: tuple[int, int, int], agreed: tuple[int, int, int]) -> list[Stratum]:
    return [
        Stratum(name="flagged", flagged=True, size=flagged[0], judged=flagged[1], wrong=flagged[2]),
        Stratum(name="agreed", flagged=False, size=agreed[0], judged=agreed[1], wrong=agreed[2]),
    ]


def test_each_judged_record_stands_for_its_stratum() -> None:
    found = estimate_errors(strata((100, 50, 40), (900, 90, 9)))
    # 100 * 40/50 = 80 wrong flagged, 900 * 9/90 = 90 wrong agreed.
    assert found.error_rate.value == pytest.approx(0.17)
    assert found.precision.value == pytest.approx(0.8)
    assert found.recall.value == pytest.approx(80 / 170)
    assert found.error_rate.low < 0.17 < found.error_rate.high
    assert "170 records" in str(found)


def test_judging_all_leaves_no_doubt() -> None:
    found = estimate_errors(strata((10, 10, 4), (90, 90, 6)))
    for share, value in ((found.error_rate, 0.1), (found.precision, 0.4), (found.recall, 0.4)):
        assert (share.low, share.value, share.high) == pytest.approx((value,) * 3)


@pytest.mark.parametrize(("size", "judged", "wrong"), [(1000, 160, 27), (500, 40, 0), (60, 30, 30), (200, 100, 1)])
def test_one_stratum_has_the_exact_hypergeometric_limits(size: int, judged: int, wrong: int) -> None:
    (part,) = strata((size, judged, wrong), (0, 0, 0))[:1]
    found = estimate_errors([part]).error_rate
    counts = np.arange(size + 1)
    at_most = stats.hypergeom.cdf(wrong, size, counts, judged)
    at_least = stats.hypergeom.sf(wrong - 1, size, counts, judged)
    possible = (counts >= wrong) & (counts <= size - judged + wrong)
    high = counts[(at_most > 0.025) & possible].max() / size
    low = counts[(at_least > 0.025) & possible].min() / size
    assert found.high == pytest.approx(high, abs=0.006)
    assert found.low == pytest.approx(low, abs=0.006)


def test_published_share() -> None:
    """27 errors among 160 summaries: 16.9%, with a Clopper-Pearson lower limit of 11.6% (arXiv 2410.18889)."""
    found = estimate_errors([Stratum(name="all", flagged=False, size=10**7, judged=160, wrong=27)]).error_rate
    assert found.value == pytest.approx(0.169, abs=5e-4)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 27, 134), abs=0.002)
    one_sided = estimate_errors([Stratum(name="all", flagged=False, size=10**7, judged=160, wrong=27)], level=0.9)
    assert one_sided.error_rate.low == pytest.approx(0.121, abs=0.002)


REGIMES = {
    # errors, flagged errors, flagged, records
    "good flagger": (500, 400, 570, 5000),
    "misses most": (1000, 100, 200, 20_000),
    "few errors": (100, 60, 150, 10_000),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_cover_the_truth(regime: str) -> None:
    errors, hits, flagged, records = REGIMES[regime]
    covered = np.zeros(3)
    rounds = 120
    generator = np.random.default_rng(7)
    for seed in range(rounds):
        k_flagged = generator.hypergeometric(hits, flagged - hits, 100)
        k_agreed = generator.hypergeometric(errors - hits, records - flagged - errors + hits, 200)
        found = estimate_errors(strata((flagged, 100, k_flagged), (records - flagged, 200, k_agreed)), seed=seed)
        truth = (errors / records, hits / flagged, hits / errors)
        for at, share in enumerate((found.error_rate, found.precision, found.recall)):
            covered[at] += share.low - 1e-12 <= truth[at] <= share.high + 1e-12
    # The recipe counts 500 rounds to 93%; this many fluctuate by 2% around 95%.
    assert (covered / rounds >= 0.9).all(), covered / rounds


def test_recall_is_unknown_where_no_error_was_found() -> None:
    found = estimate_errors(strata((50, 50, 0), (50, 50, 0)))
    assert found.recall.value is None
    assert (found.recall.low, found.recall.high) == (0.0, 1.0)


def test_unjudged_stratum_is_an_error() -> None:
    with pytest.raises(DataError, match="none of the 900 records of 'agreed' is judged"):
        estimate_errors(strata((100, 50, 40), (900, 0, 0)))
    with pytest.raises(ValidationError, match="count each judged record once"):
        Stratum(name="flagged", flagged=True, size=3, judged=4, wrong=0)


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [([500, 500], 100, [50, 50]), ([10, 500], 100, [10, 90]), ([3, 4], 100, [3, 4]), ([0, 9], 5, [0, 5])],
)
def test_allocation(sizes: list[int], total: int, expected: list[int]) -> None:
    assert allocate(sizes, total) == expected
