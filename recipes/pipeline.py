"""From raw texts to a label space, labels, a trained classifier and its evaluation, in one resumable folder.

    labelspace run pipeline                                          # the sample data, no key, no network
    labelspace run pipeline data=mine.jsonl out=runs/mine            # your texts
    labelspace run pipeline model=http://localhost:8000/v1#my-llm    # an LLM discovers and labels

Read it from top to bottom: each stage is one call into the library, and may be called alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import click

from labelspace.agents.budget.enough import Enough, label_enough
from labelspace.agents.discover import discover
from labelspace.agents.labeling.labeler import Labeler
from labelspace.config import Config, to_yaml
from labelspace.data import find_source, read_predictions, read_records, write_predictions
from labelspace.embed import cache_folder, fit_embedder, load_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import load_classifier, save_model
from labelspace.metrics import Report, evaluate
from labelspace.records import Record, Told, derive_id
from labelspace.runs import RunFolder, file_digest
from labelspace.space import LabelSpace


class PipelineConfig(Config):
    """What `labelspace run pipeline` reads."""

    data: str = "sample:support"
    """Texts: a file, a datasets folder, or sample:support."""
    gold: str | None = None
    """Records with true labels, joined by id; None takes the labels in `data`, if any, or a sample's truth."""
    out: Path = Path("runs/pipeline")
    """Folder of the run."""
    text_column: str | None = None
    """Column of the texts; guessed if not given."""
    label_column: str | None = None
    """Column of the true labels; guessed if not given."""
    id_column: str | None = None
    """Column of the ids; guessed if not given."""
    model: str = "none"
    """none, http://host/v1#name, or provider:name."""
    use_case: str = ""
    """What the labels are for; an LLM reads it."""
    space: Path | None = None
    """A label space to use; None discovers one."""
    max_labels: int | None = None
    """At most so many labels are discovered; None lets the data choose."""
    levels: Literal[1, 2] = 1
    """1 for a flat space, 2 for groups of labels."""
    embedder: str = "tfidf"
    """tfidf, a sentence-transformers model, or http://host/v1#model."""
    labels: Literal["auto", "all", "enough"] = "auto"
    """all texts are labelled; or enough of them, until the classifier stops changing; auto: enough with an LLM."""
    held_out: float = 0.2
    """Share of the records that the classifier does not train on."""
    prompts: Path | None = None
    """Folder of templates that replace ours by name."""
    concurrency: int | Literal["auto"] = "auto"
    """Requests in flight: auto, or a number."""
    seed: int = 0
    """Seed of everything random."""


def is_held_out(record: Record, share: float) -> bool:
    """Whether the classifier must not train on a record: its text decides, so copies stay on one side."""
    return int(derive_id(record.text), 16) < share * 16**16


