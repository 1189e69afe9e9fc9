"""The data set's label: one page of what is in it and what to watch for (after Holland et al. 2018)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from labelspace.agents.audit.estimate import Estimate
from labelspace.agents.audit.run import Audit
from labelspace.records import Record

FEW = 10
"""A label with fewer records can hardly be learned or measured."""
IMBALANCE = 20
"""Largest over smallest label from which the page warns."""
LISTED = 12
SOURCE_COLUMNS = ("source", "origin", "dataset")
LANGUAGE_COLUMNS = ("language", "lang", "locale")
AGREEMENT_COLUMNS = ("annotations",)


def write_page(records: Sequence[Record], found: Audit, *, name: str, estimate: Estimate | None = None) -> str:
    """Write the page as Markdown.

    Args:
        records: All records of the data, also those that were not audited.
        found: The audit.
        name: Of the data set.
        estimate: What a judged sample said, if there is one.
    """
    report = found.report
    lengths = np.array([len(record.text.split()) for record in records if not record.is_blank])
    quarter, middle, most = (int(np.quantile(lengths, share)) for share in (0.25, 0.5, 0.95))
    counts = Counter(label for record in found.records for label in record.labels or ())
    parts = [
        f"# Label of {name}",
        _table(
            [
                ("records", f"{len(records):,}"),
                ("audited", f"{report.records:,} (with text and label)"),
                ("without label", f"{report.unlabelled:,}"),
                ("blank texts", f"{report.blank:,}"),
                ("words a text", f"{quarter} to {middle} (lower quarter to middle), 95% up to {most}"),
                ("label space", f"{report.space} {report.space_version}, {len(found.names)} labels"),
                *_columns(records),
                ("near-duplicates", f"{report.duplicates:,} records, {report.conflicting:,} with different labels"),
                ("flagged labels", f"{report.flagged:,} ({report.flagged / report.records:.1%})"),
                ("wrong labels", str(estimate.error_rate) if estimate else "not estimated: judge a sample"),
                ("flags that are right", str(estimate.precision) if estimate else "not estimated"),
            ]
        ),
        "## Labels",
        _distribution(counts, found),
        "## What to watch for",
        "\n".join(f"- {warning}" for warning in _warnings(found, counts, estimate)) or "- nothing that was looked for",
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        ["| what | how much |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _columns(records: Sequence[Record]) -> list[tuple[str, str]]:
    rows = []
    for title, columns in (("sources", SOURCE_COLUMNS), ("languages", LANGUAGE_COLUMNS)):
        values = Counter(
            str(record.metadata[column]) for record in records for column in columns if record.metadata.get(column)
        )
        if values:
            rows.append((title, ", ".join(f"{value} {count:,}" for value, count in values.most_common(LISTED))))
    scripts = Counter(script for record in records if (script := _script(record.text)))
    rows.append(("writing", ", ".join(f"{script} {count:,}" for script, count in scripts.most_common(4))))
    if (agreement := _agreement(records)) is not None:
        rows.append(("annotators", agreement))
    return rows


def _script(text: str) -> str:
    """The script most letters of the text are in, by their Unicode names."""
    letters = [letter for letter in text[:200] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "unknown").split()[0].title() for letter in letters[:50])
    return scripts.most_common(1)[0][0] if scripts else ""


def _agreement(records: Sequence[Record]) -> str | None:
    pairs, agreeing, people = 0, 0, set()
    for record in records:
        votes = next((record.metadata[name] for name in AGREEMENT_COLUMNS if record.metadata.get(name)), None)
        if not isinstance(votes, list):
            continue
        said = Counter(str(vote.get("label")) for vote in votes if isinstance(vote, dict))
        people |= {str(vote.get("worker")) for vote in votes if isinstance(vote, dict)}
        total = sum(said.values())
        pairs += total * (total - 1)
        agreeing += sum(count * (count - 1) for count in said.values())
    return f"{len(people):,}, two of them agree on {agreeing / pairs:.1%}" if pairs else None


def _distribution(counts: Counter[str], found: Audit) -> str:
    flagged = Counter(
        label for record, flag in zip(found.records, found.flags, strict=True) if flag for label in record.labels or ()
    )
    ranked = counts.most_common()
    shown = ranked if len(ranked) <= 2 * LISTED else [*ranked[:LISTED], *ranked[-LISTED:]]
    total = sum(counts.values())
    lines = ["| label | records | share | flagged |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {_cell(label)} | {count:,} | {count / total:.1%} | {flagged[label] / count:.1%} |" for label, count in shown
    ]
    if len(shown) < len(ranked):
        lines.append(f"\n{len(ranked) - len(shown)} labels of middling size are not listed.")
    return "\n".join(lines)


def _warnings(found: Audit, counts: Counter[str], estimate: Estimate | None) -> list[str]:
    report, warnings = found.report, []
    unused = [name for name in found.names if not counts[name]]
    few = [name for name, count in counts.items() if count < FEW]
    if unused:
        warnings.append(f"{len(unused)} labels have no record: {', '.join(unused[:LISTED])}")
    if few:
        warnings.append(f"{len(few)} labels have fewer than {FEW} records: {', '.join(sorted(few)[:LISTED])}")
    if counts and max(counts.values()) >= IMBALANCE * min(counts.values()):
        warnings.append(
            f"labels are uneven: the largest has {max(counts.values()):,} records, "
            f"the smallest {min(counts.values()):,}; look at macro-averaged measures"
        )
    if report.conflicting:
        warnings.append(f"{report.conflicting:,} records have a near-duplicate with another label")
    if report.duplicates > 0.05 * report.records:
        warnings.append(f"{report.duplicates / report.records:.0%} are near-duplicates: split by group, not by record")
    pairs = Counter(
        (found.names[found.suspicion.given[at]], found.names[found.suspicion.rival[at]])
        for at in np.flatnonzero(found.flags)
        if found.suspicion.given[at] >= 0 and found.suspicion.rival[at] >= 0
    )
    for (given, rival), count in pairs.most_common(5):
        if count > 1:
            warnings.append(f"{count:,} records labelled {given!r} look like {rival!r}")
    if estimate is not None and estimate.recall.value is not None and estimate.recall.value < 0.5:
        warnings.append(f"most errors are not flagged: recall {estimate.recall}")
    return warnings
