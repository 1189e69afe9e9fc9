"""The folder of an audit: what its subcommands share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelspace.errors import DataError

if TYPE_CHECKING:
    from labelspace.records import Record
    from labelspace.space import LabelSpace

KEY = "sample.key.json"
RECORDS = "records.jsonl"
CHANGES = ".changes.jsonl"

folder_argument = click.argument("folder", metavar="AUDIT_DIR", type=click.Path(file_okay=False, path_type=Path))
out_option = click.option("--out", required=True, metavar="FILE", help="File to write.")
form_option = click.option(
    "--form",
    type=click.Choice(["csv", "label-studio", "argilla"]),
    default="csv",
    show_default=True,
    help="csv (or .tsv, .jsonl, .parquet by name), or the JSON that a review tool imports.",
)


def read_audited(folder: Path) -> list[Record]:
    """The records that an audit wrote, the most suspicious first.

    Raises:
        DataError: There are none.
    """
    from labelspace.data import read_records

    if not (folder / RECORDS).is_file():
        raise DataError("no audit here", path=str(folder), advice="make one with `labelspace audit DATA`")
    return list(read_records(folder / RECORDS))


def choosable(record: Record) -> Record:
    """A record whose labels can be shown and compared: tags are written out, with the position of their token."""
    from labelspace.agents.audit.token_run import tag_labels

    return replace(record, labels=tag_labels(record)) if record.tags is not None else record


def space_of(records: list[Record], named: str | None) -> LabelSpace:
    """The space that is named, or the labels in use."""
    from labelspace.cli.spaces import load_space
    from labelspace.space import LabelSpace

    if named:
        return load_space(named)
    names = {label for record in records for label in record.labels or ()}
    return LabelSpace.of(sorted(names), multi_label=any(len(record.labels or ()) != 1 for record in records))
