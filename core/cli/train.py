"""`labelspace train`: train a classifier on labelled records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.options import cache_option, data_options, embedder_option, seed_option
from labelspace.cli.spaces import load_space
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.finetune.linear import LinearHead
    from labelspace.metrics import Report

EPILOG = """\b
DATA is labelled by people, or by `labelspace label`: then each text counts by the confidence of its
label. A share of the texts is held out first, for the figures that are printed and saved with the
model; the model that is saved is trained on all of them.

\b
Example:
  labelspace train sample:support --space sample:support --out model"""

SHOWN = ("accuracy", "subset_accuracy", "macro_f1", "micro_f1")


@dataclass
class Rows:
    """The records that can be trained on, and what became of the others."""

    kept: list[Record] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def fit(self, head: LinearHead, where: Iterable[int] | None = None) -> LinearHead:
        """Train a head on all rows, or on some."""
        chosen = range(len(self.kept)) if where is None else list(where)
        rows = [self.kept[at] for at in chosen]
        labels: list[Any] = [(row.labels or ()) if head.multi_label else row.label for row in rows]
        return head.fit([row.text for row in rows], labels, [self.weights[at] for at in chosen])


@click.command(epilog=EPILOG)
@click.argument("data")
@click.option(
    "--space", metavar="FILE", help="Label space, YAML or JSON; or sample:support. If not given, the labels in DATA."
)
@click.option("--out", required=True, metavar="MODEL_DIR", help="Folder of the model.")
@click.option(
    "--head",
    type=click.Choice(["linear", "ls", "ls-token", "ptec"]),
    default="linear",
    show_default=True,
    help="linear, over embeddings; of a language model: ls for texts, ls-token for words, ptec for a soft prompt.",
)
@click.option("--base", metavar="MODEL", help="Folder or Hub name of the language model; for all heads but linear.")
@click.option("--settings", metavar="FILE", help="YAML file with settings of the head; for all heads but linear.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as pooling=mean or training.epochs=3; may be given again.",
)
@embedder_option
@cache_option
@click.option(
    "--C",
    "strength",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Inverse strength of the penalty on the weights.",
)
@click.option("--balanced", is_flag=True, help="Give each label the same weight in all, however rare it is.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave out labels of less confidence.",
)
@click.option("--weigh/--no-weigh", default=True, show_default=True, help="Let a text count by its label's confidence.")
@click.option(
    "--dev-fraction",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the texts that is held out for the figures; 0 for none.",
)
@data_options
@seed_option
def command(
    *,
    data: str,
    space: str | None,
    out: str,
    head: str,
    base: str | None,
    settings: str | None,
    overrides: tuple[str, ...],
    embedder: str,
    cache: bool,
    strength: float,
    balanced: bool,
    min_confidence: float,
    weigh: bool,
    dev_fraction: float,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Train a classifier on the labelled records of DATA.

    DATA is a file, a datasets folder, - for standard input, or sample:support.
    """
    from labelspace.data import read_records
    from labelspace.embed import cache_folder, load_embedder
    from labelspace.finetune.linear import LinearHead
    from labelspace.finetune.store import save_model

    known = None if space is None else load_space(space)
    if head != "linear":
        from labelspace.cli.train_tuned import new_head as new_tuned
        from labelspace.cli.train_tuned import train_tagger, train_tuned

        arguments = new_tuned(head, base, settings, overrides, seed)
    elif base or settings or overrides:
        raise ConfigError("--base, --settings and --set are for the other heads; choose one with --head")
    if head == "ls-token":
        records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
        train_tagger(list(records), arguments, out=out, source=data, share=dev_fraction, seed=seed)
        return
    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column, space=known)
    rows = select_rows(records, known, min_confidence=min_confidence, weigh=weigh)
    known = check_rows(rows, known, path=data)
    if head != "linear":
        train_tuned(rows, known, head, arguments, out=out, source=data, share=dev_fraction, seed=seed)
        return

    def new_head() -> LinearHead:
        return LinearHead(
            load_embedder(embedder, cache=cache_folder() if cache else None),
            multi_label=known.multi_label,
            C=strength,
            class_weight="balanced" if balanced else None,
            seed=seed,
        )

    report = held_out_report(rows, new_head, known, dev_fraction, seed) if dev_fraction else None
    trained = rows.fit(new_head())
    card: dict[str, Any] = {
        "data": {
            "source": data,
            "texts": len(rows.kept),
            "left_out": dict(rows.left_out),
            "labels": dict(Counter(name for row in rows.kept for name in row.labels or ()).most_common()),
        },
        "settings": {
            "head": head,
            "embedder": trained.fitted_embedder.name,
            "C": strength,
            "balanced": balanced,
            "min_confidence": min_confidence,
            "weighed_by_confidence": weigh,
            "seed": seed,
        },
    }
    if report is not None:
        measured = {name: report.value(name) for name in SHOWN if name in report.measures}
        card["held_out"] = {"texts": report.rows.scored, "share": dev_fraction, **measured}
    save_model(out, trained, known, card)
    note(f"a linear head for {len(trained.classes_)} labels, trained on {len(rows.kept):,} texts; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out predictions.jsonl")


