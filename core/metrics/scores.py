"""Which measures apply to an evaluation, and their values with intervals from one bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from labelspace.metrics import classification as flat
from labelspace.metrics import clusters, tree
from labelspace.metrics.cells import Cells, Draw, FloatArray
from labelspace.metrics.intervals import bootstrap, centred_interval, percentile_interval, wilson
from labelspace.metrics.kind import Sides
from labelspace.metrics.report import Estimate
from labelspace.space import LabelSpace


@dataclass(frozen=True)
class Score:
    """How one measure is computed from resampled cells."""

    title: str
    values: Callable[[Draw], FloatArray]
    """From resamples to the measure on each."""
    interval: Literal["percentile", "centred", "wilson", "none"] = "percentile"
    unit: Literal["share", "number"] = "share"
    bounds: tuple[float, float] = (0.0, 1.0)


def estimates(
    cells: Cells, scores: dict[str, Score], *, resamples: int, level: float, seed: int
) -> dict[str, tuple[Score, Estimate]]:
    """Each measure on the data, with the interval that suits it; one bootstrap serves all."""
    data = Draw(cells, cells.rows[None].astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {key: float(score.values(data)[0]) for key, score in scores.items()}
        drawn = [key for key, score in scores.items() if score.interval in ("percentile", "centred")]
        draws: dict[str, FloatArray] = {}
        if resamples and drawn:
            table = bootstrap(
                cells.rows,
                lambda weights: _table(Draw(cells, weights), [scores[key] for key in drawn]),
                resamples=resamples,
                seed=seed,
                width=3 * len(cells.names),
            )
            draws = {key: table[:, column] for column, key in enumerate(drawn)}
    found = {}
    for key, score in scores.items():
        value, ends = values[key], (float("nan"), float("nan"))
        if score.interval == "wilson":
            ends = wilson(round(value * len(cells)), len(cells), level=level)
        elif key in draws and score.interval == "percentile":
            ends = percentile_interval(draws[key], level=level)
        elif key in draws:
            ends = centred_interval(value, draws[key], level=level, bounds=score.bounds)
        known, low, high = (None if np.isnan(number) else number for number in (value, *ends))
        found[key] = (score, Estimate(value=known, low=low, high=high))
    return found


def _table(draw: Draw, scores: list[Score]) -> FloatArray:
    """Measures on each resample; shape [resamples, scores]."""
    return np.stack([score.values(draw) for score in scores], axis=-1)


def scores_for(
    cells: Cells, sides: Sides, *, space: LabelSpace | None, all_rows: bool, remarks: list[str]
) -> dict[str, Score]:
    """The measures that apply, in the order in which they are shown."""
    if sides.kind == "discovered":
        scores = _partition_scores(cells, remarks)
        if (
            space is not None
            and not space.is_flat
            and all(name in space for gold, _ in cells.patterns for name in gold)
        ):
            apart = tree.matched_distances(cells, space)
            scores["tree_distance"] = Score("tree distance, best node", _mean_of(apart), unit="number")
        return scores
    # A row that has no gold label would be right by not being answered; credit only those answered.
    credit = np.ones(len(cells.patterns))
    if all_rows and ((), ()) in cells.patterns:
        unanswered = sum(not gold and answer is None for gold, answer in zip(sides.gold, sides.answers, strict=True))
        at = cells.patterns.index(((), ()))
        credit[at] -= unanswered / cells.rows[at]
    name = "accuracy" if sides.kind == "single" else "subset accuracy"
    scores = {
        name.replace(" ", "_"): Score(name, _mean_of(credit * cells.exact), interval="wilson"),
        "macro_f1": Score("macro F1", lambda draw: flat.macro_f1_of(draw.counts)),
        "micro_f1": Score("micro F1", lambda draw: flat.micro_f1_of(draw.counts)),
        "weighted_f1": Score("weighted F1", lambda draw: flat.weighted_f1_of(draw.counts)),
    }
    if sides.kind == "multi":
        scores["example_f1"] = Score("example F1", _mean_of(credit * flat.example_f1_of(cells)))
        scores["hamming_loss"] = Score("Hamming loss", _mean_of(flat.hamming_of(cells)))
    if space is not None and not space.is_flat:
        scores.update(_tree_scores(cells, space, single=sides.kind == "single"))
    return scores


def _tree_scores(cells: Cells, space: LabelSpace, *, single: bool) -> dict[str, Score]:
    sizes = tree.extended_sizes(cells, space)

    def part(position: int) -> Callable[[Draw], FloatArray]:
        return lambda draw: tree.hierarchical_of(sizes @ draw.weights.T)[position]

    scores = {
        "hierarchical_precision": Score("hierarchical precision", part(0)),
        "hierarchical_recall": Score("hierarchical recall", part(1)),
        "hierarchical_f1": Score("hierarchical F1", part(2)),
    }
    if single:
        apart = tree.distances(cells, space)
        scores["tree_distance"] = Score("tree distance", _mean_of(apart), unit="number")
        for depth, (has, hit) in enumerate(zip(*tree.level_hits(cells, space), strict=True)):
            scores[f"accuracy_level_{depth}"] = Score(f"accuracy at level {depth}", _ratio_of(hit, has))
    return scores


def _partition_scores(cells: Cells, remarks: list[str]) -> dict[str, Score]:
    def v(position: int) -> Callable[[Draw], FloatArray]:
        return lambda draw: clusters.v_measure_of(draw)[:, position]

    many = clusters.renamed(cells, clusters.many_to_one(cells))
    adjusted = clusters.ami_of(cells)
    scores = {
        "nmi": Score("NMI (V-measure)", v(2), interval="centred", unit="number"),
        "ami": Score("AMI", lambda draw: np.full(len(draw.weights), adjusted), interval="none", unit="number"),
        "ari": Score(
            "ARI",
            clusters.ari_of,
            interval="centred",
            unit="number",
            bounds=(-1.0, 1.0),
        ),
        "homogeneity": Score("homogeneity", v(0), interval="centred", unit="number"),
        "completeness": Score("completeness", v(1), interval="centred", unit="number"),
        "purity": Score("purity", clusters.purity_of, interval="centred"),
        "inverse_purity": Score(
            "inverse purity", lambda draw: clusters.purity_of(draw, inverse=True), interval="centred"
        ),
        "many_to_one_f1": Score("best-match F1, many to one", lambda draw: flat.macro_f1_of(many.counts(draw.weights))),
    }
    try:
        by_f1 = clusters.renamed(cells, clusters.one_to_one(cells, by="f1"))
        by_rows = clusters.renamed(cells, clusters.one_to_one(cells, by="rows"))
    except ValueError as error:
        remarks.append(str(error))
        return scores
    scores["one_to_one_f1"] = Score(
        "best-match F1, one to one", lambda draw: flat.macro_f1_of(by_f1.counts(draw.weights))
    )
    scores["one_to_one_accuracy"] = Score("accuracy, one to one", _mean_of(by_rows.exact))
    return scores


def _mean_of(values: FloatArray) -> Callable[[Draw], FloatArray]:
    """Mean over rows of a value that each cell has."""
    return lambda draw: np.asarray(draw.weights @ values / draw.weights.sum(-1))


def _ratio_of(above: FloatArray, below: FloatArray) -> Callable[[Draw], FloatArray]:
    return lambda draw: np.asarray((draw.weights @ above) / (draw.weights @ below))
