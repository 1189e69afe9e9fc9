"""What follows an audit: sample and estimate, export, apply and undo, benchmark stability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.options import data_options, seed_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.records import Record
    from labelspace.space import LabelSpace

KEY = "sample.key.json"
RECORDS = "records.jsonl"
CHANGES = ".changes.jsonl"

folder_argument = click.argument("folder", metavar="AUDIT_DIR", type=click.Path(file_okay=False, path_type=Path))
out_option = click.option("--out", required=True, metavar="FILE", help="File to write.")
form_option = click.option(
    "--form",
    type=click.Choice(["csv", "label-studio", "argilla"]),
    default="csv",
    show_default=True,
    help="csv (or .tsv, .jsonl, .parquet by name), or the JSON that a review tool imports.",
)


def _audited(folder: Path) -> list[Record]:
    from labelspace.data import read_records

    if not (folder / RECORDS).is_file():
        raise DataError("no audit here", path=str(folder), advice="make one with `labelspace audit DATA`")
    return list(read_records(folder / RECORDS))


def _space_of(records: list[Record], named: str | None) -> LabelSpace:
    from labelspace.cli.spaces import load_space
    from labelspace.space import LabelSpace

    if named:
        return load_space(named)
    names = {label for record in records for label in record.labels or ()}
    return LabelSpace.of(sorted(names), multi_label=any(len(record.labels or ()) != 1 for record in records))


@click.command(
    epilog="\b\nExample:\n  labelspace audit sample:support --space sample:support --out audit\n"
    "  labelspace audit sample audit --size 60 --out sheet.csv"
)
@folder_argument
@out_option
@click.option("--size", type=click.IntRange(min=2), default=200, show_default=True, help="Records to judge.")
@click.option(
    "--ask",
    type=click.Choice(["verdict", "label"]),
    default="verdict",
    show_default=True,
    help="Show the label and ask whether it is right; or show none and ask for the right one.",
)
@click.option("--parts", type=click.IntRange(min=1), default=1, show_default=True, help="Cut the agreed by suspicion.")
@click.option("--space", metavar="FILE", help="Label space, for the review tools; if not given, the labels in use.")
@form_option
@seed_option
def sample(*, folder: Path, out: str, size: int, ask: Any, parts: int, space: str | None, form: Any, seed: int) -> None:
    """Draw a blinded random sample of flagged and agreed records for somebody to judge.

    The sheet says nothing of what is flagged; the key, which `audit estimate` needs, stays in AUDIT_DIR.
    """
    import numpy as np

    from labelspace.agents.audit.exchange import write_sheet
    from labelspace.agents.audit.sheet import draw_sample

    records = _audited(folder)
    flagged = np.array([bool(record.metadata["flagged"]) for record in records])
    suspicion = np.array([float(record.metadata["suspicion"]) for record in records])
    rows, key = draw_sample(records, flagged, total=size, ask=ask, suspicion=suspicion, parts=parts, seed=seed)
    write_sheet(out, rows, form=form, space=_space_of(records, space))
    key.save(folder / KEY)
    sizes = ", ".join(f"{part.size:,} {part.name}" for part in key.strata)
    note(f"{len(rows)} records to judge in {out}, drawn from {sizes}; the key is {folder / KEY}")


@click.command(
    epilog="\b\nExample:\n  labelspace audit sample:support --space sample:support --out audit\n"
    "  labelspace audit sample audit --size 120 --out sheet.csv\n"
    "  labelspace audit estimate audit --truth sample:support.truth"
)
@folder_argument
@click.argument("sheet", required=False, type=click.Path(dir_okay=False))
@click.option("--truth", metavar="FILE", help="Records with true labels, which judge the sample in place of a sheet.")
@click.option("--space", metavar="FILE", help="Label space: labels in the sheet must be in it.")
@click.option("--level", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True, help="Of the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(
    *, folder: Path, sheet: str | None, truth: str | None, space: str | None, level: float, as_json: bool
) -> None:
    """Estimate from a judged sheet how many labels are wrong, and precision and recall of the flags."""
    from labelspace.agents.audit.estimate import estimate_errors
    from labelspace.agents.audit.sheet import SampleKey, read_verdicts, verdicts_by
    from labelspace.cli.spaces import load_space
    from labelspace.data import read_records

    if (sheet is None) == (truth is None):
        raise ConfigError("give the SHEET that was filled in, or --truth")
    key = SampleKey.load(folder / KEY)
    if truth is not None:
        right = {one.id: one.labels for one in read_records(truth, needs_text=False) if one.labels is not None}
        verdicts = verdicts_by(right, key)
    else:
        verdicts = read_verdicts(sheet or "", key, space=None if space is None else load_space(space))
    found = estimate_errors(verdicts.strata, level=level)
    (folder / "estimate.json").write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    page = folder / "label.md"
    if page.is_file():
        kept = page.read_text(encoding="utf-8").split("\n## Estimated from a judged sample", 1)[0]
        page.write_text(
            f"{kept.rstrip()}\n\n## Estimated from a judged sample\n\n```\n{found}\n```\n", encoding="utf-8"
        )
    if verdicts.blank or verdicts.unsure:
        note(f"{verdicts.blank} records have no verdict and {verdicts.unsure} are unsure; both count as not judged")
    click.echo(found.model_dump_json(indent=1) if as_json else str(found))


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
    audited = _audited(folder)
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
        draws={record.id: Draw(stratum="all", labels=record.labels or ()) for record in audited},
    )
    found = read_verdicts(sheet, everything)
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


@click.command(
    epilog="\b\nExample:\n  labelspace audit sample:support --space sample:support --out audit\n"
    "  labelspace audit export audit --top 50 --form label-studio --out tasks.json"
)
@folder_argument
@out_option
@click.option("--top", type=click.IntRange(min=1), default=100, show_default=True, help="The most suspicious records.")
@click.option("--space", metavar="FILE", help="Label space; if not given, the labels in use.")
@form_option
def export(*, folder: Path, out: str, top: int, space: str | None, form: Any) -> None:
    """Send the most suspicious records to review; `audit apply --how reviewed` reads the decisions.

    This is no random sample: to estimate how many labels are wrong, use `audit sample`.
    """
    from labelspace.agents.audit.exchange import write_sheet

    records = _audited(folder)
    rows = [
        {"id": one.id, "text": one.text, "label": "|".join(one.labels or ()), "verdict": "", "correct_label": ""}
        for one in records[:top]
    ]
    write_sheet(out, rows, form=form, space=_space_of(records, space))
    note(f"the {len(rows)} most suspicious records are in {out}")


@click.command(
    epilog="\b\nExample (one model, the labels of the sample against the truth):\n"
    "  labelspace audit stability sample:support sample:support.truth given=sample:support"
)
@click.argument("original")
@click.argument("corrected")
@click.argument("models", nargs=-1, required=True, metavar="NAME=PREDICTIONS...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stability(*, original: str, corrected: str, models: tuple[str, ...], as_json: bool) -> None:
    """Say how a ranking of models changes from ORIGINAL to CORRECTED labels, and as errors grow."""
    from labelspace.agents.audit.stability import benchmark_stability
    from labelspace.data import read_predictions, read_records

    before = {one.id: one.label for one in read_records(original, needs_text=False)}
    after = {one.id: one.label for one in read_records(corrected, needs_text=False)}
    said: dict[str, dict[str, str | None]] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals:
            raise ConfigError(f"{model!r} names no model; write NAME=PREDICTIONS")
        said[name] = {one.record_id: one.label for one in read_predictions(path)}
    shared = [key for key in before if before[key] and after.get(key) and all(key in one for one in said.values())]
    if not shared:
        raise DataError("no record is in all of the files", advice="they are joined by id")
    found = benchmark_stability(
        {name: [one[key] or "" for key in shared] for name, one in said.items()},
        [before[key] or "" for key in shared],
        [after[key] or "" for key in shared],
    )
    click.echo(found.model_dump_json(indent=1) if as_json else str(found))
