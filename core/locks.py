"""Locking an open file, so that one process at a time works on what it guards."""

from __future__ import annotations

import os

FAR = 1 << 20
"""Offset of the byte that is locked where locks are on bytes (Windows): behind anything that is written."""

if os.name == "nt":  # pragma: no cover - not run here
    import msvcrt

    def lock_exclusively(descriptor: int) -> None:
        """Lock an open file until this process closes it or dies; OSError if another process holds the lock."""
        os.lseek(descriptor, FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:
    import fcntl

    def lock_exclusively(descriptor: int) -> None:
        """Lock an open file until this process closes it or dies; OSError if another process holds the lock."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
