"""Rows as CSV or TSV, where columns may turn up late."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from labelspace.data.files import create
from labelspace.data.rows import allow_long_cells
from labelspace.data.source import Source, open_lines
from labelspace.data.values import plain, to_json, without_surrogates


class DelimitedRows:
    """Writes a header from the first row; if later rows bring columns, all is written once more at the end."""

    def __init__(self, path: Path, *, delimiter: str, packed: bool) -> None:
        """Create the file."""
        self._path = path
        self._delimiter = delimiter
        self._packed = packed
        self._file = create(path, packed=packed)
        self._write = self._writer(self._file)
        self._names: dict[str, None] = {}
        self._in_header = -1

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        for name in row:
            self._names.setdefault(name)
        if self._in_header < 0:
            self._in_header = len(self._names)
            self._write(list(self._names))
        self._write([_cell(row.get(name)) for name in self._names])

    def finish(self) -> Path | None:
        """Close the file; write it anew with all columns if some came late."""
        self._file.close()
        if self._in_header in (-1, len(self._names)):
            return None
        whole = self._path.with_name(self._path.name + ".whole")
        self._file = create(whole, packed=self._packed)
        write = self._writer(self._file)
        allow_long_cells()
        with open_lines(Source(str(self._path), "csv", self._path)) as lines:
            rows = csv.reader((line.decode() for line in lines), delimiter=self._delimiter)
            next(rows)
            write(list(self._names))
            for cells in rows:
                write(cells + [""] * (len(self._names) - len(cells)))
        self._file.close()
        return whole

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _writer(self, file: BinaryIO) -> Any:
        return csv.writer(_Sink(file), delimiter=self._delimiter, lineterminator="\r\n").writerow


class _Sink:
    r"""Ends lines in "\n". With that as its own line end, csv would leave a bare "\r" in a field unquoted."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        line = line[:-2] + "\n"
        try:
            self._file.write(line.encode())
        except UnicodeEncodeError:
            self._file.write(without_surrogates(line).encode())


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    value = plain(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value).decode()
