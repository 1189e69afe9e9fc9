"""Apply a calibration to predictions: honest confidences, and what is too unsure set aside for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from labelspace.agents.labeling.calibration import Calibration
from labelspace.records import Prediction

BELOW = "confidence below the threshold"
"""How the reason begins on a prediction that was set aside for a person."""


def apply(found: Calibration, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Calibrate predictions, and set aside what is below the threshold, where there is one."""
    for one in predictions:
        if one.status == "failed" or not (one.scores or one.labels):
            yield one
        elif found.several:
            yield _several(found, one)
        else:
            yield _single(found, one)


def _single(found: Calibration, one: Prediction) -> Prediction:
    if one.confidence is None or not one.labels:
        return one
    sure = float(found.calibrator(one.confidence))
    rest = (1 - sure) / (1 - one.confidence) if one.confidence < 1 else 1.0
    scores = {name: min(score * rest, 1.0) for name, score in one.scores.items()}
    if one.labels[0] in scores:
        scores[one.labels[0]] = sure
    made = replace(one, confidence=sure, scores=scores, source=_marked(one, found))
    if found.threshold is None or sure >= found.threshold:
        return made
    return replace(made, labels=(), status="abstained", reason=_reason(sure, found, one.labels))


def _several(found: Calibration, one: Prediction) -> Prediction:
    if not one.scores:
        return one
    values = found.calibrator(list(one.scores.values())).tolist()
    scores = dict(zip(one.scores, values, strict=True))
    labels = one.labels
    if found.threshold is not None:
        labels = tuple(sorted((n for n in scores if scores[n] >= found.threshold), key=lambda n: -scores[n]))
    confidence = math.prod(score if name in labels else 1 - score for name, score in scores.items())
    made = replace(one, labels=labels, scores=scores, confidence=confidence, source=_marked(one, found))
    if labels == one.labels:
        return made
    if labels or found.target is None:
        return replace(made, status="ok", reason=None)
    best = max(scores, key=scores.__getitem__)
    return replace(made, status="abstained", reason=_reason(scores[best], found, one.labels or (best,)))


def _marked(one: Prediction, found: Calibration) -> dict[str, Any]:
    return {**one.source, "calibrated": found.calibrator.method}


def _reason(sure: float, found: Calibration, labels: tuple[str, ...]) -> str:
    return f"{BELOW} ({sure:.3f} < {found.threshold:.3f}); it would be: {'; '.join(labels)}"
