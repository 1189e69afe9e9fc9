"""Records from a file, a `datasets` folder, standard input or the sample."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from labelspace.data.cells import (
    Refused,
    check_labels,
    labels_of,
    likeliest,
    name_of,
    shares_of,
    strings_of,
    text_of,
)
from labelspace.data.columns import Columns, Plan
from labelspace.data.ids import Ids
from labelspace.data.rows import read_rows
from labelspace.data.source import Source, find_source
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

CACHED_CELLS = 10_000
CACHED_SHAPES = 1_000


def read_records(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    space: LabelSpace | None = None,
    needs_text: bool = True,
) -> Iterator[Record]:
    """Read records one at a time.

    Formats: .jsonl (or .ndjson), .csv, .tsv and .txt (one text a line), each also with .gz; .parquet; a
    folder that `datasets` saved (`FOLDER#SPLIT` where it has several splits); "-" for standard input,
    which is JSONL if its first line that is not blank starts an object, and one text a line otherwise;
    "sample:support" for the sample that ships with this package. CSV and TSV need a header. Text is
    UTF-8, with or without a byte order mark.

    Columns that are not named are guessed from common names (`labelspace.data.columns`), whatever their
    case; the rest goes to `metadata`. Files that `labelspace label` wrote are read back with their
    labels, and rows that it set aside have none. Records with `tokens` (and `tags`) need no text.

    Texts: null is a blank text and numbers are taken as they are written; blank texts are kept (see
    `Record.is_blank`). Half a surrogate pair becomes U+FFFD. Labels: null or a blank cell means not
    known, an empty list means none. An object of numbers by label, such as probabilities or votes, means
    the label with most (all from one half on where the space is multi-label), and is kept as `scores`
    in `metadata`. A record without an id gets `derive_id` of its text, with "-2" at its end for the
    second record with the same text, and so on.

    Args:
        source: A path, "-", or "sample:NAME".
        text_column: Column of the text.
        label_column: Column of the label or labels.
        id_column: Column of the ids, which must be unique.
        space: If given, every label must be one of its leaves or its `other` bucket.
        needs_text: Whether a source without a column for the text is refused; where it is not, as for a
            file of ids and gold labels, rows need an id and their text is blank.

    Returns:
        An iterator over the records, in order, which reads no further than it is asked.

    Raises:
        DataError: The source is missing or unreadable (at once), or a row is not usable (on reaching it).
    """
    found = find_source(source)
    columns = Columns(found, text=text_column, label=label_column, id=id_column, needs_text=needs_text)
    return _records(found, columns, space)


def _records(source: Source, columns: Columns, space: LabelSpace | None) -> Iterator[Record]:
    # Runs for every row of every command: common cases are decided by one comparison each.
    ids = Ids()
    add, derive = ids.digests.add, ids.derive
    cached: dict[str, tuple[str, ...]] = {}
    plans: dict[tuple[str, ...], Plan] = {}
    names: tuple[str, ...] | None = None
    text_at: str | None = None
    label_at = id_at = tokens_at = tags_at = labels_at = text_at
    for number, row in read_rows(source):
        if tuple(row) != names:
            shape = tuple(row)
            if (plan := plans.get(shape)) is None:
                plan = columns.plan(shape, row=number, first=names is None)
                if (settled := columns.settled(plan)) != columns or len(plans) >= CACHED_SHAPES:
                    columns = settled
                    plans.clear()
                plans[shape] = plan
            names = shape
            text_at, label_at, id_at, tokens_at, tags_at, labels_at = plan
        tokens = tags = labels = None
        try:
            text = row.pop(text_at) if text_at is not None else None
            if tokens_at is not None:
                tokens, tags = _tokens(row, tokens_at, tags_at, needed=text_at is None)
                if text_at is None:
                    text = " ".join(tokens or ())
            if type(text) is not str or "\0" in text:
                text = text_of(text, text_at or "")
            if label_at is not None:
                cell = row.pop(label_at)
                if labels_at is not None:
                    cell = _with_all_labels(cell, row, labels_at)
                if type(cell) is not str:
                    labels = _labels(cell, row, label_at, space)
                elif (labels := cached.get(cell)) is None:
                    labels = _labels(cell, row, label_at, space)
                    if labels is not None and len(cached) < CACHED_CELLS and not cell.lstrip().startswith("{"):
                        cached[cell] = labels
            given = row.pop(id_at) if id_at is not None else None
            if type(given) is str:
                given = given.strip()
            elif given is not None:
                given = name_of(given, "id", id_at or "")
        except Refused as refused:
            raise DataError(refused.problem, path=source.shown, row=number, advice=refused.advice) from None
        if not given:
            if text_at is tokens_at is None:
                raise DataError("the id is blank", path=source.shown, row=number, advice="give each row its id")
            given = derive(text)
        elif not add(hash(given)):
            refuse_repeated_id(source, number, given, id_at or "")
        yield Record(given, text, labels, tokens, tags, row)


def _labels(cell: Any, row: dict[str, Any], label_at: str, space: LabelSpace | None) -> tuple[str, ...] | None:
    """The labels in a cell; numbers by label are left in the row as `scores`."""
    shares = shares_of(cell, label_at)
    if shares is None:
        return labels_of(cell, label_at, space)
    row["scores"] = shares
    labels = likeliest(shares, several=space is not None and space.multi_label)
    if labels and space is not None:
        check_labels(labels, space)
    return labels


def _with_all_labels(cell: Any, row: dict[str, Any], labels_at: str) -> Any:
    """In the files that we write, `label` is the first of `labels`: take them all.

    A row that was set aside has none, which is not to say that none applies. A column `labels` that
    does not agree with `label` is someone else's, and stays in the metadata.
    """
    every = strings_of(row[labels_at])
    if every is None or (every[:1] != (cell,) if every else cell not in (None, "")):
        return cell
    del row[labels_at]
    return None if not every and row.get("status") in ("abstained", "failed") else list(every)


def _tokens(
    row: dict[str, Any], tokens_at: str, tags_at: str | None, *, needed: bool
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Tokens and their tags; where there is a text too, a column that holds no strings is just metadata."""
    tokens = strings_of(row[tokens_at])
    if tokens is None:
        if needed:
            raise Refused(
                f"column {tokens_at!r} holds no list of strings, and no column looks like the text",
                "name the text with --text-column",
            )
        return None, None
    del row[tokens_at]
    if tags_at is None or row[tags_at] is None:
        return tokens, None
    tags = strings_of(row[tags_at])
    if tags is None:
        raise Refused(f"column {tags_at!r} holds no list of strings", "give one tag for each token")
    if len(tags) != len(tokens):
        raise Refused(f"{len(tokens)} tokens and {len(tags)} tags", "give one tag for each token")
    del row[tags_at]
    return tokens, tags


def refuse_repeated_id(source: Source, number: int, given: str, id_at: str) -> None:
    """Say where an id was first, for which the file is read once more; return if it was nowhere.

    Raises:
        DataError: The id was there before.
    """
    where = "above"
    if source.form != "stream":
        for earlier, row in read_rows(source):
            if earlier >= number:
                return  # two ids with one digest
            if name_of(row.get(id_at), "id", id_at) == given:
                where = f"on row {earlier}"
                break
    raise DataError(
        f"the id {given!r} is also {where}",
        path=source.shown,
        row=number,
        advice="make ids unique, or name another column with --id-column",
    )
