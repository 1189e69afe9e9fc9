"""What follows an audit: a sample to judge, an estimate from it, exports for review, benchmark stability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.audit_folder import (
    KEY,
    RECORDS,
    choosable,
    folder_argument,
    form_option,
    out_option,
    read_audited,
    space_of,
)
from labelspace.cli.options import seed_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.agents.audit.sheet import SampleKey, Verdicts


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

    records = [choosable(record) for record in read_audited(folder)]
    flagged = np.array([bool(record.metadata["flagged"]) for record in records])
    suspicion = np.array([float(record.metadata["suspicion"]) for record in records])
    rows, key = draw_sample(records, flagged, total=size, ask=ask, suspicion=suspicion, parts=parts, seed=seed)
    write_sheet(out, rows, form=form, space=space_of(records, space))
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
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="An LLM that judges the sample in place of people; may be given again. The estimate is then of what it "
    "calls wrong.",
)
@click.option("--space", metavar="FILE", help="Label space: labels in the sheet must be in it.")
@click.option("--level", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True, help="Of the intervals.")
@click.option(
    "--calibrate", is_flag=True, help="Learn from the verdicts how probable it is that each label of the data is wrong."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(
    *,
    folder: Path,
    sheet: str | None,
    truth: str | None,
    models: tuple[str, ...],
    space: str | None,
    level: float,
    calibrate: bool,
    as_json: bool,
) -> None:
    """Estimate from a judged sheet how many labels are wrong, and precision and recall of the flags.

    --calibrate writes probability_wrong into the records of AUDIT_DIR and puts the highest first.
    """
    from labelspace.agents.audit.estimate import estimate_errors
    from labelspace.agents.audit.page import with_estimate
    from labelspace.agents.audit.sheet import SampleKey, read_verdicts, verdicts_by
    from labelspace.cli.spaces import load_space
    from labelspace.data import read_records

    if (sheet is not None) + (truth is not None) + bool(models) != 1:
        raise ConfigError("give the SHEET that was filled in, or --truth, or --model")
    key = SampleKey.load(folder / KEY)
    if truth is not None:
        read = map(choosable, read_records(truth, needs_text=False))
        right = {one.id: one.labels for one in read if one.labels is not None}
        verdicts = verdicts_by(right, key)
    elif models:
        verdicts = _judged(folder, models, key, space)
    else:
        verdicts = read_verdicts(sheet or "", key, space=None if space is None else load_space(space))
    found = estimate_errors(verdicts.strata, level=level)
    (folder / "estimate.json").write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    page = folder / "label.md"
    if page.is_file():
        page.write_text(with_estimate(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    if verdicts.blank or verdicts.unsure:
        note(f"{verdicts.blank} records have no verdict and {verdicts.unsure} are unsure; both count as not judged")
    if calibrate:
        note(_calibrate(folder, verdicts, key))
    click.echo(found.model_dump_json(indent=1) if as_json else str(found))


def _judged(folder: Path, models: tuple[str, ...], key: SampleKey, named: str | None) -> Verdicts:
    from labelspace.agents.audit.judges import judge_records
    from labelspace.agents.audit.sheet import verdicts_of

    records = read_audited(folder)
    space = space_of(records, named)
    drawn = [record for record in records if record.id in key.draws]
    if any(record.tags is not None for record in drawn):
        raise ConfigError("tags of tokens are judged by people: fill in the SHEET")
    said = judge_records(drawn, space, models, journal=folder / "journal.sqlite", engine={"progress": True})
    return verdicts_of({record_id: right < 0.5 for record_id, right in said.by_id().items()}, key)


def _calibrate(folder: Path, verdicts: Verdicts, key: SampleKey) -> str:
    from labelspace.agents.audit.calibration import calibrate_rows
    from labelspace.data import write_rows

    lines = (folder / RECORDS).read_text(encoding="utf-8").splitlines()
    rows, said = calibrate_rows([json.loads(line) for line in lines], verdicts, key)
    write_rows(folder / RECORDS, rows)
    return said


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

    records = [choosable(record) for record in read_audited(folder)]
    rows = [
        {"id": one.id, "text": one.text, "label": "|".join(one.labels or ()), "verdict": "", "correct_label": ""}
        for one in records[:top]
    ]
    write_sheet(out, rows, form=form, space=space_of(records, space))
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
