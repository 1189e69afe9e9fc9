"""How many rows a source has, where that is cheap to know: for progress totals."""

from __future__ import annotations

import os
from collections.abc import Iterator

from labelspace.data.source import Source, find_source, open_lines
from labelspace.errors import DataError

BLOCK = 1 << 20
CHEAP_BYTES = 2 << 30
"""Larger files are not read through just to count (about a second a gigabyte)."""


def count_rows(source: str | os.PathLike[str]) -> int | None:
    """Count the rows that `read_records` would give, or None where that would take long.

    Exact for Parquet and `datasets` folders; for text formats, blank lines of JSONL and CSV count too.
    Never raises: what is wrong with a source is said when it is read.
    """
    try:
        found = find_source(source)
        if found.form == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(str(found.path)) as file:
                return int(file.metadata.num_rows)
        if found.form == "dataset":
            return _count_arrow(found)
        if found.form == "stream" or found.path is None or found.path.stat().st_size > CHEAP_BYTES:
            return None
        return _count_lines(found)
    except (DataError, OSError, ValueError):  # pyarrow's errors are OSError or ValueError
        return None


def _count_arrow(source: Source) -> int:
    import pyarrow as pa

    from labelspace.data.arrow import dataset_files

    total = 0
    for path in dataset_files(source):
        with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
            total += sum(batch.num_rows for batch in stream)
    return total


def _count_lines(source: Source) -> int:
    quoted = source.form in ("csv", "tsv")
    lines, inside, last = 0, False, b"\n"
    for block in _blocks(source):
        last = block[-1:]
        if not quoted or (not inside and b'"' not in block):
            lines += block.count(b"\n")
            continue
        # A line break between two quotes is part of a field; a doubled quote closes and opens again.
        for part in block.split(b'"'):
            lines += 0 if inside else part.count(b"\n")
            inside = not inside
        inside = not inside  # the last part has no quote after it
    lines += last != b"\n"
    return max(lines - quoted, 0)


def _blocks(source: Source) -> Iterator[bytes]:
    with open_lines(source) as lines:
        kept, size = [], 0
        for line in lines:
            kept.append(line)
            size += len(line)
            if size > BLOCK:
                yield b"".join(kept)
                kept, size = [], 0
        if kept:
            yield b"".join(kept)
