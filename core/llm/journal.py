"""The journal of a run: every paid reply under the hash of what shaped it, in one SQLite file.

It is the cache and the resume at once. Rows are only ever added; the newest row of a key counts.
What came in during one turn of the event loop is committed together at its end. A call counts as in
flight until its reply is committed, so a killed process repays no more than it had in flight.

A commit goes to the operating system, not through to the disk (WAL, synchronous=NORMAL): it survives
the death of the process, and a power cut may cost the last seconds but never the file. That takes
0.1 ms, less than to hand rows to a writer thread and wait for it (3 to 8% of the rows a second, on two
busy cores).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelspace.errors import JournalError
from labelspace.llm.lock import FileLock

LAYOUT = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, key BLOB NOT NULL, made INTEGER NOT NULL,
                                  purpose TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key);
CREATE TABLE IF NOT EXISTS spent (model TEXT PRIMARY KEY, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
                                  completion_tokens INTEGER NOT NULL, money REAL NOT NULL) WITHOUT ROWID;
"""
_ADD = "INSERT INTO calls (key, made, purpose, data) VALUES (?, ?, ?, ?)"
_SPEND = """INSERT INTO spent VALUES (?, ?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET calls = calls + excluded.calls,
prompt_tokens = prompt_tokens + excluded.prompt_tokens,
completion_tokens = completion_tokens + excluded.completion_tokens, money = money + excluded.money"""
_CHUNK = 500


