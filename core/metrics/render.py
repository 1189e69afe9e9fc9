"""A report as plain text: aligned tables that fit a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from labelspace.metrics.report import Calibration, Comparison, Estimate, OperatingPoint, Report, Rows, Selection

KINDS = {"single": "single-label", "multi": "multi-label", "discovered": "discovered labels"}
TITLES = {"accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1"}
ABSENT = "-"
GAP = "  "
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Bidirectional classes of the signs that turn the direction of what follows them."""


def render(report: Report, *, width: int = 100, show: int = 20) -> str:
    """Lay a report out.

    Args:
        report: What to show.
        width: Columns to stay within.
        show: Rows of each long table.
    """
    parts = [
        *(line for part in _head(report) for line in _wrapped(part, width)),
        *_measures(report, width=width),
        *_labels(report, width=width, show=show),
        *_confusions(report, width=width, show=show),
        *_matches(report, width=width, show=show),
        *(_calibration(report.calibration, width=width) if report.calibration else ()),
        *(_selection(report.selection, width=width) if report.selection else ()),
        *(_against(report.against, width=width) if report.against else ()),
        *([""] if report.remarks else []),
        *(line for remark in report.remarks for line in _wrapped(f"! {remark}", width)),
    ]
    return "\n".join(parts)


def percent(share: float | None) -> str:
    """93.1%, or a dash."""
    return ABSENT if share is None else f"{100 * share:.1f}%"


def interval(estimate: Estimate | None, *, unit: str = "share") -> str:
    """93.1% [92.2, 94.0]; 0.871 [0.862, 0.880] where it is no share."""
    if estimate is None or estimate.value is None:
        return ABSENT
    scale, digits, sign = (100, 1, "%") if unit == "share" else (1, 3, "")
    text = f"{scale * estimate.value:.{digits}f}{sign}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(one_line(text), width, subsequent_indent="  ", break_on_hyphens=False)


def _head(report: Report) -> Iterator[str]:
    rows = report.rows
    yield f"{rows.scored:,} rows, {report.labels:,} gold labels; {KINDS[report.kind]} ({report.why})"
    yield "; ".join(_accounts(rows))
    if rows.reasons:
        yield "not answered: " + "; ".join(f"{reason} ({count:,})" for reason, count in rows.reasons.items())
    if rows.missing:
        scored = "scored as wrong" if rows.missing_count_as_wrong else "left out"
        yield f"! gold rows without a prediction, {scored}: {rows.missing:,} ({_some(rows.missing_ids, rows.missing)})"
    if rows.extra:
        yield f"! predictions without a gold row, left out: {rows.extra:,} ({_some(rows.extra_ids, rows.extra)})"
    if rows.unlabelled:
        yield f"! gold rows without a gold label, left out: {rows.unlabelled:,}"


def _accounts(rows: Rows) -> Iterator[str]:
    yield f"read {rows.gold:,} gold rows and {rows.predictions:,} predictions"
    yield f"answered {rows.answered:,}"
    for count, what in ((rows.abstained, "abstained"), (rows.other, "in the other bucket"), (rows.failed, "failed")):
        if count:
            yield f"{what} {count:,}"


def _some(ids: Sequence[str], total: int) -> str:
    return ", ".join(ids) + (", ..." if total > len(ids) else "")


def _measures(report: Report, *, width: int) -> Iterator[str]:
    rows = report.rows
    differ = 0 < rows.answered < rows.scored
    heads = ["", f"all {rows.scored:,} rows", *([f"{rows.answered:,} answered rows"] if differ else [])]
    lines = []
    for measure in report.measures.values():
        cells = [measure.title, interval(measure.all_rows, unit=measure.unit)]
        lines.append([*cells, interval(measure.answered, unit=measure.unit)] if differ else cells)
    yield ""
    yield from table(heads, lines, width=width, align="<<<")
    boot = (
        f"; bootstrap of {report.resamples:,} resamples (seed {report.seed}) for the rest" if report.resamples else ""
    )
    shares = "for coverage" if report.kind == "discovered" else "for coverage and accuracy"
    yield from _wrapped(f"{report.level:.0%} intervals: Wilson {shares}{boot}", width)


def _labels(report: Report, *, width: int, show: int) -> Iterator[str]:
    if not report.per_label or not show:
        return
    shown = sorted(report.per_label, key=lambda label: (label.f1 if label.f1 is not None else 2, -label.support))
    more = len(shown) - show
    yield ""
    yield f"Labels, the lowest F1 first{_more(more)}"
    yield from table(
        ["label", "precision", "recall", "F1", "gold", "predicted"],
        [
            [
                label.name,
                percent(label.precision),
                percent(label.recall),
                percent(label.f1),
                f"{label.support:,}",
                f"{label.predicted:,}",
            ]
            for label in shown[:show]
        ],
        width=width,
        align="<>>>>>",
    )


