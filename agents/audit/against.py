"""An audit held against true labels, where some are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.calibration import calibrate, calibration_line
from labelspace.agents.audit.result import Audit

Truth = Mapping[str, tuple[str, ...]]


def wrong_labels(found: Audit, truth: Truth, *, tolerance: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions of the records whose truth is known, and which of these are labelled wrongly."""
    known = np.array([at for at, one in enumerate(found.records) if one.id in truth], np.int64)
    place = {name: at for at, name in enumerate(found.names)}

    def differs(at: int) -> bool:
        given, right = found.records[at].labels or (), truth[found.records[at].id]
        if tolerance and len(given) == len(right) == 1 and given[0] in place and right[0] in place:
            return abs(place[given[0]] - place[right[0]]) > tolerance
        return set(given) != set(right)

    return known, np.array([differs(int(at)) for at in known], bool)


def against_truth(found: Audit, truth: Truth, *, tolerance: int = 0) -> str:
    """Say precision and recall of the flags, and how many suggestions are right."""
    known, wrong = wrong_labels(found, truth, tolerance=tolerance)
    flagged = found.flags[known]
    if not wrong.any() or not flagged.any():
        return f"{wrong.sum()} labels are wrong and {flagged.sum()} are flagged"
    hits = known[wrong & flagged]
    mended = sum(set(found.suggestion(int(at))) == set(truth[found.records[at].id]) for at in hits)
    return (
        f"{wrong.sum()} labels are wrong; precision of the flags {len(hits) / flagged.sum():.1%} "
        f"({len(hits)} of {flagged.sum()}), recall {len(hits) / wrong.sum():.1%}; "
        f"the suggestion is right for {mended} of the {len(hits)} found"
    )


def calibrated_by(found: Audit, truth: Truth, *, tolerance: int = 0) -> tuple[NDArray[np.float64], str]:
    """How probable it is that each label is wrong, [n], learned from the records whose truth is known."""
    known, wrong = wrong_labels(found, truth, tolerance=tolerance)
    signals = {"suspicion": found.suspicion.scores, "quality": found.quality, **found.opinions}
    chances = calibrate(signals, wrong, known)
    return chances, calibration_line(chances[known], wrong, total=float(chances.sum()), records=len(chances))
