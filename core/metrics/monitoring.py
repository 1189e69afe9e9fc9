"""What a monitoring report says about two sets of predictions, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labelspace.metrics.drift import (
    ConfidenceDrift,
    LabelDrift,
    Moved,
    confidence_drift,
    holm,
    label_drift,
    rate_drift,
)
from labelspace.metrics.fates import Fate, answer, confidence_of, fate
from labelspace.metrics.intervals import Interval, wilson
from labelspace.metrics.render import one_line
from labelspace.metrics.spot_checks import Agreement, agreement_with
from labelspace.records import Prediction, Record

SHOWN = 10
"""Labels that the text names."""


@dataclass(frozen=True)
class Finding:
    """One of those that decide about drift."""

    name: str
    effect: float
    p: float
    p_corrected: float
    drift: bool


@dataclass(frozen=True)
class Monitoring:
    """Everything compared; None where a set says nothing of it."""

    rows: Mapping[str, Mapping[Fate, int]]
    """Rows by what became of them, `before` and `now`."""
    alpha: float
    least_effect: float
    tests: tuple[Finding, ...]
    labels: LabelDrift | None
    confidence: ConfidenceDrift | None
    nowhere: Moved | None
    nowhere_interval: Interval
    agreement: Agreement | None
    agreement_by_label: tuple[Agreement, ...]
    remarks: tuple[str, ...]

    @property
    def drift(self) -> bool:
        """Whether a test found drift."""
        return any(test.drift for test in self.tests)

    def to_data(self) -> dict[str, Any]:
        """As plain data."""
        return {"drift": self.drift, **asdict(self)}

    def text(self) -> str:
        """For reading."""
        now, before = self.rows["now"], self.rows["before"]
        lines = [f"{_rows(now)}; reference: {_rows(before)}", "", f"Drift: {'yes' if self.drift else 'no'}"]
        for test in self.tests:
            verdict = "drift" if test.drift else "no drift"
            lines.append(f"  {test.name:<20} effect {test.effect:.3f}  p {test.p_corrected:<8.2g} {verdict}")
        lines.append(
            f"  (p corrected for {len(self.tests)} tests; drift: p below {self.alpha:g} and effect of at least "
            f"{self.least_effect:g})"
        )
        if self.labels:
            lines += ["", f"Labels: Jensen-Shannon distance {self.labels.jensen_shannon:.3f}"]
            lines[-1] += f", Cramér's V {self.labels.cramer_v:.3f}, G {self.labels.g:.1f}"
            lines += [f"  {_moved(one)}" for one in self.labels.labels[:SHOWN]]
            if len(self.labels.labels) > SHOWN:
                lines.append(f"  and {len(self.labels.labels) - SHOWN} more, which changed less")
        if self.confidence:
            lines += ["", f"Confidence: mean {self.confidence.before:.3f} -> {self.confidence.now:.3f}"]
            lines[-1] += f", population stability index {self.confidence.stability_index:.3f}"
        if self.nowhere:
            low, high = self.nowhere_interval
            lines += ["", f"{_moved(self.nowhere)}; now [{low:.1%}, {high:.1%}]"]
        if self.agreement:
            lines += ["", f"Agreement with spot checks: {_agreed(self.agreement)}"]
            lines += [f"  {one_line(one.name)}: {_agreed(one)}" for one in self.agreement_by_label[:SHOWN]]
            if len(self.agreement_by_label) > SHOWN:
                lines.append(f"  and {len(self.agreement_by_label) - SHOWN} more, with fewer checks")
        return "\n".join([*lines, *(f"\nRemark: {remark}" for remark in self.remarks)])


def monitor(
    now: Sequence[Prediction],
    before: Sequence[Prediction],
    *,
    checks: Sequence[Record] = (),
    other: str | None = None,
    alpha: float = 0.05,
    least_effect: float = 0.05,
    draws: int = 9999,
    seed: int = 0,
) -> Monitoring:
    """Compare predictions with those of a reference.

    Args:
        now: Predictions to look at.
        before: The reference.
        checks: Spot checks of rows of `now`, by id; those without labels are passed over.
        other: Name of the bucket for what fits nowhere.
        alpha: Probability of a false alarm, of all tests together.
        least_effect: A smaller effect is no drift, however sure it is.
        draws: As for `label_drift`.
        seed: Of everything random.
    """
    sides = {"now": now, "before": before}
    rows: dict[str, dict[Fate, int]] = {side: {"answered": 0, "nowhere": 0, "blank": 0, "failed": 0} for side in sides}
    answers: dict[str, list[tuple[str, ...]]] = {"now": [], "before": []}
    sure: dict[str, list[float]] = {"now": [], "before": []}
    for side, predictions in sides.items():
        for one in predictions:
            became = fate(one, other)
            rows[side][became] += 1
            if became == "answered":
                answers[side].append(answer(one, other))
            if became in ("answered", "nowhere") and (value := confidence_of(one)) is not None:
                sure[side].append(value)
    fitted = {side: (counts["nowhere"], counts["nowhere"] + counts["answered"]) for side, counts in rows.items()}
    labels = label_drift(answers["before"], answers["now"], draws=draws, seed=seed) if all(answers.values()) else None
    confidence = confidence_drift(sure["before"], sure["now"]) if all(sure.values()) else None
    nowhere = None
    if fitted["now"][1] and fitted["before"][1]:
        nowhere = rate_drift("Fits nowhere", fitted["before"], fitted["now"])
    measured: list[tuple[str, float, float]] = []
    if labels:
        # Many labels hide a change of one from the test of all.
        most = min(labels.labels, key=lambda label: label.p)
        measured += [("labels", labels.effect, labels.p), ("one label", abs(most.change), most.p)]
    if confidence:
        measured.append(("confidence", confidence.effect, confidence.p))
    if nowhere:
        measured.append(("fits nowhere", abs(nowhere.change), nowhere.p))
    corrected = holm([p for _, _, p in measured])
    tests = tuple(
        Finding(name, effect, p, better, better < alpha and effect >= least_effect)
        for (name, effect, p), better in zip(measured, corrected, strict=True)
    )
    whole, by_label, remarks = agreement_with(now, checks, other=other)
    return Monitoring(
        rows=rows,
        alpha=alpha,
        least_effect=least_effect,
        tests=tests,
        labels=labels,
        confidence=confidence,
        nowhere=nowhere,
        nowhere_interval=wilson(*fitted["now"]),
        agreement=whole,
        agreement_by_label=by_label,
        remarks=(*_remarks(now, before), *remarks),
    )


def _remarks(now: Sequence[Prediction], before: Sequence[Prediction]) -> list[str]:
    """What makes the sets hard to compare."""
    versions = [{str(one.source["space"]) for one in side if one.source.get("space")} for side in (before, now)]
    if all(versions) and versions[0] != versions[1]:
        return ["the predictions were made with different versions of the label space"]
    return []


def _rows(counts: Mapping[Fate, int]) -> str:
    named = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{sum(counts.values()):,} rows ({named})"


def _moved(one: Moved) -> str:
    low, high = one.change_interval
    shares = f"{one.before:.1%} -> {one.now:.1%}, {one.change:+.1%} [{low:+.1%}, {high:+.1%}], p {one.p:.2g}"
    return f"{one_line(one.name)}: {shares}"


def _agreed(one: Agreement) -> str:
    return f"{one.share:.1%} [{one.interval[0]:.1%}, {one.interval[1]:.1%}] ({one.same:,} of {one.rows:,})"
