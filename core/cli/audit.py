"""`labelspace audit`: find the wrong labels; and what follows from it, one subcommand each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.audit_repair import apply, undo
from labelspace.cli.audit_review import estimate, export, sample, stability
from labelspace.cli.audit_signals import Judges, Signals, judge_options, signal_options
from labelspace.cli.options import data_options, seed_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelspace.agents.audit.annotators import Annotations
    from labelspace.agents.audit.result import Audit
    from labelspace.records import Record
    from labelspace.space import LabelSpace

FILTERS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_self_confidence",
    "low_normalized_margin",
)
SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
EPILOG = """\b
Writes into the folder: records.jsonl (suspicion, suggested labels and evidence by record, the most
suspicious first), report.json, label.md, a page about the data set; duplicates.jsonl (near-duplicates
with different labels) and annotators.jsonl (the quality of each), if there are any. What follows:
  labelspace audit sample audit --out sheet.csv       a blinded random sheet for somebody to judge
  labelspace audit estimate audit sheet.csv           how many labels are wrong, and how good the flags are
  labelspace audit apply DATA audit --how flip --out repaired.jsonl

\b
Example (the sample has 32 labels that are wrong on purpose; --truth says how many are found):
  labelspace audit sample:support --space sample:support --truth sample:support.truth --out audit"""


class _Audit(click.Group):
    """`audit DATA ...` audits; `audit SUBCOMMAND ...` does what follows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take everything that does not begin with a subcommand as an audit."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = ["data", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of an audit, then the subcommands."""
        inner = self.commands["data"]
        inner_ctx = click.Context(inner, info_name=None, parent=ctx)
        formatter.write_usage(ctx.command_path, "DATA [OPTIONS]  |  SUBCOMMAND ...")
        inner.format_help_text(inner_ctx, formatter)
        inner.format_options(inner_ctx, formatter)
        with formatter.section("Subcommands"):
            formatter.write_dl(
                [(name, one.get_short_help_str(90)) for name, one in self.commands.items() if not one.hidden]
            )
        inner.format_epilog(inner_ctx, formatter)


command = _Audit("audit", help="Find the labels of DATA that are probably wrong.")
for _follow in (sample, estimate, apply, undo, export, stability):
    command.add_command(_follow)


@command.command("data", hidden=True, epilog=EPILOG)
@click.argument("data")
@click.option("--space", metavar="FILE", help="Label space; or sample:support. If not given, the labels in DATA.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the audit.")
@signal_options
@click.option(
    "--filter",
    "filter_by",
    type=click.Choice(FILTERS),
    default="confident_learning",
    show_default=True,
    help="As many labels are flagged as this filter of confident learning flags where the neighbours agree; which "
    "ones, all signals together say.",
)
@click.option("--exactly", is_flag=True, help="Flag just what the filter flags, whatever other signals say.")
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default="self_confidence",
    show_default=True,
    help="Score of confident learning that stands in the evidence.",
)
@click.option("--adjusted", is_flag=True, help="Adjust that score by the thresholds of the labels.")
@click.option(
    "--tolerance",
    type=click.IntRange(min=0),
    metavar="N",
    help="The labels are a scale in the order of the space; one that is N steps off is right.",
)
@judge_options
@click.option("--truth", metavar="FILE", help="Records with true labels: say how many of the flags are right.")
@click.option("--calibrate", is_flag=True, help="Learn from --truth how probable it is that each label is wrong.")
@data_options
@seed_option
def audit_data(
    *,
    data: str,
    space: str | None,
    out: Path,
    signals: Signals,
    judges: Judges,
    filter_by: Any,
    exactly: bool,
    score: Any,
    adjusted: bool,
    tolerance: int | None,
    truth: str | None,
    calibrate: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Find the labels of DATA that are probably wrong, and say why and what they should be.

    DATA is a file, a datasets folder, or sample:support. Texts with tokens and tags are audited token
    by token. By default a classifier is cross-validated and neighbours are asked; --scores,
    --classifier, --annotations and --model bring further signals, and any of them is enough.
    """
    from labelspace.agents.audit.page import write_page
    from labelspace.agents.audit.run import audit
    from labelspace.cli.spaces import load_space
    from labelspace.data import read_records
    from labelspace.embed import cache_folder, load_embedder

    if calibrate and truth is None:
        raise ConfigError("--calibrate learns from --truth; give both, or use `labelspace audit estimate --calibrate`")
    known = None if space is None else load_space(space)
    records = list(
        read_records(data, text_column=text_column, label_column=label_column, id_column=id_column, space=known)
    )
    name = Path(data).stem if data != "-" else "standard input"
    if any(record.tags is not None for record in records):
        from labelspace.cli.audit_tokens import audit_tags

        if judges.models or calibrate:
            raise ConfigError("tags are audited without --model and --calibrate")
        audit_tags(
            records, name=name, out=out, signals=signals, filter_by=filter_by, score=score, truth=truth, seed=seed
        )
        return
    annotations = signals.read_annotations(records)
    if known is None:
        known = _space_in(records, annotations, path=data)
    found = audit(
        records,
        known,
        embedder=load_embedder(signals.embedder, cache=cache_folder() if signals.cache else None),
        neighbours=signals.neighbours,
        make_head=signals.make_head(known, seed=seed),
        scores=signals.load_scores(records, known),
        annotations=annotations,
        ask=judges.ask(known, out, tolerance=tolerance),
        filter_by=filter_by,
        exactly=exactly,
        score=score,
        adjusted=adjusted,
        tolerance=tolerance or 0,
        folds=signals.folds,
        seed=seed,
    )
    chances = None
    if truth is not None:
        from labelspace.agents.audit.against import against_truth, calibrated_by

        right = {one.id: one.labels for one in read_records(truth, needs_text=False) if one.labels is not None}
        note(f"by {truth}: {against_truth(found, right, tolerance=tolerance or 0)}")
        if calibrate:
            chances, said = calibrated_by(found, right, tolerance=tolerance or 0)
            note(said)
    _write(out, found, write_page(records, found, name=name, annotations=annotations), chances)
    report = found.report
    note(f"{report.flagged:,} of {report.records:,} labels are flagged; {report.conflicting:,} records have a "
         f"near-duplicate with another label; written to {out}")  # fmt: skip


def _space_in(records: list[Record], annotations: Annotations, *, path: str) -> LabelSpace:
    from labelspace.space import LabelSpace

    given = {label for record in records for label in record.labels or ()}
    given |= {label for pairs in annotations.values() for _, label in pairs}
    if not given:
        raise DataError("no record has a label", path=path, advice="name their column with --label-column")
    return LabelSpace.of(sorted(given), multi_label=any(len(record.labels or ()) > 1 for record in records))


def _write(out: Path, found: Audit, page: str, chances: NDArray[np.float64] | None) -> None:
    from labelspace.data import write_rows

    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "records.jsonl", found.rows(chances))
    (out / "report.json").write_text(found.report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out / "label.md").write_text(page, encoding="utf-8")
    for path, rows in (("duplicates.jsonl", found.conflict_rows()), ("annotators.jsonl", found.annotator_rows())):
        (out / path).unlink(missing_ok=True)
        if rows:
            write_rows(out / path, rows)
