"""What `labelspace train` and `predict` do for heads on a language model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from labelspace.cli.train_rows import confidence_of, is_held, label_of
from labelspace.cli.train_search import clear, fingerprint, state_folder
from labelspace.errors import ConfigError, DataError
from labelspace.progress import note
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.cli.train_rows import Rows
    from labelspace.cli.train_search import Plan


Row = TypeVar("Row")


@dataclass(frozen=True)
class Head:
    """A head on a language model, as the command line describes it."""

    kind: str
    base: str
    path: str | None
    """File with settings."""
    overrides: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ConfigError: The base is missing, or a setting does not fit.
        """
        if not self.base:
            raise ConfigError(f"--head {self.kind} needs --base, the folder or Hub name of a language model")
        self.settings({})

    def settings(self, more: dict[str, Any]) -> dict[str, Any]:
        """Arguments of its class, with `more` over the rest."""
        from labelspace.finetune.head_settings import read_head_settings

        pairs = [f"{name}={json.dumps(value)}" for name, value in more.items()]
        return read_head_settings(self.kind, self.path, [*self.overrides, *pairs], seed=self.seed)

    def make(self, more: dict[str, Any], **known: Any) -> Any:
        """The head, untrained."""
        from labelspace.finetune.tuned_store import head_class

        return head_class(self.kind)(self.base, **known, **self.settings(more))


def fit_best(
    new: Callable[[dict[str, Any]], Any],
    fit: Callable[[Any, Path], Any],
    *,
    out: str,
    plan: Plan | None,
    identity: tuple[Any, ...],
) -> tuple[Any, dict[str, Any]]:
    """Train with the settings given, or with those that do best of a plan.

    Returns:
        The trained model, and what the card says of the search.
    """
    folder = state_folder(out)
    if plan is None:
        model = new({})
        fit(model, folder)
        return model, {}
    for more in plan.tried:
        new(more)  # a setting that does not fit is refused before anything is trained
    kept: list[tuple[float, Path]] = []

    def place(more: dict[str, Any]) -> Path:
        return folder / fingerprint(more)[:12]

    def score(more: dict[str, Any]) -> float:
        model = new(more)
        fit(model, place(more))
        found = float(model.history_.best_score or 0.0)
        kept.append((found, place(more)))
        if len(kept) > 1:  # only the best is needed again, of equal ones the first
            worse = min(reversed(kept), key=lambda one: one[0])
            kept.remove(worse)
            shutil.rmtree(worse[1], ignore_errors=True)
        return found

    trials = plan.run(score, out, fingerprint(*identity))
    model = new(trials[0].settings)
    fit(model, place(trials[0].settings))  # its state is there: nothing is trained twice
    return model, {"search": plan.card(trials)}


def train_tuned(
    rows: Rows,
    space: LabelSpace,
    head: Head,
    *,
    out: str,
    source: str,
    share: float,
    plan: Plan | None,
) -> None:
    """Train a classifier of texts, choose its epoch on a held-out share, and save it.

    Raises:
        ConfigError: There is a plan, but no text to score settings on.
    """
    from labelspace.cli.train_embedded import SHOWN
    from labelspace.finetune.classifier import HeadClassifier
    from labelspace.finetune.tuned_store import save_tuned
    from labelspace.metrics import evaluate

    present = {name for row in rows.kept for name in row.labels or ()}
    present.update(name for shares in rows.shares for name in shares or ())
    classes = [name for name in [*space.leaves, *filter(None, [space.other])] if name in present]
    known: dict[str, Any] = {"multi_label": space.multi_label}
    if head.kind == "ls-descriptions":  # a label that no row has is read too
        from labelspace.finetune.classifier import label_texts

        known["label_texts"] = label_texts(space)
        classes = list(dict.fromkeys([*space.leaves, *classes]))
    learned, held = _parts(range(len(rows.kept)), lambda at: rows.kept[at].text, share, head.seed, plan)
    fitted, asked = [rows.kept[at] for at in learned], [rows.kept[at] for at in held]
    targets, weights = rows.targets(learned, several=space.multi_label), [rows.weights[at] for at in learned]
    dev = ([row.text for row in asked], [label_of(row, several=space.multi_label) for row in asked]) if asked else None
    model, searched = fit_best(
        lambda more: head.make(more, classes=classes, **known),
        lambda model, folder: model.fit(
            [row.text for row in fitted], targets, sample_weight=weights, dev=dev, folder=folder
        ),
        out=out,
        plan=plan,
        identity=(repr(head), share, rows.identity()),
    )
    if dev is not None:
        model.calibrate(*dev)
    card: dict[str, Any] = {
        "data": {
            "source": source,
            "texts": len(fitted),
            **({"soft": rows.soft} if rows.soft else {}),
            "left_out": dict(rows.left_out),
            "labels": dict(Counter(name for row in fitted for name in row.labels or ()).most_common()),
        },
        "settings": {"head": head.kind, "base": head.base, "seed": head.seed},
        **searched,
    }
    if asked:
        made: list[Prediction] = list(HeadClassifier(model, space).predict(asked))
        report = evaluate(made, asked, space=space, resamples=0, seed=head.seed)
        measured = {name: report.value(name) for name in SHOWN if name in report.measures}
        card["held_out"] = {"texts": len(asked), "share": share, "best_epoch": model.history_.best_epoch, **measured}
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in measured.items())
        chosen = [*(["settings"] if plan else []), "the epoch", *(["thresholds"] if space.multi_label else [])]
        by = " and ".join(chosen) + (" were" if len(chosen) > 1 else " was")
        note(f"held out: {len(asked):,} texts, by which {by} chosen: {figures}")
    save_tuned(out, model, space, card)
    clear(out)
    note(f"a {head.kind} head for {len(model.classes_)} labels, trained on {len(fitted):,} texts; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out predictions.jsonl")


