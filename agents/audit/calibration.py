"""From suspicion to probability: what verdicts on some records say of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.sheet import SampleKey, Verdicts
from labelspace.agents.audit.suspicion import log_odds
from labelspace.errors import DataError

FOLDS = 5


def calibrate(
    signals: Mapping[str, NDArray[np.float64]],
    wrong: NDArray[np.bool_],
    judged: NDArray[np.int64],
    *,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Learn from verdicts how probable it is that each label is wrong.

    A logistic regression over the signals, each as log-odds; rows without a signal have its mean. The
    probability of a judged record is from a model that did not see its verdict, so these
    probabilities can be held against the verdicts.

    Args:
        signals: Values in [0, 1] by name, [n]; the suspicion should be one of them.
        wrong: Verdict of each judged record, [m].
        judged: Positions of the judged records, [m].
        weights: How many records each judged one stands for, [m]; so that what is learned from a
            sample that is half flags holds for all records.
        seed: Of the folds.

    Returns:
        Probability that the label is wrong, [n].

    Raises:
        DataError: There are fewer than two verdicts of either kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    fewer = min(int(wrong.sum()), int((~wrong).sum()))
    if fewer < 2:
        raise DataError(
            f"{int(wrong.sum())} of {len(wrong)} verdicts say wrong, and nothing can be learned from that",
            advice="judge more records: at least two must be wrong and two right",
        )
    columns = []
    for values in signals.values():
        column = log_odds(np.asarray(values, np.float64))
        column[np.isnan(values)] = np.nanmean(column[~np.isnan(values)]) if (~np.isnan(values)).any() else 0.0
        columns.append(column)
    table = np.stack(columns, axis=1)
    scale = table[judged].std(axis=0)
    table = (table - table[judged].mean(axis=0)) / np.where(scale > 0, scale, 1)
    sample = np.ones(len(judged)) if weights is None else weights / weights.mean()

    def fitted(at: NDArray[np.intp]) -> LogisticRegression:
        return LogisticRegression(C=1.0).fit(table[judged[at]], wrong[at], sample_weight=sample[at])

    chances = np.asarray(fitted(np.arange(len(judged))).predict_proba(table)[:, 1])
    parts = StratifiedKFold(min(FOLDS, fewer), shuffle=True, random_state=seed)
    for learn, held in parts.split(table[judged], wrong):
        chances[judged[held]] = fitted(learn).predict_proba(table[judged[held]])[:, 1]
    return chances


def calibrate_rows(
    rows: Sequence[Mapping[str, Any]], verdicts: Verdicts, key: SampleKey
) -> tuple[list[dict[str, Any]], str]:
    """Give the rows of an audit a `probability_wrong`, learned from a judged sample; the highest first.

    Returns:
        The rows, and a line on what the probabilities come to.

    Raises:
        DataError: The verdicts are too few.
    """
    place = {str(row["id"]): at for at, row in enumerate(rows)}
    named = sorted({name for row in rows for name, value in row["evidence"].items() if isinstance(value, float)})
    signals = {name: np.array([float(row["evidence"].get(name, np.nan)) for row in rows], np.float64) for name in named}
    signals["suspicion"] = np.array([float(row["suspicion"]) for row in rows])
    ids = [one for one in (*verdicts.right, *verdicts.wrong) if one in place]
    judged = np.array([place[one] for one in ids], np.int64)
    wrong = np.isin(ids, verdicts.wrong)
    stands_for = {part.name: part.size / part.judged for part in verdicts.strata if part.judged}
    weights = np.array([stands_for[key.draws[one].stratum] for one in ids])
    chances = calibrate(signals, wrong, judged, weights=weights, seed=key.seed)
    out = []
    for at in np.argsort(-chances, kind="stable").tolist():
        row = {name: value for name, value in rows[at].items() if name != "probability_wrong"}
        evidence = row.pop("evidence")
        out.append(row | {"probability_wrong": round(float(chances[at]), 4), "evidence": evidence})
    return out, calibration_line(chances[judged], wrong, weights, total=float(chances.sum()), records=len(rows))


def calibration_line(
    chances: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
    *,
    total: float,
    records: int,
) -> str:
    """Say what the probabilities come to, and how good they are on records that they were not learned from."""
    brier = float(np.average((chances - wrong) ** 2, weights=weights))
    base = float(np.average(wrong, weights=weights))
    return (
        f"calibrated on {len(wrong):,} records: about {total:,.0f} of {records:,} labels are wrong; "
        f"Brier score {brier:.4f} out of sample, {base * (1 - base):.4f} for the bare rate"
    )
