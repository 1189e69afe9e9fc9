"""A lock on a file that dies with its process, and holds a little disk space for the worst moment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from labelspace.errors import JournalError
from labelspace.locks import lock_exclusively

BALLAST = 1 << 20
"""Bytes that the lock file occupies: freed when the disk is full, so that paid replies can still be written."""


class FileLock:
    """An exclusive lock beside a file; the operating system drops it when the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Hold what `take` took."""
        self.path = path
        self._descriptor: int | None = descriptor
        self._ballast = True

    @classmethod
    def take(cls, guarded: Path) -> FileLock:
        """Lock `guarded`, making its folder.

        Raises:
            JournalError: Somebody holds the lock, or the folder cannot be written.
        """
        path = guarded.with_name(guarded.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise JournalError(
                f"{guarded} cannot be written: {error.strerror}: {error.filename}; "
                "name a file in a folder that you can write"
            ) from error
        try:
            lock_exclusively(descriptor)
        except OSError:
            holder = os.read(descriptor, 20).split(b"\0")[0].strip()
            os.close(descriptor)
            who = f"process {int(holder)}" if holder.isdigit() else "another process"
            if who == f"process {os.getpid()}":
                who = "this process already"
            raise JournalError(
                f"{guarded} is in use by {who}; wait for it to end, or name another journal or run folder"
            ) from None
        # A full disk at this point is met, and named, by the first write.
        with contextlib.suppress(OSError):
            os.pwrite(descriptor, str(os.getpid()).encode().ljust(20, b"\0").ljust(BALLAST, b"\0"), 0)
        return cls(path, descriptor)

    def drop_ballast(self) -> bool:
        """Free the space held; returns whether there was any."""
        if self._descriptor is None or not self._ballast:
            return False
        self._ballast = False
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 20)
        return True

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two files."""
        if self._descriptor is not None:
            self.drop_ballast()
            os.close(self._descriptor)
            self._descriptor = None
