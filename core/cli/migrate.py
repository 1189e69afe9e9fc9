"""`labelspace migrate`: carry labels over to a changed space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelspace.cli.options import data_options, embedder_option, model_option, prompts_option
from labelspace.cli.spaces import load_space, space_option
from labelspace.progress import note

EPILOG = """\b
Labels that were renamed or merged get their new name. Only documents whose label was dropped, divided or
drawn otherwise, that have none, or that fitted nowhere while there are new labels, are labelled again.

\b
Example:
  labelspace label sample:support --space sample:support --out old.jsonl
  labelspace migrate old.jsonl sample:support --space sample:support --old sample:support --out new.jsonl"""


@click.command(epilog=EPILOG)
@click.argument("labels")
@click.argument("data")
@space_option
@click.option("--changes", "changes_path", metavar="FILE", help="What `labelspace discover --update` wrote.")
@click.option("--old", metavar="FILE", help="The space before, where it was changed by hand.")
@click.option("--out", required=True, metavar="FILE", help="Where all labels go; - for stdout.")
@model_option
@embedder_option
@click.option("--use-case", default="", metavar="TEXT", help="What the labels are for, as it was told to `label`.")
@click.option(
    "--batch-documents", type=click.IntRange(min=1), default=1, show_default=True, help="Documents in one request."
)
@prompts_option
@click.option("--journal", metavar="FILE", help="SQLite file that keeps replies; beside --out if not given.")
@click.option("--budget", metavar="LIMIT", help="The most to spend: '5 USD', '200k tokens' or '1000 calls'.")
@click.option("--dry-run", is_flag=True, help="Say how many documents would be labelled again; nothing is asked.")
@data_options
def command(
    *,
    labels: str,
    data: str,
    space: str,
    changes_path: str | None,
    old: str | None,
    out: str,
    model: str,
    embedder: str,
    use_case: str,
    batch_documents: int,
    prompts: Path | None,
    journal: str | None,
    budget: str | None,
    dry_run: bool,
    text_column: str | None,
    label_column: str | None,
    id_column: str | None,
) -> int:
    """Carry LABELS of the documents of DATA over to a changed space.

    LABELS is what `labelspace label` wrote. Documents of DATA that have no label yet get one.
    """
    from collections import Counter

    from labelspace.agents.labeling.labeler import Labeler
    from labelspace.agents.taxonomy.changes import Changes
    from labelspace.agents.taxonomy.migrate import migrate, plan_migration
    from labelspace.cli.summary import say_what_was_made
    from labelspace.data import read_predictions, read_records, write_rows
    from labelspace.errors import ConfigError

    if (changes_path is None) == (old is None):
        raise ConfigError("say what changed: --changes FILE from `labelspace discover --update`, or --old SPACE")
    new = load_space(space)
    changes = Changes.between(load_space(str(old)), new) if changes_path is None else Changes.load(changes_path)
    if changes.new != new.version:
        raise ConfigError(
            f"{changes_path} leads to version {changes.new}, and {space} is version {new.version}; "
            "give the space that was written with it, or --old where it was changed by hand since"
        )
    records = list(read_records(data, text_column=text_column, label_column=label_column, id_column=id_column))
    plan = plan_migration(read_predictions(labels), records, changes, new)
    note(
        f"{len(plan.kept):,} of {len(records):,} records keep their labels, {plan.renamed:,} of them under a new name; "
        f"{len(plan.again):,} are labelled again"
    )
    if dry_run:
        return 0
    if journal is None and out != "-" and model != "none":
        journal = f"{out}.journal.sqlite"
    asking: dict[str, Any] = {"batch_documents": batch_documents, "engine": {"budget": budget}}
    labeler = Labeler(
        new,
        model=model,
        embedder=embedder,
        use_case=use_case,
        prompts=prompts,
        journal=journal,
        set_aside=True,
        progress=True,
        **asking,
    )
    counts: Counter[str] = Counter(rows=0, ok=0, abstained=0, failed=0)

    def rows() -> Any:
        for prediction in migrate(plan, records, labeler):
            counts.update(("rows", prediction.status))
            yield prediction.to_data()

    write_rows(out, rows())
    return say_what_was_made(out, counts)
