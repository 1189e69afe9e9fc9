"""Ids of records: unique in their source, derived from the text where none is given."""

from __future__ import annotations

from array import array

from labelspace.records import derive_id


class SeenSet:
    """A set of 64-bit numbers in 8 bytes a slot: about 16 MB for a million (a Python set takes 100).

    Open addressing with linear probing; the table doubles when it is two thirds full.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 4096))
        self._count = 0

    def add(self, number: int) -> bool:
        """Add a number and say whether it is new."""
        table, mask = self._table, len(self._table) - 1
        number = (number & 0xFFFFFFFFFFFFFFFF) or 1  # 0 marks an empty slot
        at = number & mask
        while held := table[at]:
            if held == number:
                return False
            at = (at + 1) & mask
        table[at] = number
        self._count += 1
        if self._count * 3 > (mask + 1) * 2:
            self._grow()
        return True

    def _grow(self) -> None:
        old, size = self._table, 2 * len(self._table)
        table, mask = array("Q", bytes(8 * size)), size - 1
        for number in old:
            if number:
                at = number & mask
                while table[at]:
                    at = (at + 1) & mask
                table[at] = number
        self._table = table


class Ids:
    """Gives the records of one source their ids, and notices one that comes twice."""

    def __init__(self) -> None:
        self.digests = SeenSet()
        """Of every id so far. By chance, two ids have one in 1 of 37 million files of a million rows."""
        self._repeats: dict[str, int] = {}

    def derive(self, text: str) -> str:
        """The id for a text that came with none.

        `derive_id(text)`; the second record with the very same text gets "-2" at its end, the third
        "-3". So the same file always gives the same ids, and a row that is moved keeps its id.
        """
        derived = derive_id(text)
        if self.digests.add(int(derived, 16)):
            return derived
        count = self._repeats[derived] = self._repeats.get(derived, 1) + 1
        return f"{derived}-{count}"
