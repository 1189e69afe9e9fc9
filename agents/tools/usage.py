"""Usage: what somebody asked, with the tools that it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labelspace.data import read_records, write_rows
from labelspace.errors import DataError
from labelspace.progress import note
from labelspace.records import Record
from labelspace.space import LabelSpace


@dataclass(frozen=True, slots=True)
class Usage:
    """One query and the tools that answer it."""

    query: str
    tools: tuple[str, ...]
    """Names; () where it is known that no tool fits."""


def read_usages(
    source: str | os.PathLike[str],
    space: LabelSpace | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
) -> list[Usage]:
    """Read queries with their tools: JSONL with `query` and `tools`, or any file of labelled records.

    Args:
        source: A file, or "-" for standard input.
        space: The tool set; a name that it does not have is an error.
        text_column: Column of the queries; guessed if None.
        label_column: Column of the tools; guessed if None.

    Raises:
        DataError: The file can't be read, no row has tools, or one names a tool that is not in the tool set.
    """
    shown = os.fspath(source)
    found, without = [], 0
    records = read_records(source, text_column=text_column, label_column=label_column)
    for number, record in enumerate(records, start=1):
        needed = record.labels if record.labels is not None else record.metadata.get("tools")
        if needed is None:
            without += 1
            continue
        if isinstance(needed, str):
            raise DataError("'tools' is no list", path=shown, row=number, advice="give [] where no tool fits")
        for name in needed:
            if space is not None and name not in space:
                raise DataError(space.unknown(name), path=shown, row=number)
        found.append(Usage(record.text, tuple(dict.fromkeys(needed))))
    if not found:
        raise DataError("no row says which tools it needs", path=shown, advice="give a list under 'tools'")
    if without:
        note(f"{shown}: {without:,} of {without + len(found):,} rows don't say which tools they need; passed over")
    return found


def write_usages(path: str | os.PathLike[str], usages: Iterable[Usage]) -> int:
    """Write queries with their tools as rows of `query` and `tools`; returns how many."""
    return write_rows(path, ({"query": usage.query, "tools": list(usage.tools)} for usage in usages))


def as_queries(texts: Iterable[str | Record | Usage]) -> Iterator[str]:
    """The bare queries."""
    for text in texts:
        yield text if isinstance(text, str) else text.query if isinstance(text, Usage) else text.text