def _confusions(report: Report, *, width: int, show: int) -> Iterator[str]:
    shown = report.confusions[: min(show, 10)]
    if not shown:
        return
    yield ""
    yield f"Most frequent confusions{_more(len(report.confusions) - len(shown))}"
    yield from table(
        ["gold", "predicted", "rows", "of gold"],
        [[one.gold, one.predicted, f"{one.count:,}", percent(one.share)] for one in shown],
        width=width,
        align="<<>>",
    )


def _matches(report: Report, *, width: int, show: int) -> Iterator[str]:
    if not report.matches or not show:
        return
    yield ""
    yield f"Discovered labels, the largest first{_more(len(report.matches) - show)}"
    yield from table(
        ["discovered", "rows", "most are", "share", "paired one to one with"],
        [
            [one.predicted, f"{one.rows:,}", one.gold, percent(one.shared / one.rows), one.partner or ABSENT]
            for one in report.matches[:show]
        ],
        width=width,
        align="<><><",
    )


def _calibration(calibration: Calibration, *, width: int) -> Iterator[str]:
    yield ""
    yield f"Calibration of {calibration.rows:,} answers with a confidence"
    log = "" if calibration.log_loss is None else f"; log loss {calibration.log_loss:.3f}"
    yield from _wrapped(
        f"mean confidence {percent(calibration.mean_confidence)}, right {percent(calibration.accuracy)}; "
        f"calibration error {interval(calibration.ece)}, in bins of equal mass {percent(calibration.ece_equal_mass)}; "
        f"Brier {calibration.brier:.3f}{log}",
        width,
    )
    yield from table(
        ["confidence", "rows", "mean", "right"],
        [
            [f"{one.low:.2f} to {one.high:.2f}", f"{one.count:,}", percent(one.confidence), percent(one.accuracy)]
            for one in calibration.bins
        ],
        width=width,
        align="<>>>",
    )


def _selection(selection: Selection, *, width: int) -> Iterator[str]:
    yield ""
    yield from _wrapped(
        f"Answering only where confident (area under the risk-coverage curve {selection.aurc:.3f}); thresholds are "
        "chosen on these very rows, so expect a little less on new ones",
        width,
    )
    lines = [["", *_point(point)] for point in selection.points]
    for target in selection.targets:
        wanted = f"for {target.precision:.0%} right"
        lines.append([wanted, *(_point(target.reached) if target.reached else ["not reached", "", "", ""])])
    yield from table(["", "threshold", "rows", "coverage", "right"], lines, width=width, align="<>>><")


def _point(point: OperatingPoint) -> list[str]:
    return [f"{point.threshold:.4f}", f"{point.rows:,}", percent(point.coverage), interval(point.accuracy)]


def _against(against: Comparison, *, width: int) -> Iterator[str]:
    yield ""
    yield f"Against the other system, on the {against.rows:,} rows that both have"
    lines = []
    for key, found in against.differences.items():
        gap = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
        lines.append([TITLES[key], percent(found.first), percent(found.second), gap, f"{found.p_value:.3f}"])
    yield from table(["", "this", "other", "difference", "p"], lines, width=width, align="<>><>")
    test = against.mcnemar
    yield from _wrapped(
        f"McNemar's test: only this one is right on {test.only_first:,} rows, only the other on "
        f"{test.only_second:,}; p = {test.p_value:.3f}",
        width,
    )
    yield from _wrapped(
        f"differences in points; intervals ({against.level:.0%}) and their p by paired bootstrap of "
        f"{against.resamples:,} resamples (seed {against.seed})",
        width,
    )


def _more(count: int) -> str:
    return f" ({count:,} more in the JSON report)" if count > 0 else ""


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, width: int, align: str) -> Iterator[str]:
    """Align columns; the widest texts give way if the table would be wider than `width`.

    Args:
        heads: Name of each column.
        lines: Cells of each row.
        width: Columns of the terminal.
        align: "<" or ">" for each column.
    """
    rows = [[one_line(cell) for cell in line] for line in (heads, *lines)]
    widths = [max(_columns(row[at]) for row in rows) for at in range(len(heads))]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    for row in rows:
        fitted = [_fit(cell, size, side) for cell, size, side in zip(row, widths, align, strict=False)]
        yield GAP.join(fitted).rstrip()


def one_line(text: str) -> str:
    """One line without control characters: a label from a file must not move the cursor or turn what follows it."""
    return "".join(
        " " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(sign) in _TURNING else sign
        for sign in text
    )


def _columns(text: str) -> int:
    """How many columns a terminal needs for a text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _fit(text: str, size: int, side: str) -> str:
    if _columns(text) > size:
        while _columns(text) > size - 1:
            text = text[:-1]
        text += "…"
    padding = " " * (size - _columns(text))
    return text + padding if side == "<" else padding + text
