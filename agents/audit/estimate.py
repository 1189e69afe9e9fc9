"""How many labels are wrong, and how good the flags are, from a judged random sample.

Records are drawn at random within strata (flagged, agreed), so each stands for as many as its
stratum has for each one drawn (Horvitz-Thompson). Checking flagged records alone, as most papers do,
says nothing of the errors that the flagger missed; here the agreed records are sampled too.

Intervals: within a stratum exact for sampling without replacement (hypergeometric); across strata
they are melded (Fay, Proschan and Brittain 2015, Biometrics 71), which keeps the level of each for
any function that rises or falls with each stratum's errors, small counts and zeros included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from labelspace.errors import DataError

DRAWS = 20_000
"""Random draws behind each interval."""
Errors = NDArray[np.float64]


class Stratum(BaseModel):
    """A part of the records, and what was found in the sample drawn from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    """How many records it has."""
    flagged: bool
    """Whether these records are flagged as wrong."""
    judged: int = 0
    """How many of those drawn have a verdict."""
    wrong: int = 0
    """How many of those judged have a wrong label."""

    @model_validator(mode="after")
    def _counts_fit(self) -> Stratum:
        if not 0 <= self.wrong <= self.judged <= self.size:
            raise ValueError(
                f"stratum {self.name!r}: {self.wrong} wrong of {self.judged} judged of {self.size} can't be; "
                "count each judged record once"
            )
        return self


class Share(BaseModel):
    """An estimated share with its interval, each in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    """None where nothing can be said, such as the recall where no error was found."""
    low: float
    high: float

    def __str__(self) -> str:
        """As a percentage with its interval."""
        value = "unknown" if self.value is None else f"{self.value:.1%}"
        return f"{value} ({self.low:.1%} to {self.high:.1%})"


class Estimate(BaseModel):
    """What a judged sample says of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int
    judged: int
    level: float
    error_rate: Share
    """Share of all labels that are wrong."""
    precision: Share
    """Share of the flagged labels that are wrong."""
    recall: Share
    """Share of the wrong labels that are flagged."""
    strata: tuple[Stratum, ...]

    def __str__(self) -> str:
        """A few lines of plain text."""
        wrong = "unknown" if self.error_rate.value is None else f"{self.error_rate.value * self.records:,.0f}"
        low, high = self.error_rate.low * self.records, self.error_rate.high * self.records
        lines = [
            f"{self.judged:,} of {self.records:,} records judged; intervals at {self.level:.0%}",
            f"wrong labels        {self.error_rate}: {wrong} records ({low:,.0f} to {high:,.0f})",
            f"flags that are right {self.precision}",
            f"errors that are flagged {self.recall}",
        ]
        lines += [f"  {part.name}: {part.wrong} wrong of {part.judged} judged of {part.size:,}" for part in self.strata]
        return "\n".join(lines)


def estimate_errors(strata: Sequence[Stratum], *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Estimate error rate, precision and recall of the flags from judged random samples.

    Args:
        strata: The parts of the records; each needs at least one judged record unless it is empty.
        level: Of the intervals.
        seed: Of the random draws behind the intervals.

    Raises:
        DataError: A stratum has records and no verdict.
    """
    parts = [part for part in strata if part.size]
    if not parts:
        raise DataError("there are no records to estimate from")
    for part in parts:
        if not part.judged:
            raise DataError(
                f"none of the {part.size:,} records of {part.name!r} is judged",
                advice="judge at least one of the sample that was drawn from them",
            )
    total = sum(part.size for part in parts)
    generator = np.random.default_rng(seed)
    low = np.stack([_draw_errors(part, generator, lower=True) for part in parts])
    high = np.stack([_draw_errors(part, generator, lower=False) for part in parts])
    at = np.array([part.size * part.wrong / part.judged for part in parts])
    flagged = np.array([part.flagged for part in parts])
    flagged_size = sum(part.size for part in parts if part.flagged)

    # Where no error was found at all, the recall is not 0 but unknown.
    nothing = 0.0 if at.any() else np.nan

    def share(of: Callable[[Errors], Errors], least: Errors, most: Errors) -> Share:
        value = float(of(at[:, None])[0])
        if np.isnan(value):
            return Share(value=None, low=0.0, high=1.0)
        tail = (1 - level) / 2
        # The interval includes what was estimated even where the estimate is extreme.
        below, above = np.quantile(of(least), tail, method="lower"), np.quantile(of(most), 1 - tail, method="higher")
        return Share(value=value, low=min(float(below), value), high=max(float(above), value))

    def recall(errors: Errors) -> Errors:
        found, every = errors[flagged].sum(axis=0), errors.sum(axis=0)
        return np.asarray(np.divide(found, every, out=np.full(len(every), nothing), where=every > 0))

    return Estimate(
        records=total,
        judged=sum(part.judged for part in parts),
        level=level,
        error_rate=share(lambda errors: np.asarray(errors.sum(axis=0) / total), low, high),
        precision=share(lambda errors: np.asarray(errors[flagged].sum(axis=0) / flagged_size), low, high)
        if flagged_size
        else Share(value=None, low=0.0, high=1.0),
        # It rises with the errors that are flagged and falls with those that are not.
        recall=share(
            recall,
            np.where(flagged[:, None], low, high),
            np.where(flagged[:, None], high, low),
        ),
        strata=tuple(strata),
    )


def _draw_errors(part: Stratum, generator: np.random.Generator, *, lower: bool) -> Errors:
    """Draw numbers of wrong labels whose quantiles are the exact limits of this stratum, [draws].

    What the sample leaves is beta-binomial: P(k + B >= m) = P(at most k wrong are drawn | m wrong)
    for B of (size - judged; k + 1, judged - k), and the same with (k, judged - k + 1) from below.
    """
    found, unseen = part.wrong, part.size - part.judged
    a, b = (found, part.judged - found + 1) if lower else (found + 1, part.judged - found)
    if a == 0 or unseen == 0:
        return np.full(DRAWS, float(found))
    if b == 0:
        return np.full(DRAWS, float(found + unseen))
    return found + generator.binomial(unseen, generator.beta(a, b, DRAWS)).astype(np.float64)


def allocate(sizes: Sequence[int], total: int) -> list[int]:
    """Spread a sample of `total` records over strata: equal parts, and what one can't give goes to the others."""
    given = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_strata = [at for at, size in enumerate(sizes) if given[at] < size]
        for place, at in enumerate(open_strata):
            more = min(-(-left // (len(open_strata) - place)), sizes[at] - given[at])
            given[at] += more
            left -= more
    return given
