"""`labelspace audit apply` and `undo`: repair a data set by its audit, and take it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.audit_folder import CHANGES, choosable, folder_argument, out_option, read_audited
from labelspace.cli.options import data_options
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.records import Record


@click.command(
    epilog="\b\nExample:\n  labelspace audit sample:support --space sample:support --out audit\n"
    "  labelspace audit apply sample:support audit --how flip --out repaired.jsonl"
)
@click.argument("data")
@folder_argument
@out_option
@click.option(
    "--how",
    type=click.Choice(["filter", "flip", "weight", "reviewed"]),
    required=True,
    help="Drop flagged records, give them the suggested labels, weigh them less, or apply what people decided.",
)
@click.option("--sheet", type=click.Path(dir_okay=False), help="For reviewed: the sheet or the review tool's export.")
@data_options
def apply(
    *,
    data: str,
    folder: Path,
    out: str,
    how: Any,
    sheet: str | None,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
) -> None:
    """Repair DATA; it stays as it is, and the repaired copy carries the reason of every change.

    Beside FILE goes FILE.changes.jsonl, from which `audit undo` restores the original.
    """
    from labelspace.agents.audit.repair import Finding, repair
    from labelspace.data import RowWriter, read_records

    if (how == "reviewed") != (sheet is not None):
        raise ConfigError("--sheet goes with --how reviewed, and that needs it")
    if out == "-":
        raise ConfigError("the repaired data needs a file, so that its changes can be kept beside it")
    audited = read_audited(folder)
    findings = {
        record.id: Finding(
            flagged=bool(record.metadata["flagged"]),
            suspicion=float(record.metadata["suspicion"]),
            suggested=tuple(record.metadata["suggested"]),
            evidence=record.metadata["evidence"],
        )
        for record in audited
    }
    corrections, wrong = _decisions(sheet, audited) if sheet is not None else ({}, ())
    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
    kept = 0
    with RowWriter(out) as rows, RowWriter(out + CHANGES) as changes:
        for row, change in repair(records, findings, how=how, corrections=corrections, wrong=wrong):
            if row is not None:
                rows.write(row)
                kept += 1
            if change is not None:
                changes.write(change.to_data())
    note(f"{kept:,} records in {out}; {changes.count:,} changes in {out + CHANGES}")


def _decisions(sheet: str, audited: list[Record]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    from labelspace.agents.audit.estimate import Stratum
    from labelspace.agents.audit.sheet import Draw, SampleKey, read_verdicts

    everything = SampleKey(
        ask="verdict",
        seed=0,
        strata=(Stratum(name="all", size=len(audited), flagged=True),),
        draws={record.id: Draw(stratum="all", labels=choosable(record).labels or ()) for record in audited},
    )
    found = read_verdicts(sheet, everything)
    new = sorted({label for labels in found.corrections.values() for label in labels} - everything.labels)
    if new:
        note(f"{sheet} has labels that no audited record had: {', '.join(map(repr, new[:10]))}; are they misspelt?")
    return found.corrections, found.wrong


@click.command(
    epilog="\b\nExample:\n  labelspace audit sample:support --space sample:support --out audit\n"
    "  labelspace audit apply sample:support audit --how filter --out repaired.jsonl\n"
    "  labelspace audit undo repaired.jsonl --out restored.jsonl"
)
@click.argument("repaired", type=click.Path(dir_okay=False))
@out_option
def undo(*, repaired: str, out: str) -> None:
    """Restore the data that REPAIRED was made from, by the changes beside it."""
    from labelspace.agents.audit.repair import row_of
    from labelspace.agents.audit.repair import undo as restore
    from labelspace.data import read_records, write_rows

    path = Path(repaired + CHANGES)
    if not path.is_file():
        raise DataError("no changes beside it", path=repaired, advice=f"put {path.name} beside the repaired data")
    with path.open(encoding="utf-8") as file:
        changes = [json.loads(line) for line in file if line.strip()]
    count = write_rows(out, restore(map(row_of, read_records(repaired)), changes))
    note(f"{count:,} records in {out}, as they were before the repair")