@dataclass(slots=True)
class Spent:
    """What calls have cost: `calls` that were or may have been charged, tokens, money."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0

    def add(self, other: Spent) -> None:
        """Add another account to this one."""
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.money += other.money


class Memory(dict[str, str]):
    """Facts about a run, such as what the server turned out to be; what is set is on disk at once."""

    def __init__(self, keep: Callable[[str, str], None], facts: Iterable[tuple[str, str]]) -> None:
        """Start from the facts on disk; `keep` writes one."""
        super().__init__(facts)
        self._keep = keep

    def __setitem__(self, name: str, value: str) -> None:
        """Set a fact, and write it where it is new."""
        if self.get(name) != value:
            self._keep(name, value)
        super().__setitem__(name, value)


@dataclass(slots=True)
class _Entry:
    key: bytes | None
    purpose: str
    data: bytes
    model: str
    spent: Spent | None
    done: asyncio.Future[None]


class Journal:
    """One open journal; `path=None` keeps it in memory for as long as it is open.

    One process at a time: a second one is refused, by a lock that dies with its process.
    """

    def __init__(self, path: Path | str | None) -> None:
        """Open or create the journal.

        Raises:
            JournalError: It is in use, damaged, or cannot be written.
        """
        self.path = None if path is None else Path(path)
        self.shown = "the journal" if self.path is None else str(self.path)
        self._lock = None if self.path is None else FileLock.take(self.path)
        self._fresh: list[_Entry] = []
        self._uncommitted: dict[bytes, bytes] = {}
        self.ending: JournalError | None = None
        """The disk is full: what is in flight can still be stored, more should not be asked."""
        self._broken: JournalError | None = None
        try:
            self._file = self._open()
            self._file.executescript(_SCHEMA)
            self.about = Memory(self._keep, self._file.execute("SELECT name, value FROM about"))
            self._check_layout()
            self._file.execute("PRAGMA synchronous=NORMAL")
            self.spent = {
                row[0]: Spent(*row[1:])
                for row in self._file.execute("SELECT model, calls, prompt_tokens, completion_tokens, money FROM spent")
            }
            # A damaged tree shows at its ends first; a full check would read gigabytes.
            for order in ("ASC", "DESC"):
                self._file.execute(f"SELECT key, data FROM calls ORDER BY id {order} LIMIT 1").fetchone()
                self._file.execute(f"SELECT key FROM calls ORDER BY key {order} LIMIT 1").fetchone()
        except sqlite3.Error as error:
            self.let_go()
            raise self._explain(error) from error
        except JournalError:
            self.let_go()
            raise

    @property
    def total(self) -> Spent:
        """What all models together have cost, from the journal's beginning."""
        found = Spent()
        for account in self.spent.values():
            found.add(account)
        return found

    def _open(self) -> sqlite3.Connection:
        name = ":memory:" if self.path is None else str(self.path)
        # A new file has nothing to lose, and waiting for the disk takes most of the time of starting a run.
        is_new = self.path is None or not self.path.exists() or not self.path.stat().st_size
        connection = sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=30)
        for pragma in (
            f"synchronous={'OFF' if is_new else 'NORMAL'}",
            "journal_mode=WAL",
            "cache_size=-16000",
            "wal_autocheckpoint=4000",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _check_layout(self) -> None:
        found = self.about.get("layout", LAYOUT)
        if found != LAYOUT:
            raise JournalError(
                f"{self.shown} was written by another version of labelspace (layout {found}, this one writes "
                f"{LAYOUT}); use that version, or name another journal"
            )
        self.about["layout"] = LAYOUT

    def _explain(self, error: sqlite3.Error) -> JournalError:
        text = str(error)
        if "malformed" in text or "not a database" in text or "corrupt" in text:
            return JournalError(
                f"{self.shown} is damaged ({text}); the file is left as it is; save what can be read with: "
                f"python -m labelspace.llm.salvage {self.shown}"
            )
        if "full" in text:
            return JournalError(f"{self.shown}: the disk is full ({text}); free some space and run the same again")
        if "readonly" in text or "unable to open" in text:
            return JournalError(f"{self.shown} cannot be written ({text}); name a file in a folder that you can write")
        return JournalError(f"{self.shown} cannot be used ({text})")

    # -- reading -----------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The newest entry of each key that is there."""
        found: dict[bytes, bytes] = {}
        waiting = self._uncommitted
        try:
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, data FROM calls WHERE key IN ({marks}) ORDER BY id"
                found.update(self._file.execute(query, chunk))
        except sqlite3.Error as error:
            raise self._explain(error) from error
        if waiting:
            found.update((key, waiting[key]) for key in keys if key in waiting)
        return found

    def _keep(self, name: str, value: str) -> None:
        try:
            self._file.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def count(self) -> int:
        """How many entries there are."""
        return int(self._file.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    # -- writing -----------------------------------------------------------------------------

    def add(
        self, key: bytes | None, data: bytes, *, purpose: str, model: str, spent: Spent | None
    ) -> asyncio.Future[None]:
        """Write one entry; the future is done when it is committed.

        Args:
            key: Hash of what shaped it, or None to account for a charge that brought nothing.
            data: The encoded reply.
            purpose: What it was asked for; informative.
            model: Whose account `spent` goes to.
            spent: What it cost.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self._broken is not None:
            done.set_exception(self._broken)
            return done
        if key is not None:
            self._uncommitted[key] = data
        if not self._fresh:
            loop.call_soon(self._commit)
        self._fresh.append(_Entry(key, purpose, data, model, spent, done))
        return done

    def _commit(self) -> None:
        """Write what has come together, and tell those who wait for it."""
        entries, self._fresh = self._fresh, []
        if not entries:
            return
        now = int(time.time())
        rows = [(entry.key, now, entry.purpose, entry.data) for entry in entries if entry.key is not None]
        spent: dict[str, Spent] = {}
        for entry in entries:
            if entry.spent is not None:
                spent.setdefault(entry.model, Spent()).add(entry.spent)
        accounts = [(name, s.calls, s.prompt_tokens, s.completion_tokens, s.money) for name, s in spent.items()]
        try:
            try:
                self.write(rows, accounts)
            except sqlite3.Error as error:
                # The lock file holds some space for this moment: what is paid is still written.
                if self._lock is None or not self._lock.drop_ballast():
                    raise
                self.ending = self._explain(error)
                self.write(rows, accounts)
        except sqlite3.Error as error:
            self._broken = self.ending = self._explain(error)
        for entry in entries:
            if entry.key is not None and self._uncommitted.get(entry.key) is entry.data:
                del self._uncommitted[entry.key]
            if not entry.done.done():
                if self._broken is None:
                    entry.done.set_result(None)
                else:
                    entry.done.set_exception(self._broken)
        if self._broken is None:
            for name, cost in spent.items():
                self.spent.setdefault(name, Spent()).add(cost)

    def write(
        self, rows: list[tuple[bytes, int, str, bytes]], accounts: list[tuple[str, int, int, int, float]]
    ) -> None:
        """Commit rows and accounts, all or none."""
        try:
            self._file.execute("BEGIN")
            self._file.executemany(_ADD, rows)
            self._file.executemany(_SPEND, accounts)
            self._file.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
            raise

    # -- closing -----------------------------------------------------------------------------

    def close(self) -> None:
        """Commit what is waiting, then let the file go."""
        self._commit()
        self.let_go()

    def let_go(self) -> None:
        """Close the file as it is."""
        file: sqlite3.Connection | None = getattr(self, "_file", None)
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()
        if self._lock is not None:
            self._lock.release()
