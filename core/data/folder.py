"""Writing a folder that `datasets.load_from_disk` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelspace.data.parquet import ParquetRows


class FolderRows:
    """Gathers rows as Parquet, where late columns find their place, and turns them into an Arrow stream at the end."""

    def __init__(self, path: Path) -> None:
        """Make the folder at a path that is free."""
        path.mkdir()
        self._path = path
        self._rows = ParquetRows(path / "rows")

    def write(self, row: Mapping[str, Any]) -> None:
        """Take one row."""
        self._rows.write(row)

    def finish(self) -> Path:
        """Write the folder's files; memory holds one row group at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        whole = self._rows.finish()
        assert whole is not None
        arrow = self._path / "data-00000-of-00001.arrow"
        with (
            pq.ParquetFile(whole) as rows,
            arrow.open("xb") as file,
            pa.ipc.new_stream(file, rows.schema_arrow.remove_metadata()) as stream,
        ):
            for batch in rows.iter_batches():
                stream.write_batch(batch.replace_schema_metadata(None))
        for left in self._path.glob("rows*"):
            left.unlink()
        state: dict[str, Any] = {
            "_data_files": [{"filename": arrow.name}],
            "_fingerprint": self._path.name.strip("."),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        (self._path / "state.json").write_text(json.dumps(state), encoding="utf-8")
        (self._path / "dataset_info.json").write_text("{}", encoding="utf-8")
        return self._path

    def close(self) -> None:
        """Close without finishing."""
        self._rows.close()
