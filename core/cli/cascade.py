"""`labelspace cascade`: a head first, and an LLM or a person where it is not sure."""

from __future__ import annotations

import click

from labelspace.cli.options import cache_option, data_options, seed_option
from labelspace.errors import ConfigError, DataError

EPILOG = """\b
Example:
  labelspace train sample:support --space sample:support --out model
  labelspace label sample:support --space sample:support --out other.jsonl
  labelspace cascade tune model sample:support --other other.jsonl --out cascade.json
  labelspace cascade run model sample:support --tuned cascade.json --out predictions.jsonl"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Let a trained head answer where it is sure, and ask an LLM or a person where it is not."""


@command.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL_DIR")
@click.argument("data", metavar="DEV")
@click.option(
    "--other",
    required=True,
    metavar="FILE",
    help="What the other said of the records of DEV: predictions of `labelspace label`, by id; some may be missing.",
)
@click.option("--out", required=True, metavar="FILE", help="Where the chosen point goes: JSON.")
@click.option(
    "--most-asked",
    type=click.FloatRange(0, 1),
    default=0.33,
    show_default=True,
    help="The largest share of records that the other may be asked about.",
)
@cache_option
@data_options
@seed_option
def tune(
    *,
    model: str,
    data: str,
    other: str,
    out: str,
    most_asked: float,
    cache: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Draw the curve of cost and accuracy on DEV, labelled records the head has not learnt from, and pick a point.

    Half of DEV says how unlikely a right label can look, the other half what each point costs and brings.
    """
    import numpy as np

    from labelspace.data import read_predictions, read_records
    from labelspace.finetune.cascade import choose, curve, save_point
    from labelspace.finetune.store import load_classifier
    from labelspace.progress import note

    head = load_classifier(model, cached=cache)
    if head.space.multi_label:
        raise ConfigError("a cascade is for spaces with one label a text")
    columns = {name: at for at, name in enumerate(head.names)}
    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
    rows = [record for record in records if not record.is_blank and record.label in columns]
    if len(rows) < 4:
        raise DataError("fewer than four records have a text and a label that the head knows", path=data)
    said = {
        one.record_id: columns.get(one.label or "", -1) for one in read_predictions(other) if one.status != "failed"
    }
    order = np.random.default_rng(seed).permutation(len(rows))
    calibration, rest = ([rows[at] for at in part] for part in np.split(order, [len(rows) // 2]))
    gold = [[columns[str(record.label)] for record in part] for part in (calibration, rest)]
    p = [head.head.predict_proba([record.text for record in part]) for part in (calibration, rest)]
    answers = [said.get(record.id) for record in rest]
    points = curve((np.asarray(p[0]), gold[0]), (np.asarray(p[1]), gold[1]), answers)
    chosen = choose(points, most_asked=most_asked)
    click.echo("coverage    asked  accuracy")
    for point in points:
        mark = "  <- chosen" if point is chosen else ""
        click.echo(f"{point.coverage:8.3f} {point.asked:8.1%} {point.accuracy:9.2%}{mark}")
    alone = float((np.asarray(p[1]).argmax(axis=1) == np.asarray(gold[1])).mean())
    click.echo(f"the head alone: {alone:.2%}" + _other_alone(answers, gold[1]))
    save_point(out, chosen, head.space)
    note(f"written to {out}")
    note(f"Next: labelspace cascade run {model} NEW_DATA --tuned {out} --model http://host/v1#name --out FILE")


def _other_alone(answers: list[int | None], gold: list[int]) -> str:
    """How good the other is by itself, where that is known."""
    pairs = [(one, right) for one, right in zip(answers, gold, strict=True) if one is not None]
    if len(pairs) < len(gold):
        return ""
    return f"; the other alone: {sum(one == right for one, right in pairs) / len(pairs):.2%}"


@command.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL_DIR")
@click.argument("data")
@click.option("--tuned", required=True, metavar="FILE", help="What `labelspace cascade tune` wrote.")
@click.option(
    "--out", default="-", show_default=True, metavar="FILE", help=".jsonl, .csv, .tsv, .parquet; - for stdout."
)
@click.option(
    "--model",
    "other",
    metavar="MODEL",
    help="What is asked: http://host/v1#name or provider:name; if not given, a person: such records abstain.",
)
@click.option("--budget", type=click.IntRange(min=0), metavar="N", help="The most records to ask about.")
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; beside --out if not given.")
@cache_option
@data_options
def run(
    *,
    model: str,
    data: str,
    tuned: str,
    out: str,
    other: str | None,
    budget: int | None,
    journal: str | None,
    cache: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
) -> int:
    """Label the records of DATA: by the head where it is sure, by the other where not."""
    from labelspace.cli.summary import say_what_was_made
    from labelspace.data import count_rows, read_records, write_predictions
    from labelspace.finetune.cascade import Cascade, load_point
    from labelspace.finetune.store import load_classifier
    from labelspace.progress import note
    from labelspace.records import Classifier

    head = load_classifier(model, cached=cache)
    second: Classifier | None = None
    if other is not None:
        from labelspace.agents.labeling.labeler import Labeler

        if journal is None and out != "-":
            journal = f"{out}.journal.sqlite"
        second = Labeler(head.space, model=other, journal=journal)
    cascade = Cascade(head, second, limit=load_point(tuned, head.space).limit, budget=budget)
    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
    total = None if data == "-" else count_rows(data)
    counts = write_predictions(out, cascade, records, title="predicting", total=total)
    if second is not None:
        note(f"the model was asked about {cascade.asked:,} of {counts['rows']:,} records")
    return say_what_was_made(out, counts)
