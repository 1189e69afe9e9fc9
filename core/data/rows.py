"""Rows of a source as dictionaries, each with the number that an editor shows for it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import orjson

from labelspace.data.source import LOOKS_LIKE_JSONL, Source, open_lines
from labelspace.data.values import plain
from labelspace.errors import DataError

Row = tuple[int, dict[str, Any]]
FIELD_LIMIT = 2**31 - 1


def read_rows(source: Source) -> Iterator[Row]:
    """Yield the rows of a source with their numbers.

    Raises:
        DataError: The source can't be read, is empty, or a row is malformed.
    """
    if source.form in ("parquet", "dataset"):
        from labelspace.data.arrow import arrow_rows

        rows = arrow_rows(source)
    else:
        rows = _line_rows(source)
    empty = True
    for row in rows:
        yield row
        empty = False
        break
    yield from rows
    if empty:
        what = "the file has a header and no rows" if source.form in ("csv", "tsv") else "it has no rows"
        raise DataError(what, path=source.shown, advice="give at least one record")


def _line_rows(source: Source) -> Iterator[Row]:
    with open_lines(source) as lines:
        first = next(lines, None)
        if first is None:
            what = "nothing came in" if source.path is None else "the file is empty"
            raise DataError(what, path=source.shown, advice="give at least one record")
        reader = _stream_rows if source.form == "stream" else _READERS[source.form]
        yield from reader(chain([first], lines), source.shown)


def _stream_rows(lines: Iterator[bytes], shown: str) -> Iterator[Row]:
    """The first line that is not blank decides: an object begins, so JSONL; anything else, so text lines."""
    skipped = []
    for line in lines:
        skipped.append(line)
        if line.strip():
            break
    reader = _jsonl_rows if LOOKS_LIKE_JSONL.match(skipped[-1]) else _text_rows
    return reader(chain(skipped, lines), shown)


# -- JSON Lines ------------------------------------------------------------------------------


def _jsonl_rows(lines: Iterator[bytes], shown: str) -> Iterator[Row]:
    loads, refused = orjson.loads, orjson.JSONDecodeError
    for number, line in enumerate(lines, 1):
        try:
            row = loads(line)
        except refused:
            if not line.strip():
                continue
            row = _loads_leniently(line, shown, number)
        if type(row) is not dict:
            raise DataError(
                f"the line is {_kind(row)}, not an object",
                path=shown,
                row=number,
                advice='each line must be one object such as {"text": "..."}',
            )
        yield number, row


def _loads_leniently(line: bytes, shown: str, number: int) -> Any:
    """Parse what orjson refused: NaN and lone surrogates pass, as Python and pandas write both."""
    text = decode_line(line, shown, number).rstrip("\r\n")
    try:
        return plain(json.loads(text))
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON at column {error.colno} ({error.msg})",
            path=shown,
            row=number,
            advice="each line must be one whole JSON object",
        ) from None
    except RecursionError:
        raise DataError("the JSON is nested too deep", path=shown, row=number, advice="flatten it") from None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a number")


# -- text lines ------------------------------------------------------------------------------


def decode_line(line: bytes, shown: str, number: int) -> str:
    """Decode one line.

    Raises:
        DataError: It is not UTF-8 or has a NUL byte.
    """
    if b"\0" in line:
        raise DataError(
            f"NUL at byte {line.index(0) + 1} of the line",
            path=shown,
            row=number,
            advice="the file is binary, UTF-16 or damaged; save it as UTF-8 text",
        )
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start + 1} of the line (0x{line[error.start]:02X}) is not UTF-8",
            path=shown,
            row=number,
            advice="save it as UTF-8, for example with: iconv -f latin1 -t utf-8",
        ) from None


def _text_rows(lines: Iterator[bytes], shown: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        text = decode_line(line, shown, number)
        yield number, {"text": text.removesuffix("\n").removesuffix("\r")}


# -- CSV and TSV -----------------------------------------------------------------------------


def _csv_rows(lines: Iterator[bytes], shown: str) -> Iterator[Row]:
    """Commas; or semicolons or tabs where the header has those and no comma, as spreadsheets write."""
    first = next(lines)
    delimiter = "," if b"," in first else ";" if b";" in first else "\t" if b"\t" in first else ","
    return _delimited_rows(chain([first], lines), shown, delimiter)


def _tsv_rows(lines: Iterator[bytes], shown: str) -> Iterator[Row]:
    return _delimited_rows(lines, shown, "\t")


_SPOKEN = {",": "comma", ";": "semicolon", "\t": "tab"}


def allow_long_cells() -> None:
    """Let the csv module read cells up to `FIELD_LIMIT`: its 131,072 would refuse long documents."""
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))  # one for the whole process, with no other setter


def _delimited_rows(lines: Iterator[bytes], shown: str, delimiter: str) -> Iterator[Row]:
    allow_long_cells()
    decoded = (decode_line(line, shown, number) for number, line in enumerate(lines, 1))
    # Strict, or a quote that is never closed would swallow the rest of the file in silence.
    reader = csv.reader(decoded, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    at = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                _csv_problem(str(error)),
                path=shown,
                row=at,
                advice="put fields with quotes or line breaks in double quotes, and write each quote in them twice",
            ) from None
        if cells is None:
            return
        if not cells:
            pass  # a blank line
        elif names is None:
            names = _header(cells, shown, at)
        elif len(cells) != len(names):
            raise DataError(
                f"{len(cells)} field{'s' * (len(cells) > 1)} where the header has {len(names)}",
                path=shown,
                row=at,
                advice=f"put fields that contain a {_SPOKEN[delimiter]} in double quotes",
            )
        else:
            yield at, dict(zip(names, cells, strict=True))
        at = reader.line_num + 1


def _csv_problem(message: str) -> str:
    """What csv found, in words that are the same in all versions of Python."""
    if "unexpected end" in message:
        return "a double quote opens here and is never closed"
    if "expected after" in message:
        return "a field goes on after its closing quote"
    if "new-line" in message:
        return "a carriage return stands outside quotes"
    return f"not valid CSV ({message})"


def _header(cells: list[str], shown: str, row: int) -> list[str]:
    names = [cell.strip() or f"column {position}" for position, cell in enumerate(cells, 1)]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two columns are named {name!r}", path=shown, row=row, advice="rename one of them")
    return names


_READERS: dict[str, Callable[[Iterator[bytes], str], Iterator[Row]]] = {
    "jsonl": _jsonl_rows,
    "csv": _csv_rows,
    "tsv": _tsv_rows,
    "lines": _text_rows,
}
