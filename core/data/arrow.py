"""Rows of Parquet files and of folders that `datasets` saved, without importing `datasets`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from labelspace.data.source import Source, cannot_read
from labelspace.errors import DataError

BATCH = 1000
JSON_FIELD = b"labelspace.json"
"""Marks a column of ours whose cells are JSON texts."""

Decoder = Callable[[Any], Any]


def arrow_rows(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows counted from 1; class labels of `datasets` come as their names.

    Raises:
        DataError: It can't be read or is damaged.
    """
    import pyarrow as pa

    number = 0
    try:
        for batch, decoders in _dataset_batches(source) if source.form == "dataset" else _parquet_batches(source):
            names = batch.schema.names
            columns: list[list[Any]] = []
            for name, column in zip(names, batch.columns, strict=True):
                cells = _cells(column, source.shown, name, number)
                if decode := decoders.get(name):
                    cells = [None if cell is None else decode(cell) for cell in cells]
                columns.append(cells)
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise cannot_read(error, source.shown) from error
        kind = "`datasets` folder" if source.form == "dataset" else "Parquet file"
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"not a readable {kind}: {reason}", path=source.shown, advice="write, copy or download it again"
        ) from error


def _cells(column: Any, shown: str, name: str, before: int) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        for offset, cell in enumerate(column, before + 1):
            try:
                cell.as_py()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"byte {error.start + 1} in column {name!r} is not UTF-8",
                    path=shown,
                    row=offset,
                    advice="write the file again with valid text",
                ) from None
        raise


def _parquet_batches(source: Source) -> Iterator[tuple[Any, dict[str, Decoder]]]:
    import pyarrow.parquet as pq

    assert source.path is not None
    if source.path.stat().st_size == 0:
        raise DataError("the file is empty", path=source.shown, advice="give at least one record")
    with pq.ParquetFile(str(source.path)) as file:
        decoders = _decoders(file.schema_arrow, None)
        for batch in file.iter_batches(batch_size=BATCH):
            yield batch, decoders


def _dataset_batches(source: Source) -> Iterator[tuple[Any, dict[str, Decoder]]]:
    import pyarrow as pa

    for path in dataset_files(source):
        # A file, not a memory map: the pages of a map count as this process's memory.
        with pa.OSFile(path) as file, pa.ipc.open_stream(file) as stream:
            decoders = _decoders(stream.schema, _features(source))
            for batch in stream:
                for start in range(0, batch.num_rows, BATCH):
                    yield batch.slice(start, BATCH), decoders


def dataset_files(source: Source) -> list[str]:
    """The arrow files of a `datasets` folder, in order.

    Raises:
        DataError: state.json is damaged, or the rows are in an order that only `datasets` can read.
    """
    assert source.path is not None
    try:
        state = json.loads((source.path / "state.json").read_text(encoding="utf-8"))
        files = [source.path / file["filename"] for file in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("its state.json is damaged", path=source.shown, advice="save the dataset again") from error
    if state.get("_indices_data_files"):
        raise DataError(
            "it was saved by an old `datasets`, with its rows in another order",
            path=source.shown,
            advice="load it and save it again with datasets 2 or later",
        )
    for file in files:
        if not file.is_file():
            raise DataError(f"its file {file.name} is missing", path=source.shown, advice="save the dataset again")
    return [str(file) for file in files]


def _features(source: Source) -> dict[str, Any] | None:
    assert source.path is not None
    try:
        info = json.loads((source.path / "dataset_info.json").read_text(encoding="utf-8"))
        return dict(info["features"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the arrow files carry the same in their schema


def _decoders(schema: Any, features: dict[str, Any] | None) -> dict[str, Decoder]:
    if features is None:
        try:
            features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, ValueError, TypeError):
            features = {}
    decoders = {name: decode for name, feature in (features or {}).items() if (decode := _class_names(feature))}
    for field in schema:
        if field.metadata and JSON_FIELD in field.metadata:
            decoders[field.name] = json.loads
    return decoders


def _class_names(feature: Any) -> Decoder | None:
    """How to turn the integers of a ClassLabel, or of lists of them, into names; None if it is neither."""
    if isinstance(feature, list):  # how datasets before 4 wrote a list
        feature = {"feature": feature[0] if feature else None}
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
        names = feature["names"]
        # -1 is how `datasets` says that a label is not known.
        return lambda cell: names[cell] if 0 <= cell < len(names) else None
    inner = _class_names(feature.get("feature"))
    return inner and (lambda cells: [None if cell is None else inner(cell) for cell in cells])
