"""New files to write to, plain or packed."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO, cast


def create(path: Path, *, packed: bool) -> BinaryIO:
    """Open a new file to write bytes, packed by gzip if asked; the same rows give the same bytes."""
    file = path.open("xb")
    if not packed:
        return file
    return cast(BinaryIO, io.BufferedWriter(cast(io.RawIOBase, Packed(file)), 1 << 18))


class Packed(gzip.GzipFile):
    """A gzip file that closes what it writes to."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        self._under = file

    def close(self) -> None:
        """Finish the gzip data and close the file under it."""
        try:
            super().close()
        finally:
            self._under.close()
