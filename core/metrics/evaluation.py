"""Evaluate predictions against gold labels: join, choose the measures that apply, and report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from labelspace.metrics import classification as flat
from labelspace.metrics import clusters
from labelspace.metrics.cells import Cells, FloatArray, group
from labelspace.metrics.confidence import calibration_of, selection_of
from labelspace.metrics.intervals import wilson
from labelspace.metrics.join import join
from labelspace.metrics.kind import Sides, settle
from labelspace.metrics.report import Estimate, Match, Measure, Report
from labelspace.metrics.scores import Score, estimates, scores_for
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

Mode = Literal["auto", "single", "multi", "discovered"]


def evaluate(
    predictions: Iterable[Prediction],
    gold: Iterable[Record],
    *,
    space: LabelSpace | None = None,
    mode: Mode = "auto",
    other: str | None = None,
    at_level: int | None = None,
    missing_as_wrong: bool = False,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    targets: Sequence[float] = (0.9, 0.95, 0.99),
) -> Report:
    """Score predictions against gold labels, joined by id.

    Measures are given over all rows, where a row without an answer is wrong, and over the answered
    rows alone. Shares of rows have Wilson intervals, other measures bootstrap intervals.

    Args:
        predictions: What was made of the records, in any order.
        gold: Records with their gold labels.
        space: The label space. A tree adds hierarchical measures; a multi-label one settles the kind.
        mode: "single", "multi", "discovered" (the predicted labels are not the gold ones: compare as
            partitions), or "auto": discovered if hardly any predicted label is a gold one, multi if
            the space or a gold row says so, else single.
        other: Name of the bucket for what fits nowhere; such rows count as not answered. By default
            the space's, or "other" where no gold row is called that.
        at_level: Replace labels by their ancestors at this level of `space` first; 0 is the top.
        missing_as_wrong: Score gold rows without a prediction as failed instead of leaving them out.
        resamples: For the bootstrap; 0 gives no bootstrap intervals.
        level: Of the intervals.
        seed: Of the bootstrap.
        targets: Precisions to find confidence thresholds for.

    Raises:
        DataError: Nothing can be scored: no common ids, ids twice, gold without labels.
        SpaceError: A gold label is not in `space`, though the labels are of one vocabulary.
    """
    joined = join(predictions, gold, missing_as_wrong=missing_as_wrong)
    sides = settle(joined, mode=mode, space=space, other=other, level=at_level)
    answered = sides.answered
    remarks = list(sides.remarks)
    asked = space.leaves if space is not None and sides.kind == "multi" else ()
    everything = group(sides.gold, sides.answers, names=asked)
    picked = np.flatnonzero(answered)
    only = group([sides.gold[at] for at in picked], [sides.answers[at] for at in picked], names=everything.names)

    def measured(cells: Cells, *, all_rows: bool) -> dict[str, tuple[Score, Estimate]]:
        if not len(cells):
            return {}
        scores = scores_for(cells, sides, space=space, all_rows=all_rows, remarks=remarks)
        return estimates(cells, scores, resamples=resamples, level=level, seed=seed)

    over_all = measured(everything, all_rows=True)
    over_answered = over_all if answered.all() else measured(only, all_rows=False)
    low, high = wilson(len(only), len(everything), level=level)
    coverage = Measure(title="coverage", all_rows=Estimate(value=len(only) / len(everything), low=low, high=high))
    measures = {"coverage": coverage}
    for key, (score, estimate) in over_all.items():
        found = over_answered.get(key)
        measures[key] = Measure(
            title=score.title, unit=score.unit, all_rows=estimate, answered=None if found is None else found[1]
        )
    confident = _confident(joined.predictions, sides) if sides.kind != "discovered" else None
    rows = joined.rows.model_copy(
        update={
            "answered": len(only),
            "other": sides.other,
            # What answered nothing at all, though it says that it did, has abstained.
            "abstained": len(everything) - len(only) - joined.rows.failed - sides.other,
        }
    )
    if not resamples:
        remarks.append("no bootstrap was asked for: only shares of rows have intervals")
    return Report(
        kind=sides.kind,
        why=sides.why,
        labels=len({name for names in sides.gold for name in names}),
        rows=rows,
        measures=measures,
        per_label=tuple(flat.per_label_of(_ordered(everything, space))) if sides.kind != "discovered" else (),
        confusions=tuple(flat.confusion_pairs_of(everything, top=100)) if sides.kind != "discovered" else (),
        matches=_matches(everything) if sides.kind == "discovered" else (),
        calibration=confident and calibration_of(*confident, level=level, resamples=resamples, seed=seed),
        selection=confident
        and selection_of(confident[0], confident[1], total=len(everything), targets=targets, level=level),
        remarks=tuple(dict.fromkeys(remarks)),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def _ordered(cells: Cells, space: LabelSpace | None) -> Cells:
    """The same cells with labels in the order of the space, and without those that don't occur."""
    order = {name: at for at, name in enumerate(space.names if space else ())}
    found = {name for pattern in cells.patterns for side in pattern for name in side}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    return Cells(tuple(names), cells.patterns, cells.rows)


def _matches(cells: Cells) -> tuple[Match, ...]:
    """Discovered labels by size, with the gold labels they stand for."""
    majority = clusters.many_to_one(cells)
    try:
        partner = clusters.one_to_one(cells, by="f1")
    except ValueError:
        partner = {}
    size: dict[str, int] = {}
    shared: dict[str, int] = {}
    for (gold, given), count in zip(cells.patterns, cells.rows.tolist(), strict=True):
        for name in given:
            size[name] = size.get(name, 0) + count
            if gold[0] == majority[name]:
                shared[name] = count
    return tuple(
        Match(predicted=name, gold=majority[name], rows=size[name], shared=shared[name], partner=partner.get(name))
        for name in sorted(size, key=lambda name: (-size[name], name))
    )


def _confident(
    predictions: list[Prediction | None], sides: Sides
) -> tuple[FloatArray, FloatArray, list[Prediction], list[tuple[str, ...]]] | None:
    """Confidence, whether right, prediction and gold labels of answered rows that state a confidence."""
    kept = [
        (found, gold, answer)
        for found, gold, answer in zip(predictions, sides.gold, sides.answers, strict=True)
        if found is not None and answer is not None and found.confidence is not None
    ]
    if not kept:
        return None
    stated = np.array([found.confidence for found, _, _ in kept], dtype=np.float64)
    right = np.array([set(gold) == set(answer) for _, gold, answer in kept], dtype=np.float64)
    return stated, right, [found for found, _, _ in kept], [gold for _, gold, _ in kept]