def train_tagger(
    records: list[Record],
    head: Head,
    *,
    out: str,
    source: str,
    share: float,
    plan: Plan | None,
    weigh: bool,
) -> None:
    """Train a tagger of words, choose its epoch on a held-out share, and save it.

    Raises:
        DataError: No record has words and tags.
    """
    from labelspace.finetune.tags import span_scores
    from labelspace.finetune.tuned_store import save_tuned

    kept = [record for record in records if record.tokens and record.tags]
    if not kept:
        raise DataError("no row has words and tags", path=source, advice="give columns `tokens` and `tags`, both lists")
    if all(tag == "O" for record in kept for tag in record.tags or ()):
        raise DataError(
            "no word has a tag other than O", path=source, advice="give B-type and I-type to words of spans"
        )
    fitted, asked = _parts(kept, lambda record: " ".join(record.tokens or ()), share, head.seed, plan)

    def both(rows: list[Record]) -> tuple[list[Any], list[Any]]:
        return [row.tokens for row in rows], [row.tags for row in rows]

    dev = both(asked) if asked else None

    def weights(rows: list[Record]) -> list[float]:
        return [confidence_of(row) if weigh else 1.0 for row in rows]

    model, searched = fit_best(
        lambda more: head.make(more, classes=_tags(kept)),
        lambda model, folder: model.fit(*both(fitted), sample_weight=weights(fitted), dev=dev, folder=folder),
        out=out,
        plan=plan,
        identity=(repr(head), share, [(record.tokens, record.tags) for record in kept], weights(kept)),
    )
    card: dict[str, Any] = {
        "data": {"source": source, "sentences": len(fitted)},
        "settings": {"base": head.base, "seed": head.seed},
        **searched,
    }
    if asked:
        words, gold = both(asked)
        scores = span_scores(gold, model.predict(words))
        card["held_out"] = {"sentences": len(asked), "share": share, **{kind: one.f1 for kind, one in scores.items()}}
        by = "settings and epoch were" if plan else "the epoch was"
        note(f"held out: {len(asked):,} sentences, by which {by} chosen: span F1 {scores['micro'].f1:.3f}")
    kinds = sorted({tag[2:] for tag in model.classes_ if tag != "O"})
    save_tuned(out, model, LabelSpace.of(kinds, multi_label=True), card)
    clear(out)
    note(f"a tagger for {len(kinds)} types of spans, trained on {len(fitted):,} sentences; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out tagged.jsonl")


def predict_tags(tagger: Any, data: str, *, out: str) -> int:
    """Write id, words and tags of each record; one without words is split at blanks."""
    from itertools import islice

    from labelspace.data import read_records, write_rows

    lost = 0

    def rows() -> Iterator[dict[str, Any]]:
        records = iter(read_records(data))
        while batch := list(islice(records, 256)):
            nonlocal lost
            words = [list(record.tokens or record.text.split()) for record in batch]
            found = tagger.predict(words)
            lost += tagger.lost_words_
            for record, given, tags in zip(batch, words, found, strict=True):
                yield {"id": record.id, "tokens": given, "tags": tags}

    count = write_rows(out, rows())
    note(f"{count:,} sentences tagged" + ("" if out == "-" else f"; written to {out}"))
    if lost:
        note(
            f"{lost:,} words got O because the model did not read them: they are beyond its max_length or have no token"
        )
    return 0


def _tags(records: list[Record]) -> list[str]:
    found = {tag for record in records for tag in record.tags or ()}
    return ["O", *sorted(found - {"O"})]


def _parts(
    records: Iterable[Row], key: Callable[[Row], str], share: float, seed: int, plan: Plan | None
) -> tuple[list[Row], list[Row]]:
    """Records, or whatever stands for them, to learn from, and those that are held out."""
    fitted: list[Row] = []
    asked: list[Row] = []
    for record in records:
        (asked if is_held(key(record), share, seed) else fitted).append(record)
    if not fitted:  # a handful, or copies of one text, which stay together
        note("too few texts to hold some out; nothing was measured")
        fitted, asked = asked, []
    if plan is not None and not asked:
        raise ConfigError("too few texts to hold some out, and so to search")
    return fitted, asked
