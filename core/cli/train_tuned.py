"""What `labelspace train` and `predict` do for heads on a language model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.errors import ConfigError, DataError
from labelspace.progress import note
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.cli.train import Rows

STATE = ".training"


def new_head(
    head: str, base: str | None, path: str | None, overrides: tuple[str, ...], seed: int
) -> tuple[str, dict[str, Any]]:
    """Base and settings of a head, checked.

    Raises:
        ConfigError: The base is missing, or a setting does not fit.
    """
    from labelspace.finetune.head_settings import read_head_settings

    if not base:
        raise ConfigError(f"--head {head} needs --base, the folder or Hub name of a language model")
    return base, read_head_settings(head, path, overrides, seed=seed)


def train_tuned(
    rows: Rows,
    space: LabelSpace,
    head: str,
    arguments: tuple[str, dict[str, Any]],
    *,
    out: str,
    source: str,
    share: float,
    seed: int,
) -> None:
    """Train a classifier of texts, choose its epoch on a held-out share, and save it."""
    from labelspace.cli.train import SHOWN
    from labelspace.finetune.classifier import HeadClassifier
    from labelspace.finetune.tuned_store import head_class, save_tuned
    from labelspace.metrics import evaluate

    base, settings = arguments
    present = {name for row in rows.kept for name in row.labels or ()}
    held = [_draw(row.text, seed) < share for row in rows.kept]
    fitted = [row for row, is_held in zip(rows.kept, held, strict=True) if not is_held]
    asked = [row for row, is_held in zip(rows.kept, held, strict=True) if is_held]
    model = head_class(head)(
        base,
        multi_label=space.multi_label,
        classes=[name for name in [*space.leaves, *filter(None, [space.other])] if name in present],
        **settings,
    )

    def labels(records: list[Record]) -> list[Any]:
        return [list(record.labels or ()) if space.multi_label else record.label for record in records]

    dev = ([row.text for row in asked], labels(asked)) if asked else None
    model.fit([row.text for row in fitted], labels(fitted), dev=dev, folder=_state(out))
    card: dict[str, Any] = {
        "data": {
            "source": source,
            "texts": len(fitted),
            "left_out": dict(rows.left_out),
            "labels": dict(Counter(name for row in fitted for name in row.labels or ()).most_common()),
        },
        "settings": {"head": head, "base": base, "seed": seed},
    }
    if asked:
        made: list[Prediction] = list(HeadClassifier(model, space).predict(asked))
        report = evaluate(made, asked, space=space, resamples=0, seed=seed)
        measured = {name: report.value(name) for name in SHOWN if name in report.measures}
        card["held_out"] = {"texts": len(asked), "share": share, "best_epoch": model.history_.best_epoch, **measured}
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in measured.items())
        note(f"held out: {len(asked):,} texts, by which the epoch was chosen: {figures}")
    save_tuned(out, model, space, card)
    _clear(out)
    note(f"a {head} head for {len(model.classes_)} labels, trained on {len(fitted):,} texts; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out predictions.jsonl")


def train_tagger(
    records: list[Record], arguments: tuple[str, dict[str, Any]], *, out: str, source: str, share: float, seed: int
) -> None:
    """Train a tagger of words, choose its epoch on a held-out share, and save it.

    Raises:
        DataError: No record has words and tags.
    """
    from labelspace.finetune.tags import span_scores
    from labelspace.finetune.tuned_store import head_class, save_tuned

    base, settings = arguments
    kept = [record for record in records if record.tokens and record.tags]
    if not kept:
        raise DataError("no row has words and tags", path=source, advice="give columns `tokens` and `tags`, both lists")
    held = [_draw(" ".join(record.tokens or ()), seed) < share for record in kept]
    fitted = [record for record, is_held in zip(kept, held, strict=True) if not is_held]
    asked = [record for record, is_held in zip(kept, held, strict=True) if is_held]

    def both(rows: list[Record]) -> tuple[list[Any], list[Any]]:
        return [row.tokens for row in rows], [row.tags for row in rows]

    model = head_class("ls-token")(base, classes=_tags(kept), **settings)
    model.fit(*both(fitted), dev=both(asked) if asked else None, folder=_state(out))
    card: dict[str, Any] = {
        "data": {"source": source, "sentences": len(fitted)},
        "settings": {"base": base, "seed": seed},
    }
    if asked:
        words, gold = both(asked)
        scores = span_scores(gold, model.predict(words))
        card["held_out"] = {"sentences": len(asked), "share": share, **{kind: one.f1 for kind, one in scores.items()}}
        note(f"held out: {len(asked):,} sentences, by which the epoch was chosen: span F1 {scores['micro'].f1:.3f}")
    kinds = sorted({tag[2:] for tag in model.classes_ if tag != "O"})
    save_tuned(out, model, LabelSpace.of(kinds, multi_label=True), card)
    _clear(out)
    note(f"a tagger for {len(kinds)} types of spans, trained on {len(fitted):,} sentences; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out tagged.jsonl")


def predict_tags(folder: str, about: dict[str, Any], data: str, *, out: str, base: str | None) -> int:
    """Write id, words and tags of each record; one without words is split at blanks."""
    from itertools import islice

    from labelspace.data import read_records, write_rows
    from labelspace.finetune.tuned_store import load_tuned

    tagger = load_tuned(folder, about, base=base)

    def rows() -> Iterator[dict[str, Any]]:
        records = iter(read_records(data))
        while batch := list(islice(records, 256)):
            words = [list(record.tokens or record.text.split()) for record in batch]
            for record, given, tags in zip(batch, words, tagger.predict(words), strict=True):
                yield {"id": record.id, "tokens": given, "tags": tags}

    count = write_rows(out, rows())
    note(f"{count:,} sentences tagged" + ("" if out == "-" else f"; written to {out}"))
    return 0


def _tags(records: list[Record]) -> list[str]:
    found = {tag for record in records for tag in record.tags or ()}
    return ["O", *sorted(found - {"O"})]


def _state(out: str) -> Path:
    """Folder beside the model in which an unfinished training is kept, so that the same command goes on."""
    path = Path(out).resolve()
    return path.with_name(f".{path.name}{STATE}")


def _clear(out: str) -> None:
    import shutil

    shutil.rmtree(_state(out), ignore_errors=True)


def _draw(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{' '.join(text.split()).casefold()}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
