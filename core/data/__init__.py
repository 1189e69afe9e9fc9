"""Reading and writing records: JSONL, CSV, TSV, Parquet, text lines, standard input, `datasets` folders.

Everything streams: a reader holds one row (Parquet: one batch) and a writer one row (Parquet: one row group).
"""

from labelspace.data.count import count_rows
from labelspace.data.labelled import write_predictions
from labelspace.data.predictions import read_predictions
from labelspace.data.read import read_records
from labelspace.data.source import find_source
from labelspace.data.write import RowWriter, write_rows

__all__ = [
    "RowWriter",
    "count_rows",
    "find_source",
    "read_predictions",
    "read_records",
    "write_predictions",
    "write_rows",
]
