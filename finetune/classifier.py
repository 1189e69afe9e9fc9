"""A trained head as a `Classifier`: records in, predictions out, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from labelspace.errors import ConfigError, SpaceError
from labelspace.readout import read_probabilities
from labelspace.records import Prediction, Record, as_records, set_aside_blank
from labelspace.space import LabelSpace


class Head(Protocol):
    """What a head has to offer: texts to probabilities."""

    multi_label: bool
    classes_: Any
    """Names of the labels [k]."""
    thresholds_: Any
    """With `multi_label`, the probability from which on each label is given [k]."""

    def predict_proba(self, texts: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        """Probability of each label [n, k]."""
        ...


class HeadClassifier:
    """Gives records the labels of a space by a trained head. A `Classifier`."""

    def __init__(
        self, head: Head, space: LabelSpace, *, source: Mapping[str, Any] | None = None, batch_size: int = 256
    ) -> None:
        """Join a head and a space.

        Args:
            head: The trained head.
            space: The space of its labels; labels that the head was not trained on are never given.
            source: What is said of the model in each prediction.
            batch_size: Records predicted at once.

        Raises:
            SpaceError: The head gives a label that the space does not have, or several labels where the
                space has one, or the other way round.
        """
        if head.multi_label != space.multi_label:
            what = ["one label", "several labels"]
            raise SpaceError(
                f"the head gives a text {what[head.multi_label]}, but in the space {space.name!r} a text has "
                f"{what[space.multi_label]}; train it again, or set multi_label of the space"
            )
        for name in map(str, head.classes_):
            if name not in space and name != space.other:
                raise SpaceError(space.unknown(name))
        self.head, self.space, self.batch_size = head, space, batch_size
        self.source = {**(source or {}), "space": space.version}
        self.names = [str(name) for name in head.classes_]
        """Of the columns of the head's probabilities."""

    def with_space(self, space: LabelSpace) -> HeadClassifier:
        """The same head with the labels of another space; for heads that read what labels mean.

        Raises:
            ConfigError: The head knows only the labels that it was trained on.
        """
        if not hasattr(self.head, "with_labels"):
            raise ConfigError(
                "this head knows only the labels that it was trained on; train one with --head ls-descriptions"
            )
        source = {key: value for key, value in self.source.items() if key != "space"}
        head = self.head.with_labels(label_texts(space))
        return HeadClassifier(head, space, source=source, batch_size=self.batch_size)

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self.space

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order; blank texts abstain."""
        records = as_records(texts)
        while batch := list(islice(records, self.batch_size)):
            asked = [record.text for record in batch if not record.is_blank]
            rows = iter(self.head.predict_proba(asked)) if asked else iter(())
            for record in batch:
                yield set_aside_blank(record, self.source) if record.is_blank else self._read(record, next(rows))

    def _read(self, record: Record, row: npt.NDArray[np.floating[Any]]) -> Prediction:
        thresholds = self.head.thresholds_ if self.space.multi_label else None
        return read_probabilities(record, row, names=self.names, thresholds=thresholds, source=self.source)


def label_texts(space: LabelSpace) -> dict[str, str]:
    """What to read of each leaf of a space: its name and its description."""
    return {name: f"{name}: {space[name].description}".removesuffix(": ") for name in space.leaves}
