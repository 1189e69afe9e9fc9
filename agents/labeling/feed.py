"""Records on their way to a model: read by the engine's thread, and by whoever ends the run after a stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from labelspace.records import Record, as_records


class Feed:
    """Gives out the records that have text, and remembers all that were read, in order, until they are answered."""

    def __init__(self, texts: Iterable[str | Record]) -> None:
        """Read nothing yet."""
        self._records = as_records(texts)
        self._lock = threading.Lock()
        self._stopped = False
        self.waiting: deque[Record] = deque()
        """Read and not answered: those with text, and the blank ones between them."""

    def __iter__(self) -> Iterator[Record]:
        """Itself: a feed is read once."""
        return self

    def __next__(self) -> Record:
        """The next record that has text."""
        with self._lock:
            while not self._stopped:
                record = next(self._records)
                self.waiting.append(record)
                if not record.is_blank:
                    return record
        raise StopIteration

    def blanks_before(self, record: Record) -> Iterator[Record]:
        """Take `record` off the waiting ones, giving the blank ones before it."""
        while (one := self.waiting.popleft()) is not record:
            yield one

    def rest(self) -> Iterator[Record]:
        """Stop whoever reads, and give all that is not answered: what was read, then what was not."""
        with self._lock:
            self._stopped = True
        return chain(self.waiting, self._records)
