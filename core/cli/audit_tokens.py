"""`labelspace audit` of tagged tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.cli.audit_inputs import read_scores
from labelspace.cli.audit_signals import Signals
from labelspace.errors import ConfigError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.records import Record


def audit_tags(
    records: Sequence[Record],
    *,
    name: str,
    out: Path,
    signals: Signals,
    filter_by: Any,
    score: Any,
    truth: str | None,
    seed: int,
) -> None:
    """Audit the tags and write what was found, as for texts."""
    from labelspace.agents.audit.page import write_token_page
    from labelspace.agents.audit.token_run import audit_tokens
    from labelspace.data import read_records, write_rows

    if signals.classifier or signals.annotations or signals.annotators:
        raise ConfigError("tags are audited by --scores or by cross-validation, not by a classifier or annotators")
    found = audit_tokens(
        records,
        scores=read_scores(signals.scores) if signals.scores else None,
        filter_by=filter_by,
        score=score,
        folds=signals.folds,
        seed=seed,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "records.jsonl", found.rows())
    (out / "report.json").write_text(found.report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out / "label.md").write_text(write_token_page(records, found, name=name), encoding="utf-8")
    if truth is not None:
        right = {one.id: one.tags for one in read_records(truth, needs_text=False) if one.tags is not None}
        note(f"by {truth}: {found.against(right)}")
    report = found.report
    note(
        f"{report.flagged_tokens:,} of {report.tokens:,} tags are flagged, in {report.flagged:,} of "
        f"{report.records:,} texts; written to {out}"
    )
