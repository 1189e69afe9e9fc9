"""Rows as Parquet, where columns may turn up late and types may widen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

from labelspace.data.arrow import JSON_FIELD, arrow_rows
from labelspace.data.source import Source
from labelspace.data.values import plain, to_json

Kind = Literal["null", "bool", "int", "float", "string", "strings", "json"]

GROUP_ROWS = 10_000
GROUP_CHARS = 16 << 20
"""A row group is written at the first of these two."""


class ParquetRows:
    """Writes row groups under one schema; a group that needs another schema begins a new part.

    The parts are joined at the end. Most files have one: the first group knows all columns.
    """

    def __init__(self, path: Path, *, kinds: dict[str, Kind] | None = None) -> None:
        """Write to a path, with columns that are already known."""
        self._path = path
        self._kinds: dict[str, Kind] = dict(kinds or {})
        self._rows: list[dict[str, Any]] = []
        self._chars = 0
        self._parts: list[Path] = []
        self._schema: Any = None
        self._writer: Any = None
        self._file: BinaryIO | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Take one row; write a group when there are enough."""
        ready = {}
        for key, value in row.items():
            ready[str(key)] = plain(value)
            if isinstance(value, str):
                self._chars += len(value)
        self._rows.append(ready)
        if len(self._rows) >= GROUP_ROWS or self._chars >= GROUP_CHARS:
            self._write_group()

    def finish(self) -> Path | None:
        """Write the last group, join the parts and close."""
        if self._rows or self._writer is None:
            self._write_group()
        self.close()
        if len(self._parts) == 1:
            return self._parts[0]
        whole = ParquetRows(self._path.with_name(self._path.name + ".whole"), kinds=self._kinds)
        for part in self._parts:
            for _, row in arrow_rows(Source(str(part), "parquet", part)):
                whole.write(row)
        return whole.finish()

    def close(self) -> None:
        """Close the file that is open."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._writer = None
            if self._file is not None:
                self._file.close()

    def _write_group(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for row in self._rows:
            for name, value in row.items():
                self._kinds[name] = _join(self._kinds.get(name, "null"), value)
        schema = pa.schema([_field(name, kind) for name, kind in self._kinds.items()])
        if self._writer is None or not schema.equals(self._schema, check_metadata=True):
            self.close()
            self._schema = schema
            self._parts.append(self._path.with_name(f"{self._path.name}.{len(self._parts)}"))
            self._file = self._parts[-1].open("xb")  # Python's errors say what the matter is; pyarrow's own don't
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        columns = [
            pa.array(_cells(self._rows, name, kind), type=schema.field(name).type) for name, kind in self._kinds.items()
        ]
        if self._rows:
            self._writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        self._rows, self._chars = [], 0


def _join(known: Kind, value: Any) -> Kind:
    """The kind of column that holds what is known and this value too."""
    found = _kind(value)
    if found in ("null", known):
        return known
    if known == "null":
        return found
    return "float" if {known, found} == {"int", "float"} else "json"


def _kind(value: Any) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "float"
    return "strings" if isinstance(value, list) and all(isinstance(item, str) for item in value) else "json"


def _field(name: str, kind: Kind) -> Any:
    import pyarrow as pa

    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "strings": pa.list_(pa.string())}
    return pa.field(name, types.get(kind, pa.string()), metadata={JSON_FIELD: b"1"} if kind == "json" else None)


def _cells(rows: list[dict[str, Any]], name: str, kind: Kind) -> Iterator[Any]:
    for row in rows:
        value = row.get(name)
        if value is not None and kind == "json":
            value = to_json(value).decode()
        elif value is not None and kind == "float":
            value = float(value)
        yield value
