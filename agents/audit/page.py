"""The data set's label: one page of what is in it and what to watch for (after Holland et al. 2018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from labelspace.agents.audit.annotators import CLASSIFIER, Annotations
from labelspace.agents.audit.estimate import Estimate
from labelspace.agents.audit.languages import UNDECIDED, guess_language
from labelspace.agents.audit.result import Audit
from labelspace.agents.audit.token_run import TokenAudit
from labelspace.finetune.tags import repair
from labelspace.records import Record

FEW = 10
"""A label with fewer records can hardly be learned or measured."""
IMBALANCE = 20
"""Largest over smallest label from which the page warns."""
LISTED = 12
SOURCE_COLUMNS = ("source", "origin", "dataset")
LANGUAGE_COLUMNS = ("language", "lang", "locale")
WEAK = 0.6
"""Annotators below this accuracy are named."""
WRONG, PRECISION, RECALL = "wrong labels", "flags that are right", "wrong labels that are flagged"
UNKNOWN = "not estimated: judge a sample (`labelspace audit sample`)"
MISSED = "most errors are not flagged"


def write_page(
    records: Sequence[Record],
    found: Audit,
    *,
    name: str,
    annotations: Annotations | None = None,
) -> str:
    """Write the page as Markdown.

    Args:
        records: All records of the data, also those that were not audited.
        found: The audit.
        name: Of the data set.
        annotations: What annotators said, by record id.
    """
    report = found.report
    counts = Counter(label for record in found.records for label in record.labels or ())
    parts = [
        f"# Label of {name}",
        table(
            [
                *about_texts(records, name),
                ("audited", f"{report.records:,} (with text and label)"),
                ("without label", f"{report.unlabelled:,}"),
                ("label space", f"{report.space} {report.space_version}, {len(found.names)} labels"),
                ("near-duplicates", f"{report.duplicates:,} records, {report.conflicting:,} with different labels"),
                ("annotators", _agreement(annotations or {}) or "one label a record, nothing to compare"),
                ("flagged labels", f"{report.flagged:,} ({report.flagged / report.records:.1%}), none checked by hand"),
                *((name, UNKNOWN) for name in (WRONG, PRECISION, RECALL)),
            ]
        ),
        "## Labels",
        _distribution(counts, found),
        "## What to watch for",
        _bullets(_warnings(found, counts)),
    ]
    return "\n\n".join(parts) + "\n"


def with_estimate(page: str, estimate: Estimate) -> str:
    """The page with what a judged sample said."""
    shares = {WRONG: estimate.error_rate, PRECISION: estimate.precision, RECALL: estimate.recall}
    lines = []
    for line in page.rstrip().split("\n"):
        name = line.removeprefix("| ").split(" |", 1)[0]
        if name in shares and line.startswith("| "):
            lines.append(f"| {name} | {shares[name]}, from {estimate.judged:,} judged records |")
        else:
            lines.append(line)
    kept = [line for line in lines if not line.startswith(f"- {MISSED}")]
    if estimate.recall.value is not None and estimate.recall.value < 0.5:
        kept.append(f"- {MISSED}: the flags hold {estimate.recall} of the wrong labels")
    return "\n".join(kept) + "\n"


def about_texts(records: Sequence[Record], name: str) -> list[tuple[str, str]]:
    """Rows on sources, size, lengths and languages."""
    written = [record for record in records if not record.is_blank]
    lengths = np.array([len(record.text.split()) for record in written])
    quarter, middle, most = (int(np.quantile(lengths, share)) for share in (0.25, 0.5, 0.95))
    stated = _stated(records, LANGUAGE_COLUMNS)
    guessed = Counter(guess_language(record.text) for record in written)
    told = ", ".join(
        f"{'undecided' if code == UNDECIDED else code} {count:,}" for code, count in guessed.most_common(LISTED)
    )
    return [
        ("sources", _stated(records, SOURCE_COLUMNS) or f"{name}; no column says more"),
        ("records", f"{len(records):,}"),
        ("blank texts", f"{len(records) - len(written):,}"),
        ("words a text", f"{quarter} to {middle} (lower quarter to middle), 95% up to {most}"),
        ("languages", stated or f"{told} (guessed from script and common words)"),
    ]


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns in Markdown."""
    return "\n".join(
        ["| what | how much |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    )


def _bullets(warnings: Sequence[str]) -> str:
    return "\n".join(f"- {_cell(warning)}" for warning in warnings) or "- nothing that was looked for"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cell(text: str) -> str:
    # "<" begins HTML in Markdown: a label such as <unk> would not be seen.
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _stated(records: Sequence[Record], columns: Sequence[str]) -> str:
    values = Counter(
        str(record.metadata[column]) for record in records for column in columns if record.metadata.get(column)
    )
    return ", ".join(f"{value} {count:,}" for value, count in values.most_common(LISTED))


def _agreement(annotations: Annotations) -> str:
    from labelspace.metrics.agreement import krippendorff_alpha

    pairs, agreeing = 0, 0
    for said in annotations.values():
        counts = Counter(label for _, label in said)
        pairs += len(said) * (len(said) - 1)
        agreeing += sum(count * (count - 1) for count in counts.values())
    people = {person for said in annotations.values() for person, _ in said}
    if not pairs:
        return ""
    alpha = krippendorff_alpha([[label for _, label in said] for said in annotations.values()])
    share = f"two of them agree on {agreeing / pairs:.1%}"
    if np.isnan(alpha):
        return f"{len(people):,}; {share}, always on the same label"
    return f"{len(people):,}; {share}, beyond chance {alpha:.2f} (Krippendorff's alpha)"


def _distribution(counts: Counter[str], found: Audit) -> str:
    flagged = Counter(
        label for record, flag in zip(found.records, found.flags, strict=True) if flag for label in record.labels or ()
    )
    return _shares(counts, flagged, "label")


def _shares(counts: Counter[str], flagged: Counter[str], what: str) -> str:
    ranked = counts.most_common()
    shown = ranked if len(ranked) <= 2 * LISTED else [*ranked[:LISTED], *ranked[-LISTED:]]
    total = sum(counts.values())
    lines = [f"| {what} | number | share | flagged |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {_cell(label)} | {count:,} | {count / total:.1%} | {flagged[label] / count:.1%} |" for label, count in shown
    ]
    if len(shown) < len(ranked):
        lines.append(f"\n{len(ranked) - len(shown)} {what}s of middling size are not listed.")
    return "\n".join(lines)


def _warnings(found: Audit, counts: Counter[str]) -> list[str]:
    report, warnings = found.report, []
    unused = [name for name in found.names if not counts[name]]
    few = [name for name, count in counts.items() if count < FEW]
    if unused:
        warnings.append(f"{_number(len(unused), 'label')} without a record: {', '.join(unused[:LISTED])}")
    if few:
        warnings.append(
            f"{_number(len(few), 'label')} with fewer than {FEW} records: {', '.join(sorted(few)[:LISTED])}"
        )
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
    weak = [one for one in report.annotators if one.name != CLASSIFIER and one.accuracy < WEAK]
    if weak:
        names = ", ".join(f"{one.name} ({one.accuracy:.0%})" for one in weak[:LISTED])
        warnings.append(f"{_number(len(weak), 'annotator')} estimated to be right in less than {WEAK:.0%}: {names}")
    return warnings


def write_token_page(records: Sequence[Record], found: TokenAudit, *, name: str) -> str:
    """The page of a set of tagged texts, as Markdown."""
    report = found.report
    flagged = Counter(
        record.tags[at - start]
        for record, start, end in zip(found.records, found.starts[:-1], found.starts[1:], strict=True)
        for at in range(start, end)
        if found.flags[at] and record.tags
    )
    counts = Counter(tag for record in found.records for tag in record.tags or ())
    rows = [
        *about_texts(records, name),
        ("audited", f"{report.records:,} texts, {report.tokens:,} tokens"),
        ("without tags", f"{report.untagged:,}"),
        ("near-duplicates", f"{report.duplicates:,} texts, {report.conflicting:,} with different tags"),
        (
            "flagged tags",
            f"{report.flagged_tokens:,} ({report.flagged_tokens / report.tokens:.2%}), none checked by hand",
        ),
        ("flagged texts", f"{report.flagged:,} ({report.flagged / report.records:.1%})"),
        *((name, UNKNOWN) for name in (WRONG, PRECISION, RECALL)),
    ]
    few = sorted(tag for tag, count in counts.items() if count < FEW)
    loose = sum(map(_loose, found.records)) if any(tag.startswith("B-") for tag in counts) else 0
    warnings = [f"{_number(len(few), 'tag')} given fewer than {FEW} times: {', '.join(few)}"] if few else []
    if loose:
        warnings.append(f"{_number(loose, 'tag')} I-x after neither B-x nor I-x: strict scores read no span there")
    return (
        "\n\n".join(
            [
                f"# Label of {name}",
                table(rows),
                "## Tags",
                _shares(counts, flagged, "tag"),
                "## What to watch for",
                _bullets(warnings),
            ]
        )
        + "\n"
    )


def _loose(record: Record) -> int:
    """How many tags continue a span that there is not."""
    tags = record.tags or ()
    return sum(tag != mended for tag, mended in zip(tags, repair(tags), strict=True))
