"""`labelspace discover`: make a label space from texts, or bring one up to date with new texts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelspace.cli.options import (
    cache_option,
    data_options,
    embedder_option,
    model_option,
    prompts_option,
    seed_option,
)
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.space import LabelSpace

EPILOG = """\b
Without a model, texts are clustered by their embeddings, the number of labels follows from the data, and
labels are named by what distinguishes their texts. With a model, it reads the texts in batches, makes a
taxonomy, improves it batch by batch and reviews it (TnT-LLM). Replies are kept in the journal, so the
same command goes on after a stop and asks nothing twice. OUT.steps.json tells the score of each step, what
the model found wanting, and what it changed.

\b
--update OLD brings a space up to date with new texts. What changed is shown as a diff with reasons, and
written to OUT.changes.json, with which `labelspace migrate` carries over the labels that documents have.

\b
Example:
  labelspace discover sample:support --out space.yaml --max-labels 20"""


@click.command(epilog=EPILOG)
@click.argument("data")
@click.option("--out", required=True, metavar="FILE", help="Where the label space goes: .yaml or .json; - for stdout.")
@model_option
@click.option(
    "--use-case", default="", metavar="TEXT", help="What the labels are for, in a sentence; a model reads it."
)
@click.option(
    "--method",
    type=click.Choice(["taxonomy", "clusters"]),
    default="taxonomy",
    show_default=True,
    help="What a model does: make a taxonomy, or only name clusters.",
)
@click.option(
    "--max-labels",
    type=click.IntRange(min=2),
    metavar="N",
    help="At most so many labels; if not given, the data decides, and a model makes 25 at most.",
)
@click.option(
    "--levels", type=click.Choice(["1", "2"]), default="1", show_default=True, help="2 puts labels in groups."
)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Taxonomies that a model makes; votes on texts held out from all choose one.",
)
@click.option("--start", metavar="FILE", help="A label space that a model begins with instead of nothing.")
@click.option(
    "--update", metavar="FILE", help="A label space in use: change only what the texts call for, and say why."
)
@click.option(
    "--summarize",
    type=click.Choice(["long", "always", "never"]),
    default="long",
    show_default=True,
    help="Which texts a model sees as summaries: those of over 60 words, all, or none (their beginning and end).",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=200, show_default=True, metavar="N", help="Texts in a batch."
)
@click.option(
    "--max-documents",
    type=click.IntRange(min=3),
    default=2000,
    show_default=True,
    metavar="N",
    help="Texts that a model reads; of more, it is given a sample, drawn for variety by --embedder.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Batches in a row that change no label, after which a model reads no more; 0 has it read all.",
)
@click.option("--language", default="English", show_default=True, help="Of names and descriptions, by a model.")
@embedder_option
@cache_option
@prompts_option
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; beside --out if not given.")
@click.option("--budget", metavar="LIMIT", help="The most to spend: '5 USD', '200k tokens' or '1000 calls'.")
@data_options
@seed_option
def command(
    *,
    data: str,
    out: str,
    model: str,
    use_case: str,
    method: str,
    max_labels: int | None,
    levels: str,
    candidates: int,
    start: str | None,
    update: str | None,
    summarize: str,
    batch_size: int,
    max_documents: int,
    patience: int,
    language: str,
    embedder: str,
    cache: bool,
    prompts: Path | None,
    journal: str | None,
    budget: str | None,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
    seed: int,
) -> None:
    """Make a label space from the texts of DATA.

    DATA is a file, a datasets folder, - for standard input, or sample:support.
    """
    from labelspace.cli.spaces import space_lines
    from labelspace.data import read_records
    from labelspace.embed import cache_folder
    from labelspace.errors import ConfigError

    begun = _begun(model, method, start, update, candidates)
    records = list(read_records(data, text_column=text_column, label_column=label_column, id_column=id_column))
    if journal is None and out != "-" and model != "none":
        journal = f"{out}.journal.sqlite"
    asking: dict[str, Any] = {"journal": journal, "prompts": prompts, "progress": True, "engine": {"budget": budget}}
    told: dict[str, Any] = {
        "use_case": use_case,
        "levels": int(levels),
        "candidates": candidates,
        "summarize": summarize,
        "batch_size": batch_size,
        "max_documents": max_documents,
        "patience": patience,
        "language": language,
        "embedder": embedder,
        "cache": cache_folder() if cache else None,
        "seed": seed,
    }
    sizes: dict[str, int] = {}
    changes, steps = None, tuple[Any, ...]()
    if model == "none" or method == "clusters":
        space, sizes = _clusters([record.text for record in records], model, told, asking, max_labels=max_labels)
    else:
        from labelspace.agents.discover import most_labels
        from labelspace.agents.taxonomy.loop import TaxonomySettings, make_taxonomy

        settings = TaxonomySettings(**told, max_labels=most_labels(max_labels, begun))
        made = make_taxonomy(records, settings, model=model, start=begun, reasons=update is not None, **asking)
        space, changes, steps = made.space, made.changes, made.steps
    if out == "-":
        click.echo(space.to_yaml(), nl=False)
    else:
        try:
            space.save(out)
        except OSError as error:
            raise ConfigError(f"{out}: can't be written: {error.strerror}; name another file with --out") from error
    for line in space_lines(space, sizes):
        note(line)
    blank = sum(record.is_blank for record in records)
    aside = f"; {blank:,} without text were set aside" if blank else ""
    note(f"{len(space.leaves)} labels for {len(records) - blank:,} texts{aside}")
    if steps and out != "-":
        told_steps = [asdict(step) for step in steps]
        Path(f"{out}.steps.json").write_text(json.dumps(told_steps, ensure_ascii=False, indent=1) + "\n", "utf-8")
    if changes is not None:
        note(f"What changed:\n{changes}")
    if out == "-":
        return
    if changes is not None and update is not None:
        changes.save(f"{out}.changes.json")
        follow = f"--changes {out}.changes.json --out NEW_LABELS"
        note(f"Written to {out}. Next: labelspace migrate LABELS DATA --space {out} {follow}")
    else:
        note(f"Written to {out}. Next: labelspace label {data} --space {out} --out labels.jsonl")


def _begun(model: str, method: str, start: str | None, update: str | None, candidates: int) -> LabelSpace | None:
    """The labels to begin with.

    Raises:
        ConfigError: Options that don't go together.
    """
    from labelspace.cli.spaces import load_space
    from labelspace.errors import ConfigError

    given = [name for name, value in (("start", start), ("update", update)) if value is not None]
    if len(given) == 2:
        raise ConfigError("--start and --update both name the labels to begin with; give one")
    if candidates > 1:
        given.append("candidates")
    if given and (model == "none" or method == "clusters"):
        raise ConfigError(f"--{given[0]} is for a model that makes a taxonomy: name one with --model")
    path = start or update
    return None if path is None else load_space(path)


def _clusters(
    texts: list[str],
    model: str,
    told: dict[str, Any],
    asking: dict[str, Any],
    *,
    max_labels: int | None,
) -> tuple[LabelSpace, dict[str, int]]:
    """Clusters, named by a model where there is one; and how many texts each has."""
    from labelspace.agents.clustering.cluster import discover_clusters
    from labelspace.agents.clustering.naming import name_clusters
    from labelspace.embed import load_embedder

    namer: Any = name_clusters
    if model != "none":
        from labelspace.agents.taxonomy.loop import TaxonomySettings
        from labelspace.agents.taxonomy.naming import ModelNamer

        namer = ModelNamer(model, TaxonomySettings(**told), **asking)
    found = discover_clusters(
        texts,
        embedder=load_embedder(told["embedder"], cache=told["cache"]),
        max_labels=max_labels,
        levels=told["levels"],
        seed=told["seed"],
        namer=namer,
    )
    return found.space, Counter(label for label in found.labels if label is not None)
