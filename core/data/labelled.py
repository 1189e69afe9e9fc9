"""Files of labels: each record with what a classifier made of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator

from labelspace.data.write import RowWriter
from labelspace.progress import Progress
from labelspace.records import Classifier, Record


def write_predictions(
    path: str | os.PathLike[str],
    classifier: Classifier,
    records: Iterable[Record],
    *,
    title: str = "labeling",
    total: int | None = None,
    shown: bool = True,
) -> dict[str, int]:
    """Write `id`, `text` and the prediction for each record, in order, as each is known.

    `read_records` reads the file back as labelled records and `read_predictions` as predictions.

    Args:
        path: As for `RowWriter`: the format follows the name, "-" is standard output.
        classifier: What predicts.
        records: What is predicted; read no further ahead than the classifier reads.
        title: Name of the work in its progress.
        total: How many records there are, where that is known.
        shown: Whether to show progress.

    Returns:
        How many rows there are, `rows`, and how many ended `ok`, `abstained` and `failed`.

    Raises:
        DataError: The file can't be written.
    """
    waiting: deque[Record] = deque()

    def passing() -> Iterator[Record]:
        for record in records:
            waiting.append(record)
            yield record

    counts = {"rows": 0, "ok": 0, "abstained": 0, "failed": 0}
    with RowWriter(path) as out, Progress(title, total=total, shown=shown) as bar:
        texts = passing() if total is None else _Counted(passing(), total)
        for prediction in classifier.predict(texts):
            record = waiting.popleft()
            data = prediction.to_data()
            out.write({"id": data.pop("id"), "text": record.text, **data})
            counts["rows"] += 1
            counts[prediction.status] += 1
            bar.advance()
    return counts


class _Counted:
    """Records that can be read once, of which it is known how many there are: a classifier may show what is left."""

    def __init__(self, records: Iterator[Record], total: int) -> None:
        self._records, self._total = records, total

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def __len__(self) -> int:
        return self._total