def select_rows(records: Iterable[Record], space: LabelSpace | None, *, min_confidence: float, weigh: bool) -> Rows:
    """Keep what has a text and a label that is sure enough; count the rest by reason."""
    rows = Rows()
    several = space is not None and space.multi_label
    for record in records:
        confidence = record.metadata.get("confidence")
        sure = float(confidence) if isinstance(confidence, (int, float)) else 1.0
        if record.is_blank:
            rows.left_out["blank"] += 1
        elif record.labels is None or (not record.labels and not several and space is not None):
            rows.left_out["without a label"] += 1
        elif sure < min_confidence:
            rows.left_out["not sure enough"] += 1
        else:
            rows.kept.append(record)
            rows.weights.append(sure if weigh else 1.0)
    return rows


def check_rows(rows: Rows, space: LabelSpace | None, *, path: str) -> LabelSpace:
    """Say what is odd about the rows; return the space, made from their labels if there is none.

    Raises:
        DataError: There is nothing to learn from.
    """
    left = ", ".join(f"{count:,} {reason}" for reason, count in rows.left_out.items())
    counts = Counter(name for row in rows.kept for name in row.labels or ())
    if not rows.kept:
        raise DataError(f"no row can be trained on: {left}", path=path, advice="give texts with labels")
    if space is None:
        several = any(len(row.labels or ()) != 1 for row in rows.kept)
        space = LabelSpace.of(sorted(counts), multi_label=several) if counts else LabelSpace.of(["none"])
    if len(counts) < (1 if space.multi_label else 2):
        only = f"only {next(iter(counts))!r}" if counts else "none"
        raise DataError(
            f"fewer than two labels to tell apart: {only} in {len(rows.kept):,} texts"
            + (f" ({left} were left out)" if left else ""),
            path=path,
            advice="give texts of at least two labels",
        )
    if left:
        note(f"left out: {left}")
    if unseen := [name for name in space.leaves if name not in counts]:
        note(f"{len(unseen)} of {len(space.leaves)} labels have no text and will never be given: {_some(unseen)}")
    if single := sorted(name for name, count in counts.items() if count == 1):
        note(f"{len(single)} labels have a single text, too few to learn or to measure: {_some(single)}")
    return space


def held_out_report(rows: Rows, new_head: Any, space: LabelSpace, share: float, seed: int) -> Report | None:
    """Train on some of the texts, score the others and print the main figures.

    The text decides on which side it is, so copies of a text stay together.
    """
    from labelspace.finetune.classifier import HeadClassifier
    from labelspace.metrics import evaluate

    held = [_draw(row.text, seed) < share for row in rows.kept]
    fitted = [at for at, is_held in enumerate(held) if not is_held]
    asked = [row for row, is_held in zip(rows.kept, held, strict=True) if is_held]
    if not asked or len({name for at in fitted for name in rows.kept[at].labels or ()}) < 2:
        note("too few texts to hold some out; nothing was measured")
        return None
    classifier = HeadClassifier(rows.fit(new_head(), fitted), space)
    made: list[Prediction] = list(classifier.predict(asked))
    report = evaluate(made, asked, space=space, resamples=0, seed=seed)
    figures = ", ".join(
        f"{report.measures[name].title.lower()} {report.value(name):.3f}" for name in SHOWN if name in report.measures
    )
    note(f"held out: {len(asked):,} texts, trained on {len(fitted):,}: {figures}")
    return report


def _draw(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{' '.join(text.split()).casefold()}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
