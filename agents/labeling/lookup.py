"""What is looked up for each document before a model is asked: its candidate labels, and examples like it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from labelspace.records import Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.agents.labeling.candidates import Candidates
    from labelspace.agents.labeling.demonstrations import Demonstrations

_TOGETHER = 64
"""Texts that are looked up at once."""
_KEPT = 4_096
"""Texts of which the findings are remembered."""

Found = tuple[tuple[str, ...], tuple[int, ...]]
"""Candidates, and numbers of the nearest examples."""


@dataclass
class Recall:
    """How often the candidates of a text hold all its gold labels."""

    texts: int = 0
    """Texts with gold labels."""
    held: int = 0
    """Those whose candidates have them all."""
    labels: int = 0
    """Their gold labels."""
    labels_held: int = 0
    """Those that are candidates."""

    def count(self, gold: tuple[str, ...], candidates: tuple[str, ...]) -> None:
        """Count a text whose gold labels are known."""
        found = sum(name in candidates for name in gold)
        self.texts += 1
        self.held += found == len(gold)
        self.labels += len(gold)
        self.labels_held += found

    def to_data(self) -> dict[str, Any]:
        """For a run.json."""
        return {"texts": self.texts, "held": self.held, "labels": self.labels, "labels_held": self.labels_held}


class Lookup:
    """Finds, and remembers, what voters and retries need again."""

    def __init__(self, candidates: Candidates | None = None, demonstrations: Demonstrations | None = None) -> None:
        """Take what finds; None for what is not wanted."""
        self.candidates, self.demonstrations = candidates, demonstrations
        self.recall = Recall()
        """Of the candidates, over records with gold labels."""
        self._known: dict[str, Found] = {}
        self._lock = threading.Lock()

    def ahead(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on, having looked up many at once: one by one takes far longer."""
        if self.candidates is None and self.demonstrations is None:
            yield from records
            return
        left = iter(records)
        while chunk := list(islice(left, _TOGETHER)):
            self.find([record.text for record in chunk])
            yield from chunk

    def count(self, record: Record) -> None:
        """Count a record towards the recall of the candidates, where its gold labels are known."""
        if self.candidates is None or not record.labels:
            return
        if all(name in self.candidates.space for name in record.labels):
            [(names, _)] = self.find([record.text])
            self.recall.count(record.labels, names)

    def find(self, texts: Sequence[str]) -> list[Found]:
        """What belongs to each text. Called by the thread that reads and by the one that asks."""
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
            if new := [text for text in dict.fromkeys(texts) if text not in found]:
                names: list[tuple[str, ...]] = [()] * len(new)
                near: list[tuple[int, ...]] = [()] * len(new)
                if self.candidates is not None:
                    names = self.candidates.find(new)
                if self.demonstrations is not None:
                    near = self.demonstrations.nearest(new)
                found.update(zip(new, zip(names, near, strict=True), strict=True))
                self._known.update((text, found[text]) for text in new)
                while len(self._known) > _KEPT:
                    del self._known[next(iter(self._known))]
            return [found[text] for text in texts]


class Levels(Lookup):
    """The lookups of the levels of a tree; counts a label as held where each step to it is a candidate."""

    def __init__(self, space: LabelSpace, make: Callable[[str | None], Lookup], *, counted: bool) -> None:
        """Take the tree.

        Args:
            space: The labels.
            make: Makes the lookup of what lies directly below a label; None is above all.
            counted: Whether levels have candidates, so that there is something to count.
        """
        super().__init__()
        self._space, self._make, self._counted = space, make, counted
        self._levels: dict[str | None, Lookup] = {}

    def at(self, name: str | None) -> Lookup:
        """The lookup of what lies directly below a label."""
        if name not in self._levels:
            self._levels[name] = self._make(name)
        return self._levels[name]

    def count(self, record: Record) -> None:
        """Count a record towards the recall of the candidates, where its gold labels are known."""
        if self._counted and record.labels and all(name in self._space for name in record.labels):
            self.recall.count(record.labels, tuple(name for name in record.labels if self._holds(name, record.text)))

    def _holds(self, name: str, text: str) -> bool:
        path = self._space.path(name)
        for above, step in zip((None, *path), path, strict=False):
            level = self.at(above)
            if level.candidates is not None and step not in level.find([text])[0][0]:
                return False
        return True
