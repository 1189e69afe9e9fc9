"""What `labelspace train` does for heads over embeddings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from labelspace.cli.train_rows import Rows, is_held
from labelspace.errors import ConfigError
from labelspace.progress import note
from labelspace.records import Prediction
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.cli.train_search import Plan
    from labelspace.finetune.embedded import EmbeddingHead
    from labelspace.metrics import Report

SHOWN = ("accuracy", "subset_accuracy", "macro_f1", "micro_f1")


def train_embedded(
    rows: Rows,
    space: LabelSpace,
    settings: dict[str, Any],
    own: dict[str, Any],
    *,
    out: str,
    source: str,
    share: float,
    plan: Plan | None,
) -> None:
    """Measure a head over embeddings on a held-out share, with the settings that do best there; save one of all.

    Args:
        rows: What to learn from.
        space: Of the labels.
        settings: What all such heads have, as the card shows it.
        own: What this one has.
        out: Folder of the model.
        source: Where the rows are from.
        share: Of the rows that is held out.
        plan: Settings to try.
    """
    from labelspace.cli.train_search import clear, fingerprint
    from labelspace.embed import cache_folder, load_embedder
    from labelspace.finetune.store import EMBEDDED as HEADS
    from labelspace.finetune.store import save_model

    vectors = load_embedder(settings["embedder"], cache=cache_folder() if settings.pop("cache") else None)

    def new_head(more: dict[str, Any]) -> EmbeddingHead:
        weight = "balanced" if settings["balanced"] else None
        made = HEADS[settings["head"]]().set_params(
            embedder=vectors, multi_label=space.multi_label, class_weight=weight, seed=settings["seed"]
        )
        return made.set_params(**own).set_params(**more)

    def score(more: dict[str, Any]) -> float:
        report = held_out_report(rows, new_head(more), space, share, settings["seed"])
        if report is None:
            raise ConfigError("too few texts to hold some out, and so to search")
        return report.value("macro_f1" if space.multi_label else "accuracy")

    more: dict[str, Any] = {}
    card: dict[str, Any] = {}
    if plan is not None:
        for tried in plan.tried:
            new_head(tried)  # a setting that there is not is refused before anything is trained
        trials = plan.run(score, out, fingerprint(source, settings, own, share, rows.identity()))
        more, card["search"] = trials[0].settings, plan.card(trials)
    report = held_out_report(rows, new_head(more), space, share, settings["seed"]) if share else None
    trained = rows.fit(new_head(more))
    card |= {
        "data": {
            "source": source,
            "texts": len(rows.kept),
            **({"soft": rows.soft} if rows.soft else {}),
            "left_out": dict(rows.left_out),
            "labels": dict(Counter(name for row in rows.kept for name in row.labels or ()).most_common()),
        },
        "settings": {**settings, "embedder": trained.fitted_embedder.name, **own, **more},
    }
    if report is not None:
        measured = {name: report.value(name) for name in SHOWN if name in report.measures}
        card["held_out"] = {"texts": report.rows.scored, "share": share, **measured}
        figures = ", ".join(f"{report.measures[name].title.lower()} {report.value(name):.3f}" for name in measured)
        by = ", by which the settings were chosen" if plan else ""
        note(
            f"held out: {report.rows.scored:,} texts, trained on {len(rows.kept) - report.rows.scored:,}{by}: {figures}"
        )
    elif share:
        note("too few texts to hold some out; nothing was measured")
    save_model(out, trained, space, card)
    clear(out)
    labels = len(trained.classes_)
    taught = f", {rows.soft:,} of them with probabilities" if rows.soft else ""
    note(f"a {trained.kind} head for {labels} labels, trained on {len(rows.kept):,} texts{taught}; written to {out}")
    note(f"Next: labelspace predict {out} NEW_DATA --out predictions.jsonl")


def held_out_report(rows: Rows, head: EmbeddingHead, space: LabelSpace, share: float, seed: int) -> Report | None:
    """Train on some of the texts and score the others; None if there are too few to hold some out."""
    from labelspace.finetune.classifier import HeadClassifier
    from labelspace.metrics import evaluate

    held = [is_held(row.text, share, seed) for row in rows.kept]
    fitted = [at for at, apart in enumerate(held) if not apart]
    asked = [row for row, apart in zip(rows.kept, held, strict=True) if apart]
    if not asked or len({name for at in fitted for name in rows.kept[at].labels or ()}) < 2:
        return None
    made: list[Prediction] = list(HeadClassifier(rows.fit(head, fitted), space).predict(asked))
    return evaluate(made, asked, space=space, resamples=0, seed=seed)
