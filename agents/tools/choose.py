"""How many tools? As many as it takes to have all that are needed at a chosen rate; and none, where none fits.

Split conformal prediction (Vovk et al.): on held-out usages, find the score that the worst-ranked needed
tool reaches in a given share of them, and take every tool that reaches it. For queries that come from where the
held-out ones came from, all needed tools are then in the set at least at that rate, whatever the retriever;
a better one gives smaller sets. In the same way a query is said to fit no tool where its best score stands out
among those of all tools by less than that of all but a share `false_alarms` of the held-out queries, which do need
a tool. The two errors add up to at most 1 - `coverage`: what false alarms leave of it is what the sets may miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

import numpy as np

from labelspace.agents.tools.retriever import BATCH, Floats, Retriever
from labelspace.agents.tools.usage import Usage
from labelspace.errors import ConfigError, DataError
from labelspace.records import Prediction, Record, as_records, set_aside_blank
from labelspace.space import LabelSpace

NO_TOOL = "no tool fits"
"""The reason on a prediction for a query that none of the tools answers."""
NEVER = -float("inf")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What held-out usages say about where to stop."""

    least_share: float
    """Log-softmax of a tool's score from which on it is taken."""
    least_score: float
    """How far the best score must lie above the mean of all tools' scores for a tool to fit."""
    coverage: float
    """Promised rate at which all needed tools are taken, false alarms counted as misses."""
    false_alarms: float
    """Promised highest rate at which a query that needs a tool is said to fit none."""
    usages: int
    """Held-out usages that this rests on."""


class ToolChooser:
    """A retriever that takes as many tools as are needed. A `Classifier`."""

    def __init__(self, retriever: Retriever, thresholds: Thresholds) -> None:
        """Take a retriever and its thresholds; `of` finds them."""
        self.retriever, self.thresholds = retriever, thresholds

    @classmethod
    def of(
        cls, retriever: Retriever, held_out: Sequence[Usage], *, coverage: float = 0.9, false_alarms: float = 0.05
    ) -> ToolChooser:
        """Find the thresholds on usages that the retriever was not trained on, nor its stages weighted by.

        Args:
            retriever: What ranks the tools.
            held_out: Usages from where queries will come from; those that need no tool are left out.
            coverage: Rate at which all needed tools are to be taken, false alarms counted as misses.
            false_alarms: Highest rate at which a query that needs a tool is said to fit none; 0 to always take one.

        Raises:
            ConfigError: A rate is not between 0 and 1, or false alarms leave nothing of what may be missed.
            DataError: There are too few usages for what is to be promised.
        """
        missed = check_promise(coverage, false_alarms)
        known = set(retriever.tools)
        asked = [usage for usage in held_out if usage.tools and known.issuperset(usage.tools)]
        place = {name: i for i, name in enumerate(retriever.tools)}
        worst, best = [], []
        for start in range(0, len(asked), BATCH):
            batch = asked[start : start + BATCH]
            scores = retriever.scores([usage.query for usage in batch])
            shares = log_shares(scores)
            worst += [float(row[[place[n] for n in u.tools]].min()) for row, u in zip(shares, batch, strict=True)]
            best += (scores.max(axis=1) - scores.mean(axis=1)).tolist()
        least_share = lower_bound(worst, missed)
        least_score = lower_bound(best, false_alarms) if false_alarms else NEVER
        return cls(retriever, Thresholds(least_share, least_score, coverage, false_alarms, len(asked)))

    @property
    def label_space(self) -> LabelSpace:
        """The tools as a label space."""
        return self.retriever.label_space

    def choose(self, queries: Sequence[str], *, available: Iterable[str] | None = None) -> list[tuple[str, ...]]:
        """The tools that each query needs, best first; () where none fits.

        Args:
            queries: What was asked.
            available: Names of the tools that can be had at all; None for all of the space.
        """
        asked, offered = list(queries), None if available is None else frozenset(available)
        batches = (asked[start : start + BATCH] for start in range(0, len(asked), BATCH))
        return [prediction.labels for batch in batches for prediction in self._predict(batch, offered)]

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield the needed tools of each text, with their share of the probability; it abstains where none fits."""
        records = as_records(texts)
        while batch := list(islice(records, BATCH)):
            yield from self._predict(batch, None)

    def _predict(self, batch: Sequence[str | Record], available: Set[str] | None) -> Iterator[Prediction]:
        records = list(as_records(batch))
        asked = [record for record in records if not record.is_blank]
        limits = self.thresholds
        source = {"retriever": self.retriever.name, "space": self.label_space.version, "coverage": limits.coverage}
        scores = self.retriever.scores([record.text for record in asked])
        usual = scores.mean(axis=1)
        if available is not None:
            having = np.array([name in available for name in self.retriever.tools])
            scores = np.where(having, scores, np.float32(-1e9))
            usual = usual if having.any() else np.full(len(asked), np.inf, np.float32)  # then none fits
        rows = iter(zip(scores.max(axis=1) - usual, log_shares(scores), strict=True))
        for record in records:
            if record.is_blank:
                yield set_aside_blank(record, source)
                continue
            standing, shares = next(rows)
            if standing < limits.least_score or standing == NEVER:
                yield Prediction(record.id, status="abstained", reason=NO_TOOL, source=source)
                continue
            # The best tool is always taken: a set that says "some tool fits, but none of these" helps nobody.
            taken = np.flatnonzero((shares >= limits.least_share) | (shares == shares.max()))
            taken = taken[np.argsort(-shares[taken], kind="stable")]
            names = tuple(self.retriever.tools[i] for i in taken)
            chances = {name: float(np.exp(shares[i])) for name, i in zip(names, taken, strict=True)}
            yield Prediction(record.id, names, scores=chances, source=source)


def check_promise(coverage: float, false_alarms: float) -> float:
    """The rate at which sets may lack a needed tool: what false alarms leave of 1 - coverage.

    Raises:
        ConfigError: A rate is not between 0 and 1, or nothing is left.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"a coverage lies between 0 and 1, not {coverage:g}")
    missed = 1 - coverage - false_alarms
    if false_alarms < 0 or missed <= 1e-9:
        raise ConfigError(
            f"with a coverage of {coverage:g}, the rate of false alarms must be at least 0 and below "
            f"{1 - coverage:.3g}, not {false_alarms:g}"
        )
    return missed


def log_shares(scores: Floats) -> Floats:
    """Log-softmax of each row: comparable between queries, where raw scores are not."""
    if not len(scores):
        return scores
    shifted = scores - scores.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def lower_bound(values: Sequence[float], rate: float) -> float:
    """The largest of the values that a new one falls below at most at this rate.

    With n values, a new one from the same source is below the j-th lowest with probability at most
    j / (n + 1); j is the largest that keeps to the rate.

    Raises:
        ConfigError: The rate is not between 0 and 1.
        DataError: There are too few values: even the lowest promises less.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"a rate lies between 0 and 1, not {rate:g}")
    place = int(np.floor(rate * (len(values) + 1) + 1e-9))
    if place < 1:
        needed = int(np.ceil(1 / rate)) - 1
        raise DataError(
            f"{len(values)} held-out usages are too few to promise a rate of {rate:.3g}; it takes {needed}",
            advice="give more, or promise less",
        )
    return float(np.sort(values)[place - 1])
