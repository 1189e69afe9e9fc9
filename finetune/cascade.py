"""A head first, and something dearer where it is not sure: an LLM, or a person.

The head answers where its conformal set (`conformal.py`) holds exactly one label. The set comes from labelled rows on
which nothing was fitted; how much coverage it is to have, and so how often the other is asked, is chosen on further
rows whose answers by both are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.classifier import HeadClassifier
from labelspace.finetune.conformal import conformal_quantile
from labelspace.records import Classifier, Prediction, Record, as_records
from labelspace.space import LabelSpace

COVERAGES = tuple(round(0.9 + step / 200, 3) for step in range(20))
"""What is tried: 0.9 to 0.995."""
UNSURE = "the head is not sure, and there is nobody else to ask"
SPENT = "the head is not sure, and the budget is spent"
_TOGETHER = 2048
"""Records that are looked at together: enough to keep many requests in flight."""
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Point:
    """What a coverage costs and brings, on the rows that it is chosen on."""

    coverage: float
    limit: float
    """Least probability of a label in the set."""
    asked: float
    """Share of the rows about which the other is asked."""
    accuracy: float


def is_sure(probabilities: npt.NDArray[np.floating[Any]], limit: float) -> Flags:
    """Rows [n] whose set, the labels of at least this probability, holds exactly one."""
    sure: Flags = (probabilities >= limit).sum(axis=1) == 1
    return sure


def curve(
    calibration: tuple[npt.NDArray[np.floating[Any]], Sequence[int]],
    rows: tuple[npt.NDArray[np.floating[Any]], Sequence[int]],
    other: Sequence[int | None],
    *,
    coverages: Sequence[float] = COVERAGES,
) -> list[Point]:
    """Cost and accuracy of each coverage.

    Args:
        calibration: Probabilities [n, k] and gold columns of the rows that set the limits.
        rows: The same of the rows that cost and accuracy are counted on.
        other: Column that the other gave each of these; -1 where it gave none; None where it was not asked.
        coverages: What is tried; one that would ask about a row with None is left out.

    Raises:
        DataError: There are no rows.
    """
    p, gold = rows
    if not len(p) or not len(calibration[0]):
        raise DataError("a cascade is tuned on labelled rows, and there are none", advice="give more rows")
    strange = 1 - calibration[0][np.arange(len(calibration[1])), np.asarray(calibration[1])]
    head, right = p.argmax(axis=1), np.asarray(gold)
    known = np.array([one is not None for one in other])
    answers = np.array([-1 if one is None else one for one in other])
    found = []
    for coverage in coverages:
        limit = 1 - conformal_quantile(strange, coverage)
        asked = ~is_sure(p, limit)
        if limit <= 0 or (asked & ~known).any():
            continue
        given = np.where(asked, answers, head)
        found.append(Point(coverage, float(limit), float(asked.mean()), float((given == right).mean())))
    return found


def choose(points: Sequence[Point], *, most_asked: float) -> Point:
    """The point of the highest accuracy that asks about no more than a share; of equal ones, the cheapest.

    Raises:
        ConfigError: There is none.
    """
    fitting = [point for point in points if point.asked <= most_asked]
    if not fitting:
        raise ConfigError(f"no coverage asks about {most_asked:.0%} of the rows or fewer; allow more with --most-asked")
    return max(fitting, key=lambda point: (point.accuracy, -point.asked))


class Cascade:
    """The head where it is sure, another classifier where not. A `Classifier`."""

    def __init__(
        self, head: HeadClassifier, other: Classifier | None, *, limit: float, budget: int | None = None
    ) -> None:
        """Put them together.

        Args:
            head: What answers first; of a space with one label a text.
            other: What is asked where the head is not sure; None sets such records aside, for a person.
            limit: See `Point`.
            budget: The most records that the other is asked about; the rest are set aside.

        Raises:
            ConfigError: The spaces differ, or a text can have several labels.
        """
        if head.space.multi_label:
            raise ConfigError("a cascade is for spaces with one label a text")
        if other is not None and set(other.label_space.leaves) != set(head.space.leaves):
            raise ConfigError("the two classifiers have different labels; give the space of the head to the other")
        self.head, self.other, self.limit, self.budget = head, other, limit, budget
        self.asked = 0
        """Records that the other was asked about."""

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self.head.space

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order; its source says who answered."""
        records = as_records(texts)
        while batch := list(islice(records, _TOGETHER)):
            made = list(self.head.predict(batch))
            shown = [at for at, one in enumerate(made) if one.status == "ok"]
            if shown:
                p = self.head.head.predict_proba([batch[at].text for at in shown])
                unsure = [at for at, sure in zip(shown, is_sure(p, self.limit), strict=True) if not sure]
                self._ask(batch, made, unsure)
            yield from made

    def _ask(self, batch: list[Record], made: list[Prediction], unsure: list[int]) -> None:
        """Replace what the head is not sure of."""
        room = len(unsure) if self.budget is None else max(0, self.budget - self.asked)
        asked, left = (unsure[:room], unsure[room:]) if self.other is not None else ([], unsure)
        for at in left:
            # What the head would have said stays, as a hint to who decides.
            reason = SPENT if self.other is not None else UNSURE
            made[at] = replace(made[at], labels=(), status="abstained", reason=reason)
        if asked and self.other is not None:
            self.asked += len(asked)
            for at, answer in zip(asked, self.other.predict([batch[at] for at in asked]), strict=True):
                made[at] = replace(answer, source={**answer.source, "after": dict(made[at].source)})


def save_point(path: str | Path, point: Point, space: LabelSpace) -> None:
    """Write a chosen point."""
    data = {**asdict(point), "space_version": space.version}
    Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def load_point(path: str | Path, space: LabelSpace) -> Point:
    """Read a chosen point.

    Raises:
        DataError: It is none, or was chosen for another label space.
    """
    try:
        data = json.loads(Path(path).read_bytes())
        version = data.pop("space_version")
        point = Point(**data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"is no tuned cascade: {error}", path=str(path), advice="make one with: labelspace cascade tune"
        ) from error
    if version != space.version:
        raise DataError("was tuned for another label space", path=str(path), advice="tune it anew")
    return point
