"""`labelspace discover`: make a label space from texts."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from labelspace.space import LabelSpace

SHOWN = 40

EPILOG = """\b
Without a model, texts are clustered by their embeddings, the number of labels follows from the data, and
labels are named by what distinguishes their texts. With a model, it reads the texts in batches, makes a
taxonomy, improves it batch by batch and reviews it (TnT-LLM). Replies are kept in the journal, so the
same command goes on after a stop and asks nothing twice.

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
    "--max-labels",
    type=click.IntRange(min=2),
    metavar="N",
    help="At most so many labels; if not given, the data decides, and a model makes 25 at most.",
)
@click.option(
    "--levels", type=click.Choice(["1", "2"]), default="1", show_default=True, help="2 puts labels in groups."
)
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
    max_labels: int | None,
    levels: str,
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
    from labelspace.data import read_records
    from labelspace.errors import ConfigError
    from labelspace.progress import note

    records = read_records(data, text_column=text_column, label_column=label_column, id_column=id_column)
    texts = [record.text for record in records]
    settings: dict[str, Any] = {"max_labels": max_labels, "levels": int(levels), "seed": seed}
    sizes: dict[str, int] = {}
    if model == "none":
        from collections import Counter

        from labelspace.agents.cluster import discover_clusters
        from labelspace.embed import cache_folder, load_embedder

        found = discover_clusters(
            texts, embedder=load_embedder(embedder, cache=cache_folder() if cache else None), **settings
        )
        space, sizes = found.space, Counter(label for label in found.labels if label is not None)
    else:
        from labelspace.agents.discover import discover

        if journal is None and out != "-":
            journal = f"{out}.journal.sqlite"
        space = discover(
            texts,
            model=model,
            use_case=use_case,
            journal=journal,
            prompts=prompts,
            progress=True,
            engine={"budget": budget},
            **settings,
        )
    if out == "-":
        click.echo(space.to_yaml(), nl=False)
    else:
        try:
            space.save(out)
        except OSError as error:
            raise ConfigError(f"{out}: can't be written: {error.strerror}; name another file with --out") from error
    for line in _lines(space, sizes):
        note(line)
    blank = sum(not text.strip() for text in texts)
    aside = f"; {blank:,} without text were set aside" if blank else ""
    note(f"{len(space.leaves)} labels for {len(texts) - blank:,} texts{aside}")
    if out != "-":
        note(f"Written to {out}. Next: labelspace label {data} --space {out} --out labels.jsonl")


def _lines(space: LabelSpace, sizes: dict[str, int]) -> list[str]:
    """The labels in their groups, with how many texts led to each where that is known."""
    shown = []
    for name in space.names:
        count = f"  ({sizes[name]:,} texts)" if name in sizes else ""
        shown.append(f"{'  ' * len(space.ancestors(name))}- {name}{count}")
    return shown if len(shown) <= SHOWN else [*shown[:SHOWN], f"... and {len(shown) - SHOWN} more"]
