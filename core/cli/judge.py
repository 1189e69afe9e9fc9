"""`labelspace judge`: judge labels where there are no gold ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.options import data_options, model_option, prompts_option, seed_option
from labelspace.cli.spaces import load_space, space_option
from labelspace.progress import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelspace.records import Prediction, Record

EPILOG = """\b
Coverage is the share of documents with a label. Accuracy: of the label that a document carries and
another drawn by lot, which describes it, or neither? Relevance: is the label of use for the purpose?
--sheet writes the same items for people to answer; given back with --people, once for each person,
they tell by Cohen's and Fleiss' kappa how far the judge can be trusted, per label and per --by.
--run compares with the labels of further runs, with other seeds, say.

\b
Example:
  labelspace label sample:support --space sample:support --out labels.jsonl
  labelspace judge labels.jsonl sample:support --space sample:support --sheet sheet.csv --sample 50"""


@click.command(epilog=EPILOG)
@click.argument("labels")
@click.argument("data")
@space_option
@model_option
@click.option("--use-case", default="", metavar="TEXT", help="What the labels are for; relevance is judged by it.")
@click.option(
    "--sample", type=click.IntRange(min=1), default=200, show_default=True, metavar="N", help="Documents to judge."
)
@click.option("--sheet", metavar="FILE", help="Write the items for people to answer: .csv, .tsv, .parquet or .jsonl.")
@click.option("--people", multiple=True, metavar="FILE", help="A sheet that a person filled in; once for each person.")
@click.option("--by", "column", metavar="COLUMN", help="Column of DATA to split by, such as the language.")
@click.option("--run", "runs", multiple=True, metavar="FILE", help="Labels of another run; once for each.")
@click.option(
    "--batch-documents", type=click.IntRange(min=1), default=10, show_default=True, help="Documents in one request."
)
@prompts_option
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; LABELS.judge.sqlite if not given.")
@click.option("--budget", metavar="LIMIT", help="The most to spend: '5 USD', '200k tokens' or '1000 calls'.")
@click.option("--json", "json_path", metavar="FILE", help="Write all as JSON; - for stdout instead of text.")
@click.option("--show", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to show of a long table.")
@data_options
@seed_option
def command(
    *,
    labels: str,
    data: str,
    space: str,
    model: str,
    use_case: str,
    sample: int,
    sheet: str | None,
    people: tuple[str, ...],
    column: str | None,
    runs: tuple[str, ...],
    batch_documents: int,
    prompts: Path | None,
    journal: str | None,
    budget: str | None,
    json_path: str | None,
    show: int,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Judge LABELS of the documents of DATA by the space they were made with."""
    from labelspace.agents.taxonomy.judge import draw_items, judge_items
    from labelspace.agents.taxonomy.judge_report import report
    from labelspace.agents.taxonomy.judge_sheet import read_sheet, write_sheet
    from labelspace.data import read_predictions, read_records
    from labelspace.errors import DataError

    known = load_space(space)
    given = list(read_predictions(labels))
    records = list(read_records(data, text_column=text_column, label_column=label_column, id_column=id_column))
    if column is not None and not any(column in record.metadata for record in records):
        raise DataError(f"no record has a column {column!r} to split by", path=data)
    items = draw_items(given, records, known, sample=sample, seed=seed)
    if sheet is not None:
        write_sheet(sheet, items, known)
        note(f"{len(items):,} documents with two questions each are in {sheet}; fill in the column answer")
    verdicts = None
    if model != "none":
        asking: dict[str, Any] = {"journal": journal or f"{labels}.judge.sqlite", "engine": {"budget": budget}}
        verdicts = judge_items(
            items,
            known,
            model=model,
            use_case=use_case,
            together=batch_documents,
            prompts=prompts,
            progress=True,
            **asking,
        )
    read = {record.id for record in records if not record.is_blank}
    found = report(
        items,
        covered=[bool(one.labels) and one.label in known for one in given if one.record_id in read],
        model=verdicts,
        people=[read_sheet(path, items) for path in people],
        column=column,
        runs=_runs(given, [list(read_predictions(path)) for path in runs], records) if runs else None,
    )
    if json_path == "-":
        click.echo(found.model_dump_json(indent=1))
        return
    click.echo(found.text(show))
    if json_path is not None:
        Path(json_path).write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        note(f"the whole report is in {json_path}")


def _runs(
    given: Sequence[Prediction], others: Sequence[Sequence[Prediction]], records: Sequence[Record]
) -> dict[str, float]:
    """NMI and ARI of the records that all runs have.

    Raises:
        DataError: There are none.
    """
    from labelspace.errors import DataError
    from labelspace.metrics import agreement_of_runs

    sides = [{one.record_id: one.label for one in run} for run in (given, *others)]
    ids = [record.id for record in records if all(record.id in side for side in sides)]
    if not ids:
        raise DataError("no record has labels of all runs", advice="check the ids of the files")
    nmi, ari = agreement_of_runs([[side[name] for name in ids] for side in sides])
    return {"NMI": nmi, "ARI": ari}
