"""What an audit is given besides its data: scores, a trained classifier, what annotators said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labelspace.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelspace.records import Record


def read_scores(path: str) -> NDArray[np.floating[Any]]:
    """An array of numbers, memory-mapped.

    Raises:
        DataError: The file holds none.
    """
    import numpy as np

    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError("not an array of numbers", path=path, advice="save the scores with numpy.save") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "f":
        raise DataError("not an array of floating-point numbers", path=path, advice="save it with numpy.save")
    return rows


def classify(
    folder: str, records: Sequence[Record], names: tuple[str, ...], *, cached: bool
) -> NDArray[np.floating[Any]]:
    """Score the records by a trained classifier, one column a name.

    Raises:
        DataError: It gives a label that is not among the names.
    """
    import numpy as np

    from labelspace.finetune.store import load_classifier

    head = load_classifier(folder, cached=cached).head
    rows = np.zeros((len(records), len(names)), np.float32)
    column = {name: at for at, name in enumerate(names)}
    missing = [str(name) for name in head.classes_ if str(name) not in column]
    if missing:
        raise DataError(f"the classifier gives {missing[0]!r}, which is not a leaf of the space", path=folder)
    columns = np.array([column[str(name)] for name in head.classes_])
    for start in range(0, len(records), 1024):
        found = head.predict_proba([record.text for record in records[start : start + 1024]])
        rows[start : start + 1024, columns] = found
    return rows


def read_pairs(record: Record, column: str) -> list[tuple[str, str]]:
    """What (annotator, label) a column of the record holds.

    Raises:
        DataError: It holds something else.
    """
    value = record.metadata.get(column)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            value = 0
    if isinstance(value, Mapping):
        return [(str(worker), str(label)) for worker, label in value.items() if label not in (None, "")]
    if not value and value != 0:
        return []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) and "label" in one for one in value):
        raise DataError(
            f"record {record.id!r}: {column!r} is not what annotators said",
            advice='write a list of {"worker": "...", "label": "..."} or {"worker": "label", ...}',
        )
    return [
        (str(one.get("worker", one.get("annotator", at + 1))), str(one["label"]))
        for at, one in enumerate(value)
        if one["label"] not in (None, "")
    ]
