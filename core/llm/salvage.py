"""Read what can be read of a damaged journal: `python -m labelspace.llm.salvage PATH`.

SQLite refuses a file whose tree is broken, though most of its leaves are whole. Rows of a journal can
be recognised by themselves, so every page is looked at, without the tree (the layout is that of
https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from labelspace.errors import JournalError, LabelspaceError
from labelspace.llm.entries import unpack
from labelspace.llm.journal import Journal, Spent
from labelspace.llm.request import Reply
from labelspace.progress import note

_LEAF = 0x0D
Found = tuple[int, bytes, int, str, bytes]
"""id, key, made, purpose, data."""


def salvage(path: Path | str) -> tuple[Path, int]:
    """Move a damaged journal aside and make a new one of its readable rows.

    Returns:
        Where the damaged file is now, and how many rows were saved.

    Raises:
        JournalError: There is no such file, or it is in use.
    """
    path = Path(path)
    if not path.is_file():
        raise JournalError(f"{path}: no such journal")
    pages = dict(_pages(path))
    rows = {row[0]: row for row in _rows(pages)}
    aside = next(aside for n in range(1, 1000) if not (aside := path.with_name(f"{path.name}.damaged-{n}")).exists())
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
    spent: dict[str, Spent] = {}
    found = [rows[number] for number in sorted(rows)]
    for row in found:
        reply = unpack(row[4])
        if isinstance(reply, Reply):
            cost = Spent(1, reply.prompt_tokens or 0, reply.completion_tokens or 0)
            spent.setdefault(reply.model, Spent()).add(cost)
    journal = Journal(path)
    try:
        journal.write(
            [row[1:] for row in found],
            [(name, s.calls, s.prompt_tokens, s.completion_tokens, 0.0) for name, s in spent.items()],
        )
    except sqlite3.Error as error:
        raise JournalError(
            f"{path}: the rows saved could not be written ({error}); they are still in {aside}"
        ) from error
    finally:
        journal.let_go()
    return aside, len(found)


def _pages(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, content) of every page; one that the write-ahead log has newer comes later."""
    content = path.read_bytes()
    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):
        size = 4096  # the header is gone: what SQLite takes by itself
    for at in range(0, len(content), size):
        yield at // size + 1, content[at : at + size].ljust(size, b"\0")
    log = path.with_name(path.name + "-wal")
    if log.is_file():
        frames = log.read_bytes()
        for at in range(32, len(frames) - size - 23, size + 24):
            yield int.from_bytes(frames[at : at + 4], "big"), frames[at + 24 : at + 24 + size]


def _rows(pages: dict[int, bytes]) -> Iterator[Found]:
    for number, page in pages.items():
        start = 100 if number == 1 else 0
        if page[start] != _LEAF:
            continue
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        for cell in range(count):
            pointer = start + 8 + 2 * cell
            try:
                row = _row(page, int.from_bytes(page[pointer : pointer + 2], "big"), pages)
            except (IndexError, ValueError, KeyError, TypeError):
                continue  # not one of ours, or not whole
            if row is not None:
                yield row


def _row(page: bytes, at: int, pages: dict[int, bytes]) -> Found | None:
    length, at = _varint(page, at)
    rowid, at = _varint(page, at)
    record = _record(page, at, length, pages)
    end, head = _varint(record, 0)
    types = []
    while head < end:
        kind, head = _varint(record, head)
        types.append(kind)
    # id (NULL: it is the row id), key, made, purpose, data
    if len(types) != 5 or types[0] != 0 or types[1] != 44 or types[3] % 2 == 0 or types[4] < 12 or types[4] % 2:
        return None
    sizes = [{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}.get(kind, (kind - 12) // 2) for kind in types]
    parts, at = [], end
    for size in sizes:
        parts.append(record[at : at + size])
        at += size
    if at != len(record):
        return None
    unpack(parts[4])  # raises where it is not whole
    return rowid, parts[1], int.from_bytes(parts[2], "big"), parts[3].decode(), parts[4]


def _record(page: bytes, at: int, length: int, pages: dict[int, bytes]) -> bytes:
    """The whole payload of a cell, with what overflowed to other pages."""
    usable = len(page)
    if length <= usable - 35:
        return page[at : at + length]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (length - least) % (usable - 4)
    local = local if local <= usable - 35 else least
    parts, left = [page[at : at + local]], length - local
    following = int.from_bytes(page[at + local : at + local + 4], "big")
    while left > 0:
        more = pages[following]
        parts.append(more[4 : 4 + min(left, usable - 4)])
        left -= usable - 4
        following = int.from_bytes(more[:4], "big")
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError("no varint")


if __name__ == "__main__":
    try:
        where, saved = salvage(sys.argv[1] if len(sys.argv) == 2 else "")
    except LabelspaceError as problem:
        note(f"labelspace: {problem}")
        sys.exit(problem.exit_code)
    note(f"saved {saved:,} replies; the damaged file is kept as {where}")
