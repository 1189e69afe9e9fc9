"""`labelspace evaluate`: compare predictions with gold labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import click

from labelspace.cli.options import data_options, seed_option

WIDEST = 100

EPILOG = """\b
Example (the labels of the sample, 5% of them wrong, against the truth):
  labelspace evaluate sample:support sample:support.truth"""


@click.command(epilog=EPILOG)
@click.argument("predictions")
@click.argument("gold")
@click.option(
    "--space",
    "space_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Label space; one with parents adds hierarchical measures.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "single", "multi", "discovered"]),
    default="auto",
    show_default=True,
    help="What is compared: one label a row, sets of labels, or labels of another vocabulary.",
)
@click.option("--discovered", is_flag=True, help="Short for --mode discovered: NMI, ARI, purity, best-match F1.")
@click.option("--other", metavar="LABEL", help="Name of the bucket for what fits nowhere; counts as not answered.")
@click.option(
    "--at-level", type=click.IntRange(min=0), metavar="N", help="Score ancestors at this level; 0 is the top."
)
@click.option("--missing-as-wrong", is_flag=True, help="Score gold rows without a prediction as wrong.")
@click.option("--against", metavar="FILE", help="Predictions of a second system: say which is better, and how surely.")
@data_options
@click.option(
    "--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples for intervals."
)
@seed_option
@click.option(
    "--json", "json_path", metavar="FILE", help="Write the whole report as JSON; - for stdout instead of text."
)
@click.option("--show", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to show of a long table.")
def command(
    *,
    predictions: str,
    gold: str,
    space_path: Path | None,
    mode: str,
    discovered: bool,
    other: str | None,
    at_level: int | None,
    missing_as_wrong: bool,
    against: str | None,
    id_column: str | None,
    label_column: str | None,
    text_column: str | None,
    bootstrap: int,
    seed: int,
    json_path: str | None,
    show: int,
) -> None:
    """Compare PREDICTIONS with the labels of GOLD, joined by id.

    PREDICTIONS is what `labelspace label` and `labelspace predict` write, or any file with ids and
    labels. GOLD is a file of records with labels; the column options are about it. The text goes to
    stdout.
    """
    from labelspace.data import read_predictions, read_records
    from labelspace.errors import ConfigError
    from labelspace.metrics import compare, evaluate
    from labelspace.metrics.evaluation import Mode
    from labelspace.space import LabelSpace

    if (predictions, gold, against).count("-") > 1:
        raise ConfigError("only one of the files can come from standard input; name the others")
    if discovered and mode not in ("auto", "discovered"):
        raise ConfigError(f"--discovered and --mode {mode} contradict each other; give one")
    space = None if space_path is None else LabelSpace.load(space_path)
    kind = cast("Mode", "discovered" if discovered else mode)
    given = list(read_predictions(predictions))
    records = list(
        read_records(gold, text_column=text_column, label_column=label_column, id_column=id_column, needs_text=False)
    )
    report = evaluate(
        given,
        records,
        space=space,
        mode=kind,
        other=other,
        at_level=at_level,
        missing_as_wrong=missing_as_wrong,
        resamples=bootstrap,
        seed=seed,
    )
    if against is not None:
        rival = compare(
            given,
            read_predictions(against),
            records,
            space=space,
            mode=kind,
            other=other,
            at_level=at_level,
            resamples=bootstrap or 1000,
            seed=seed,
        )
        report = report.model_copy(update={"against": rival})
    if json_path == "-":
        click.echo(report.model_dump_json(indent=1))
        return
    click.echo(report.text(width=min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST), show=show))
    if json_path is not None:
        report.save(json_path)
        click.echo(f"the whole report is in {json_path}", err=True)
