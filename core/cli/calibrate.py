"""`labelspace calibrate`: make confidences honest on a labelled sample, and set aside what is unsure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from labelspace.cli.options import seed_option
from labelspace.cli.spaces import load_space, space_option
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.agents.labeling.calibration import Calibration
    from labelspace.space import LabelSpace

EPILOG = """\b
LABELS is what `labelspace label` wrote, with confidences. GOLD has ids and gold labels of some of its records:
a random sample, labelled by hand. OUT is LABELS with calibrated confidences; with --target-precision, answers
that are too unsure for it are set aside in OUT, and written to OUT's queue for people to label. What was
fitted is kept in OUT.calibration.json, and --using it does the same to other labels by the same model.

\b
Example:
  labelspace label sample:support --space sample:support --out labels.jsonl
  labelspace calibrate labels.jsonl --gold sample:support.truth --space sample:support --out sure.jsonl"""


@click.command(epilog=EPILOG)
@click.argument("labels")
@space_option
@click.option("--gold", metavar="FILE", help="Ids and gold labels of a random sample.")
@click.option("--using", metavar="FILE", help="Apply an earlier calibration instead: its OUT.calibration.json.")
@click.option("--out", required=True, metavar="FILE", help="Where calibrated labels go, as for labelspace label.")
@click.option(
    "--method",
    type=click.Choice(["auto", "temperature", "sigmoid", "isotonic"]),
    default="auto",
    show_default=True,
    help="How confidences are mapped; auto takes what errs least across folds.",
)
@click.option(
    "--target-precision",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="SHARE",
    help="Keep only answers, or labels of several, that are right this often.",
)
@click.option("--sure", is_flag=True, help="Choose the threshold so that new records reach that with 95 % certainty.")
@click.option(
    "--best-f1", is_flag=True, help="Where a text has several labels: give those that make the best micro F1."
)
@click.option("--queue", metavar="FILE", help="Where what is set aside goes; beside --out if not given.")
@seed_option
def command(
    *,
    labels: str,
    space: str,
    gold: str | None,
    using: str | None,
    out: str,
    method: Literal["auto", "temperature", "sigmoid", "isotonic"],
    target_precision: float | None,
    sure: bool,
    best_f1: bool,
    queue: str | None,
    seed: int,
) -> None:
    """Calibrate the confidences of LABELS, and decide which answers to trust."""
    from labelspace.agents.labeling.calibrated import BELOW, apply
    from labelspace.data import RowWriter, read_predictions, read_records

    known = load_space(space)
    if (gold is None) == (using is None):
        raise ConfigError("give --gold, the labels of a sample, or --using, an earlier calibration")
    if best_f1 and (target_precision is not None or not known.multi_label):
        raise ConfigError("--best-f1 is for spaces of several labels, and without --target-precision")
    if sure and target_precision is None:
        raise ConfigError("--sure is for --target-precision: name one")
    if out == labels:
        raise ConfigError(f"{out}: is what is read; write to another file")
    if using is not None:
        found = _load(using)
    else:
        found = _fit(labels, str(gold), known, method=method, target=target_precision, sure=sure, f1=best_f1, seed=seed)
        kept = Path(f"{out}.calibration.json")
        kept.write_text(json.dumps({"space": known.version, **found.to_data()}, indent=1) + "\n", encoding="utf-8")
    if found.several != known.multi_label:
        raise ConfigError(f"{using}: was fitted for {'several labels' if found.several else 'one label'} a text")
    path = Path(out)
    aside = queue or str(path.with_name(f"{path.stem}.queue{path.suffix}"))
    counts = {"rows": 0, "kept": 0, "queued": 0}
    predictions = apply(found, read_predictions(labels))
    with RowWriter(out) as writer, RowWriter(aside) as waiting:
        for record, prediction in zip(read_records(labels), predictions, strict=True):
            data: dict[str, Any] = prediction.to_data()
            row = {"id": data.pop("id"), "text": record.text, **data}
            writer.write(row)
            counts["rows"] += 1
            counts["kept"] += prediction.status == "ok"
            if prediction.status == "abstained" and (prediction.reason or "").startswith(BELOW):
                counts["queued"] += 1
                waiting.write(row)
    for line in _said(found):
        note(line)
    note(f"{counts['kept']:,} of {counts['rows']:,} records have a label; written to {out}")
    if found.threshold is not None and found.target is not None:
        note(f"{counts['queued']:,} are for people to label: {aside}")


def _fit(
    labels: str,
    gold: str,
    space: LabelSpace,
    *,
    method: Literal["auto", "temperature", "sigmoid", "isotonic"],
    target: float | None,
    sure: bool,
    f1: bool,
    seed: int,
) -> Calibration:
    from labelspace.agents.labeling.calibration import best_f1, calibrate, decide, pairs_of
    from labelspace.data import read_predictions, read_records
    from labelspace.metrics.join import join

    joined = join(read_predictions(labels, space=space), read_records(gold, space=space, needs_text=False))
    stated, correct = pairs_of(joined.predictions, joined.gold, several=space.multi_label)
    found = calibrate(stated, correct, method=method, several=space.multi_label, seed=seed)
    if target is not None:
        total = len(stated) if space.multi_label else len(joined.gold)
        return decide(found, stated, correct, target=target, sure=sure, total=total)
    if f1:
        return best_f1(found, stated, correct, missed=sum(map(len, joined.gold)) - int(correct.sum()))
    return found


def _load(path: str) -> Calibration:
    from labelspace.agents.labeling.calibration import Calibration

    try:
        return Calibration.from_data(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise DataError("not valid JSON", path=path) from error
    except DataError as error:
        raise DataError(str(error), path=path, advice="name an OUT.calibration.json") from error


def _said(found: Calibration) -> Iterator[str]:
    def error(which: Any) -> str:
        return f"{which.value:.3f} ({which.low:.3f} to {which.high:.3f})"

    what = "labels with scores" if found.several else "answers"
    yield f"Calibration error on {found.pairs:,} {what}: {error(found.before)} as stated"
    if found.calibrator.method == "none":
        yield "No calibration is likelier than what was stated, so nothing is changed"
    else:
        yield f"and {error(found.after)} calibrated ({found.calibrator.method}), measured across folds"
    if found.reached is not None:
        share = found.reached.accuracy
        yield (
            f"From a confidence of {found.threshold:.3f} on, {share.value:.2%} are right ({share.low:.2%} to "
            f"{share.high:.2%}); that is {found.reached.coverage:.1%} of the sample"
        )
    elif found.threshold is not None:
        yield f"Labels are given from a confidence of {found.threshold:.3f} on"
