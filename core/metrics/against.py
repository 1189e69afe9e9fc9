"""Compare the predictions of two systems with each other on the same gold rows."""

from __future__ import annotations

from collections.abc import Iterable

from labelspace.errors import DataError
from labelspace.metrics.compare import mcnemar, paired_bootstrap
from labelspace.metrics.evaluation import Mode
from labelspace.metrics.join import join
from labelspace.metrics.kind import settle
from labelspace.metrics.report import Comparison
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

MEASURES = ("accuracy", "macro_f1", "micro_f1")


def compare(
    first: Iterable[Prediction],
    second: Iterable[Prediction],
    gold: Iterable[Record],
    *,
    space: LabelSpace | None = None,
    mode: Mode = "auto",
    other: str | None = None,
    at_level: int | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Test whether one system is better than another: paired bootstrap and McNemar's test.

    Args:
        first: Predictions of one system.
        second: Predictions of the other.
        gold: Records with gold labels.
        space: The label space.
        mode: As for `evaluate`; discovered labels can't be compared row by row.
        other: Name of the bucket for what fits nowhere; such rows are wrong.
        at_level: Compare ancestors at this level of `space`; 0 is the top.
        resamples: For the bootstrap.
        level: Of the intervals.
        seed: Of the bootstrap.

    Raises:
        DataError: Nothing can be compared.
    """
    rows = list(gold)
    one, two = join(first, rows), join(second, rows)
    both = {*one.ids} & {*two.ids}
    if not both:
        raise DataError("no gold row has predictions of both systems", advice="check the ids of the two files")
    sides = [settle(joined, mode=mode, space=space, other=other, level=at_level) for joined in (one, two)]
    kinds = {side.kind for side in sides}
    if "discovered" in kinds:
        raise DataError(
            "discovered labels can't be compared row by row", advice="evaluate each against the gold labels"
        )
    if len(kinds) > 1:
        raise DataError("one system gives one label a row, the other sets", advice="name the mode: single or multi")
    kept = [[at for at, name in enumerate(joined.ids) if name in both] for joined in (one, two)]
    truth = [sides[0].gold[at] for at in kept[0]]
    answers = [[side.answers[at] for at in places] for side, places in zip(sides, kept, strict=True)]
    return Comparison(
        rows=len(both),
        differences={
            key: paired_bootstrap(truth, *answers, measure=key, resamples=resamples, level=level, seed=seed)
            for key in MEASURES
        },
        mcnemar=mcnemar(truth, *answers),
        level=level,
        resamples=resamples,
        seed=seed,
    )