def main(config: PipelineConfig) -> dict[str, Report]:
    """Run every stage that is not done yet and print a summary.

    Returns:
        Reports by what they compare: `labels`, `classifier` (held-out records, against gold) and
        `agreement` (held-out records, the classifier against the labels it stands in for).
    """
    if (source := find_source(config.data).path) is None:
        raise ConfigError("a run reads its data more than once, which standard input can't; name a file")
    columns = config.model_dump(include={"text_column", "label_column", "id_column"})

    def records() -> Iterator[Record]:
        return read_records(config.data, **columns)

    with RunFolder(config.out) as run:
        (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        journal = None if config.model == "none" else run / "journal.sqlite"
        shared = config.model_dump(mode="json", include={"model", "use_case", "embedder", "prompts", "seed"})
        shared |= {"data": file_digest(source), "columns": columns}

        # 1. A label space, discovered in the texts or given.
        wish = {"max_labels": config.max_labels, "levels": config.levels}
        given = None if config.space is None else file_digest(config.space)
        with run.stage("discover", {**shared, **wish, "given": given}, output="space.yaml") as discovered:
            if discovered.needed:
                if config.space is not None:
                    space = LabelSpace.load(config.space)
                else:
                    space = discover(
                        [record.text for record in records()],
                        model=config.model,
                        use_case=config.use_case,
                        max_labels=config.max_labels,
                        levels=config.levels,
                        embedder=config.embedder,
                        journal=journal,
                        prompts=config.prompts,
                        seed=config.seed,
                    )
                space.save(discovered.path)
                discovered.figures = {"labels": len(space.leaves)}
        space = LabelSpace.load(discovered.path)

        # 2. A label of that space for each record.
        enough = config.labels == "enough" or (config.labels == "auto" and config.model != "none")
        inputs = {**shared, "space": discovered.digest}
        if enough:
            inputs["enough"] = config.held_out
        with run.stage("label", inputs, output="labels.jsonl") as labelled:
            if labelled.needed:
                labeler = Labeler(
                    space,
                    model=config.model,
                    embedder=config.embedder,
                    use_case=config.use_case,
                    prompts=config.prompts,
                    journal=journal,
                    concurrency=config.concurrency,
                )
                if enough:
                    some = label_some(config, list(records()), labeler)
                    (run / "curve.json").write_text(json.dumps(some.to_data(), indent=1) + "\n", encoding="utf-8")
                    kept = (record for record in records() if record.id in some.labels)
                    labelled.figures = {**write_predictions(labelled.path, Told(space, some.labels), kept)}
                    labelled.figures |= {"reason": some.reason, "records": sum(1 for _ in records())}
                else:
                    labelled.figures = write_predictions(labelled.path, labeler, records())

        # 3. A cheap classifier that stands in for the labeler, trained on its labels.
        recipe = {"embedder": config.embedder, "held_out": config.held_out, "seed": config.seed}
        with run.stage("train", {**recipe, "labels": labelled.digest}, output="model") as trained:
            if trained.needed:
                made = read_records(labelled.path, space=space)
                rows = [row for row in made if row.labels and not is_held_out(row, config.held_out)]
                if len({row.labels for row in rows}) < 2:
                    raise DataError("has fewer than two labels, so there is nothing to train", path=str(labelled.path))
                head = LinearHead(config.embedder, multi_label=space.multi_label, seed=config.seed)
                texts = [row.text for row in rows]
                head.fit(
                    texts,
                    [row.labels or () for row in rows] if space.multi_label else [row.label or "" for row in rows],
                )
                save_model(trained.path, head, space, {"trained_on": len(rows), "labels_from": config.model})
                trained.figures = {"rows": len(rows)}

        # 4. Its predictions for all records.
        with run.stage("predict", {**shared, "model": trained.digest}, output="predictions.jsonl") as predicted:
            if predicted.needed:
                predicted.figures = write_predictions(predicted.path, load_classifier(trained.path), records())

        # 5. What labels and classifier are worth: against gold where there is some, and against each other.
        gold = file_digest(find_source(gold_of(config)).path or source)
        inputs = {"predictions": predicted.digest, "labels": labelled.digest, "held_out": config.held_out}
        inputs |= {"gold": gold, "columns": columns, "seed": config.seed}
        with run.stage("evaluate", inputs, output="reports") as evaluated:
            if evaluated.needed:
                evaluated.path.mkdir(exist_ok=True)
                held_out = {record.id for record in records() if is_held_out(record, config.held_out)}
                for name, report in compare(config, space, held_out).items():
                    report.save(evaluated.path / f"{name}.json")
                    (evaluated.path / f"{name}.txt").write_text(report.text() + "\n", encoding="utf-8")
        reports = {path.stem: Report.load(path) for path in sorted(evaluated.path.glob("*.json"))}
    click.echo(summary(config, space, run, reports))
    return reports


CHECKED = 200
"""Held-out records that are labelled, at most, where not all are: for the learning curve and for agreement."""


def label_some(config: PipelineConfig, records: list[Record], labeler: Labeler) -> Enough:
    """Label until the classifier stops changing."""
    embedder = fit_embedder(load_embedder(config.embedder, cache=cache_folder()), [one.text for one in records])
    apart = [record for record in records if is_held_out(record, config.held_out) and not record.is_blank]
    drawn = sorted(apart, key=lambda record: derive_id(f"{config.seed} {record.text}"))[:CHECKED]
    rest = [record for record in records if not is_held_out(record, config.held_out)]
    return label_enough(rest, labeler, embedder.embed, held_out=drawn, seed=config.seed)


def gold_of(config: PipelineConfig) -> str:
    """Where the true labels are; those in a sample's data are wrong here and there, on purpose."""
    return config.gold or (f"{config.data}.truth" if config.data.startswith("sample:") else config.data)


def compare(config: PipelineConfig, space: LabelSpace, held_out: set[str]) -> dict[str, Report]:
    """Score labels and classifier against gold, where there is gold, and against each other."""
    made = {name: list(read_predictions(config.out / f"{name}.jsonl")) for name in ("labels", "predictions")}
    kept = [prediction for prediction in made["predictions"] if prediction.record_id in held_out]
    stands_in_for = [
        Record(prediction.record_id, "", prediction.labels)
        for prediction in made["labels"]
        if prediction.labels and prediction.record_id in held_out
    ]
    truth = read_records(
        gold_of(config), label_column=config.label_column, id_column=config.id_column, needs_text=False
    )
    gold = [record for record in truth if record.labels is not None]
    reports = {}
    if gold:
        # Labels that were discovered have names of their own; a given space may have the gold ones.
        known = space if {name for record in gold for name in record.labels or ()} <= set(space.names) else None
        reports["labels"] = evaluate(made["labels"], gold, space=known, seed=config.seed)
        unseen = [record for record in gold if record.id in held_out]
        if unseen:
            reports["classifier"] = evaluate(kept, unseen, space=known, seed=config.seed)
    if stands_in_for:
        reports["agreement"] = evaluate(kept, stands_in_for, space=space, seed=config.seed)
    return reports


SHOWN = ("accuracy", "subset_accuracy", "macro_f1", "nmi", "ari", "purity", "one_to_one_f1", "coverage")
"""Measures of a report that the summary shows."""


def summary(config: PipelineConfig, space: LabelSpace, run: RunFolder, reports: dict[str, Report]) -> str:
    """What was made, what it is worth, where it is, and what to do next."""
    stages = {name: stage["figures"] for name, stage in run.state["stages"].items()}
    labels = stages["label"]
    lines = [
        "",
        f"Run in {run.path} (model: {config.model}, embedder: {config.embedder})",
        f"  space.yaml         {len(space.leaves)} labels: {', '.join(space.leaves[:6])}{', ...' * (len(space) > 6)}",
        f"  labels.jsonl       {labels['rows']:,}{_of(labels)} records: {labels['ok']:,} labelled, "
        f"{labels['abstained']:,} set aside, {labels['failed']:,} failed",
        f"  model/             linear head, trained on {stages['train']['rows']:,} of them",
        f"  predictions.jsonl  what it makes of all {stages['predict']['rows']:,}",
        "  reports/           figures in full, as text and JSON",
    ]
    if "reason" in labels:
        lines.insert(4, f"  curve.json         why no more: {labels['reason']}")
    titles = {
        "labels": "Labels against gold",
        "classifier": "Classifier against gold, held-out records",
        "agreement": "Classifier against labels, held-out records",
    }
    for name, title in titles.items():
        if name in reports:
            report = reports[name]
            figures = ", ".join(
                f"{report.measures[key].title} {report.value(key):.3f}" for key in SHOWN if key in report.measures
            )
            lines.append(f"{title} ({report.rows.scored:,}): {figures}")
    lines += ["Next:", f"  labelspace predict {run / 'model'} NEW.jsonl --out predictions.jsonl"]
    if labels["failed"]:
        lines.append("  The same command again asks for the failed records once more.")
    return "\n".join(lines)


def _of(labels: Mapping[str, int]) -> str:
    return f" of {labels['records']:,}" if "records" in labels else ""
