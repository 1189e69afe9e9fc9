"""`labelspace audit`: find the wrong labels; and what follows from it, one subcommand each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.audit_review import apply, estimate, export, sample, stability, undo
from labelspace.cli.options import cache_option, data_options, embedder_option, prompts_option, seed_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from labelspace.agents.audit.run import Ask, Audit
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
EPILOG = """\b
Writes into the folder: records.jsonl (suspicion, suggested labels and evidence by record, the most
suspicious first), report.json, and label.md, a page about the data set. What follows:
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
@click.option(
    "--scores",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE.npy",
    help="Out-of-sample probabilities, one row a record, one column a leaf of the space. Default: cross-validation.",
)
@click.option("--classifier", metavar="MODEL_DIR", help="Trained on other data: scores the records instead.")
@embedder_option
@cache_option
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of the cross-validation.")
@click.option(
    "--filter",
    "filter_by",
    type=click.Choice(FILTERS),
    default="both",
    show_default=True,
    help="Filter of confident learning; it says how many labels are flagged.",
)
@click.option("--neighbours/--no-neighbours", default=True, show_default=True, help="Ask the nearest texts too.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="An LLM that judges the labels: http://host/v1#name or provider:name; may be given again.",
)
@click.option(
    "--judge-top", type=click.IntRange(min=1), metavar="N", help="Ask the LLMs about the most suspicious only."
)
@click.option("--use-case", default="", metavar="TEXT", help="What the labels are for; the LLMs read it.")
@prompts_option
@click.option("--truth", metavar="FILE", help="Records with true labels: say how many of the flags are right.")
@data_options
@seed_option
def audit_data(
    *,
    data: str,
    space: str | None,
    out: Path,
    scores: str | None,
    classifier: str | None,
    embedder: str,
    cache: bool,
    folds: int,
    filter_by: Any,
    neighbours: bool,
    models: tuple[str, ...],
    judge_top: int | None,
    use_case: str,
    prompts: Path | None,
    truth: str | None,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Find the labels of DATA that are probably wrong, and say why and what they should be.

    DATA is a file, a datasets folder, or sample:support.
    """
    from labelspace.agents.audit.run import audit
    from labelspace.cli.spaces import load_space
    from labelspace.data import read_records
    from labelspace.embed import cache_folder, load_embedder
    from labelspace.finetune.linear import LinearHead
    from labelspace.space import LabelSpace

    if scores and classifier:
        raise ConfigError("--scores and --classifier are two ways to say the same; give one")
    known = None if space is None else load_space(space)
    records = list(
        read_records(data, text_column=text_column, label_column=label_column, id_column=id_column, space=known)
    )
    if known is None:
        given = sorted({label for record in records for label in record.labels or ()})
        if not given:
            raise DataError("no record has a label", path=data, advice="name their column with --label-column")
        known = LabelSpace.of(given, multi_label=any(len(record.labels or ()) > 1 for record in records))
    folder = cache_folder() if cache else None
    rows = None
    if scores:
        rows = _load_scores(scores)
    elif classifier:
        note("scores of a model that has seen these records flag too little; is it trained on other data?")
        rows = _classify(classifier, records, known.leaves, cached=cache)
    several = known.multi_label
    found = audit(
        records,
        known,
        embedder=load_embedder(embedder, cache=folder) if neighbours else None,
        make_head=lambda: LinearHead(
            load_embedder(embedder, cache=folder), multi_label=several, C=5.0, calibrate=False, seed=seed
        ),
        scores=rows,
        ask=_judges(models, known, out, top=judge_top, use_case=use_case, prompts=prompts) if models else None,
        filter_by=filter_by,
        folds=folds,
        seed=seed,
    )
    _write(out, found, records, name=Path(data).stem if data != "-" else "standard input")
    report = found.report
    note(f"{report.flagged:,} of {report.records:,} labels are flagged; {report.conflicting:,} records have a "
         f"near-duplicate with another label; written to {out}")  # fmt: skip
    if truth is not None:
        note(_judged_by(truth, found))


def _load_scores(path: str) -> Any:
    import numpy as np

    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError("not an array of numbers", path=path, advice="save the scores with numpy.save") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "f":
        raise DataError("not an array of floating-point numbers", path=path, advice="save it with numpy.save")
    return rows


def _judges(
    models: tuple[str, ...], space: LabelSpace, out: Path, *, top: int | None, use_case: str, prompts: Path | None
) -> Ask:
    def ask(records: Sequence[Record], suspicion: NDArray[np.float64]) -> dict[str, dict[str, float]]:
        import json

        from labelspace.agents.audit.disagreement import by_confidence
        from labelspace.agents.audit.judges import judge_records

        chosen = (-suspicion).argsort(kind="stable")[:top]
        out.mkdir(parents=True, exist_ok=True)
        said = judge_records(
            [records[at] for at in sorted(chosen.tolist())],
            space,
            models,
            use_case=use_case,
            prompts=prompts,
            journal=out / "journal.sqlite",
            engine={"progress": True},
        )
        bins = [part.model_dump(exclude_none=True) for part in by_confidence(said.mean)]
        data = {"judges": list(said.judges), "disagreement_by_confidence": bins}
        (out / "judges.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        return {"judges": said.by_id()}

    return ask


def _classify(folder: str, records: list[Record], names: tuple[str, ...], *, cached: bool) -> Any:
    import numpy as np

    from labelspace.finetune.store import load_classifier

    head = load_classifier(folder, cached=cached).head
    rows = np.zeros((len(records), len(names)), np.float32)
    column = {name: at for at, name in enumerate(names)}
    missing = [str(name) for name in head.classes_ if str(name) not in column]
    if missing:
        raise DataError(f"the classifier gives {missing[0]!r}, which is not a leaf of the space", path=folder)
    columns = np.array([column[str(name)] for name in head.classes_])
    for start in range(0, len(records), 1024):
        found = head.predict_proba([record.text for record in records[start : start + 1024]])
        rows[start : start + 1024, columns] = found
    return rows


def _write(out: Path, found: Audit, records: list[Record], *, name: str) -> None:
    from labelspace.agents.audit.page import write_page
    from labelspace.data import write_rows

    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "records.jsonl", found.rows())
    (out / "report.json").write_text(found.report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out / "label.md").write_text(write_page(records, found, name=name), encoding="utf-8")


def _judged_by(truth: str, found: Audit) -> str:
    from labelspace.data import read_records

    right = {record.id: set(record.labels or ()) for record in read_records(truth, needs_text=False)}
    wrong = {one.id for one in found.records if one.id in right and right[one.id] != set(one.labels or ())}
    flagged = {one.id for one, flag in zip(found.records, found.flags, strict=True) if flag and one.id in right}
    if not wrong or not flagged:
        return f"by {truth}, {len(wrong)} labels are wrong and {len(flagged)} are flagged"
    hit = wrong & flagged
    at = {one.id: position for position, one in enumerate(found.records)}
    mended = sum(set(found.suggestion(at[one])) == right[one] for one in hit)
    return (
        f"by {truth}: {len(wrong)} labels are wrong; precision of the flags {len(hit) / len(flagged):.1%} "
        f"({len(hit)} of {len(flagged)}), recall {len(hit) / len(wrong):.1%}; "
        f"the suggestion is right for {mended} of the {len(hit)} found"
    )
