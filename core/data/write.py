"""Writing rows to a file that appears whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from labelspace.data.files import create
from labelspace.data.values import to_json
from labelspace.errors import DataError

WRITTEN = ".jsonl, .csv, .tsv, .txt (each also with .gz), .parquet, NAME/ for `datasets`, or - for standard output"


class Encoder(Protocol):
    """Puts rows into one format."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row."""
        ...

    def finish(self) -> Path | None:
        """Write out what is left and close; name the file that holds all, where that is another one."""
        ...

    def close(self) -> None:
        """Close without finishing."""
        ...


class RowWriter:
    """Writes rows one at a time, to any format that `read_records` reads.

    The format follows the name: .jsonl, .csv, .tsv, .txt, each also with .gz, .parquet, "NAME/" for a folder
    that `datasets` loads, or "-" for JSONL on standard output, where each row goes out at once. A .txt
    gets the texts alone, one a line, with line breaks as blanks. A file is written beside its final name and
    renamed at the end; after an error or Ctrl-C nothing is left, and a file of that name stays as it was.

    Rows may have different keys: a column that first appears late gets its place in CSV and Parquet too.
    CSV and TSV hold lists and objects as JSON texts, and so does Parquet, save for lists of strings.

    Example:
        with RowWriter("labels.jsonl") as out:
            for prediction in labeler.predict(records):
                out.write(prediction.to_data())
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the target; nothing is opened before the `with` block begins.

        Raises:
            DataError: The format is not known.
        """
        self.shown = os.fspath(path)
        self.count = 0
        """Rows written so far."""
        self._path = Path(self.shown)
        # Devices and pipes can't be renamed; they take JSONL as it comes.
        try:
            self._is_file = self.shown != "-" and (not self._path.exists() or self._path.is_file())
            is_folder = self._path.is_dir()
        except (OSError, ValueError) as error:
            raise self._cannot_write(error) from error
        suffixes = [suffix.lower() for suffix in self._path.suffixes]
        self._packed = suffixes[-1:] == [".gz"]
        self._form = "".join(suffixes[-1 - self._packed :][:1]).replace(".ndjson", ".jsonl")
        if self.shown.endswith(("/", os.sep)):
            self._is_file, self._form, self._packed = True, "dataset", False
            if self._path.exists() and not (self._path / "state.json").is_file():
                raise DataError("is there already and is no datasets folder", path=self.shown, advice="name another")
        elif is_folder:
            raise DataError("it is a folder", path=self.shown, advice=f"name a file: {WRITTEN}")
        if not self._is_file:
            self._form, self._packed = ".jsonl", False
        elif self._form not in (".jsonl", ".csv", ".tsv", ".txt", ".parquet", "dataset") or (
            self._packed and self._form == ".parquet"
        ):
            raise DataError("can't write this format", path=self.shown, advice=f"known are: {WRITTEN}")
        self._encoder: Encoder | None = None
        self._part = self._path

    def __enter__(self) -> RowWriter:
        """Open the temporary file.

        Raises:
            DataError: It can't be opened.
        """
        try:
            self._encoder = self._open()
        except OSError as error:
            self._discard()
            raise self._cannot_write(error) from error
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row.

        Raises:
            DataError: The disk is full, or the like.
        """
        assert self._encoder is not None, "use it in a with block"
        try:
            self._encoder.write(row)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._cannot_write(error) from error
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name; or remove it, if the block raised.

        Raises:
            DataError: The disk is full, or the like.
        """
        assert self._encoder is not None
        if error is not None:
            self._discard()
            return
        try:
            whole = self._encoder.finish() or self._part
            if self._is_file:
                target = Path(os.path.realpath(self._path))  # a link stays a link
                if whole.is_dir():
                    shutil.rmtree(target, ignore_errors=True)
                else:
                    with whole.open("rb") as file:
                        os.fsync(file.fileno())
                    with suppress(OSError):
                        shutil.copymode(target, whole)  # of the file that it replaces, if there is one
                whole.replace(target)
        except BrokenPipeError:
            raise
        except OSError as failure:
            raise self._cannot_write(failure) from failure
        finally:
            self._discard()

    def _open(self) -> Encoder:
        if self.shown == "-":
            sys.stdout.flush()
            return Lines(sys.stdout.buffer, own=False)
        if not self._is_file:
            return Lines(self._path.open("wb"), own=True)
        target = Path(os.path.realpath(self._path))
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        if self._form == ".parquet":
            from labelspace.data.parquet import ParquetRows

            self._part.touch(exist_ok=False)
            return ParquetRows(self._part)
        if self._form == "dataset":
            from labelspace.data.folder import FolderRows

            return FolderRows(self._part)
        if self._form == ".txt":
            return Texts(create(self._part, packed=self._packed), own=True)
        if self._form == ".jsonl":
            return Lines(create(self._part, packed=self._packed), own=True)
        from labelspace.data.delimited import DelimitedRows

        return DelimitedRows(self._part, delimiter="\t" if self._form == ".tsv" else ",", packed=self._packed)

    def _discard(self) -> None:
        """Remove what is temporary; after the rename that is nothing."""
        if self._encoder is not None:
            with suppress(OSError):
                self._encoder.close()
        if self._part != self._path:
            for left in self._part.parent.glob(f"{glob.escape(self._part.name)}*"):
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError | ValueError) -> DataError:
        advice = {
            errno.ENOSPC: "free some space and run again",
            errno.EDQUOT: "free some space and run again",
            errno.EACCES: "name a folder that you may write to",
            errno.EPERM: "name a folder that you may write to",
            errno.EROFS: "name a folder that you may write to",
            errno.ENOTDIR: "a part of that path is a file",
            errno.EEXIST: "a part of that path is a file",
        }
        reason = getattr(error, "strerror", None) or str(error)
        said = advice.get(getattr(error, "errno", None) or 0, "")
        return DataError(f"can't be written: {reason}", path=self.shown, advice=said)


class Lines:
    """JSON Lines."""

    def __init__(self, file: BinaryIO, *, own: bool) -> None:
        """Write to a file; one that is not our own is flushed after each row and left open."""
        self._file = file
        self._own = own

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(to_json(row) + b"\n")
        if not self._own:
            self._file.flush()

    def finish(self) -> None:
        """Close the file, or flush one that is not ours."""
        if self._own:
            self._file.close()
        else:
            self._file.flush()

    def close(self) -> None:
        """Close the file if it is our own."""
        if self._own:
            self._file.close()


class Texts(Lines):
    """Texts alone, one a line."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the text of a row on one line."""
        self._file.write(" ".join(str(row.get("text") or "").splitlines()).encode("utf-8", "replace") + b"\n")


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write all rows (see `RowWriter`) and say how many there were.

    Raises:
        DataError: The file can't be written.
    """
    with RowWriter(path) as out:
        for row in rows:
            out.write(row)
    return out.count
