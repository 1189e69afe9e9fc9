"""From what the user named to bytes: which format it is, and how to open it."""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

from labelspace.errors import DataError

Form = Literal["jsonl", "csv", "tsv", "lines", "parquet", "dataset", "stream"]

FORMS: dict[str, Form] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
    ".parquet": "parquet",
}
KNOWN = ".jsonl, .csv, .tsv, .txt (each also with .gz) and .parquet"
STDIN = "standard input"
GZIP_MAGIC = b"\x1f\x8b"
BUFFER = 1 << 18
LOOKS_LIKE_JSONL = re.compile(rb'\s*\{\s*["}]')


@dataclass(frozen=True)
class Source:
    """Something to read records from."""

    shown: str
    """What messages call it: as the user named it."""
    form: Form
    """How to read it; "stream" is JSONL or text lines, which its first line decides."""
    path: Path | None = None
    """The file or folder; None for standard input."""

    @property
    def is_tabular(self) -> bool:
        """Whether all rows have the same columns, so that a missing one is no matter of a single row."""
        return self.form in ("csv", "tsv", "parquet", "dataset")


def find_source(named: str | os.PathLike[str]) -> Source:
    """Find what the user named and which format it has, without holding it open.

    Raises:
        DataError: There is no such file, it can't be opened, or its format is not known.
    """
    shown = os.fspath(named)
    if shown == "-":
        return Source(STDIN, "stream")
    if shown.startswith("sample:"):
        return _find_sample(shown)
    path = Path(shown)
    try:
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return _find_split(shown)
        if stat.S_ISDIR(mode):
            return _find_dataset(shown, path, None)
        if stat.S_ISREG(mode):
            path.open("rb").close()  # so that what can't be opened is known before any work is done
    except (OSError, ValueError) as error:
        raise cannot_read(error, shown) from error
    if not stat.S_ISREG(mode):
        return Source(shown, "stream", path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    form = FORMS.get(suffixes[-1]) if suffixes else None
    return Source(shown, form or _sniff(shown, path), path)


def cannot_read(error: Exception, shown: str) -> DataError:
    """One line for an error of the operating system or of a decompressor."""
    if isinstance(error, PermissionError):
        return DataError(
            "no permission to read it", path=shown, advice="check the permissions of the file and its folders"
        )
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return DataError(
            "the gzip data is damaged or cut off" + (f" ({error})" if isinstance(error, zlib.error) else ""),
            path=shown,
            advice="copy or download the file again",
        )
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return DataError(f"can't be read: {reason}", path=shown)


def _find_sample(shown: str) -> Source:
    from importlib.resources import files

    folder = Path(str(files("labelspace.sample")))
    path = folder / f"{shown.removeprefix('sample:')}.jsonl"
    samples = sorted(found.name.removesuffix(".jsonl") for found in folder.glob("*.jsonl"))
    if path.name.removesuffix(".jsonl") not in samples:
        there = ", ".join(f"sample:{name}" for name in samples)
        raise DataError("no such sample", path=shown, advice=f"there are: {there}")
    return Source(shown, "jsonl", path)


def _find_split(shown: str) -> Source:
    folder, mark, split = shown.rpartition("#")
    if mark and Path(folder).is_dir():
        return _find_dataset(shown, Path(folder), split)
    raise DataError("no such file", path=shown, advice="check the name and the folder you are in")


def _find_dataset(shown: str, folder: Path, split: str | None) -> Source:
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(state.parent.name for state in folder.glob("*/state.json"))
        if split is None and len(splits) == 1:
            split = splits[0]
        if split not in splits:
            problem = f"there is no split {split!r}" if split else f"the folder has {len(splits)} splits"
            there = ", ".join(f"{folder}#{name}" for name in splits)
            raise DataError(problem, path=shown, advice=f"name one of: {there}")
        return Source(shown, "dataset", folder / split)
    if (folder / "state.json").is_file():
        if split:
            raise DataError("this `datasets` folder has no splits", path=shown, advice=f"name it as {folder}")
        return Source(shown, "dataset", folder)
    inside = sorted(found.name for found in folder.iterdir() if found.suffix in (*FORMS, ".gz"))
    advice = f"name a file in it: {', '.join(inside[:5])}" if inside else f"name a file: {KNOWN}"
    raise DataError("it is a folder, and not one that `datasets` saved (no state.json)", path=shown, advice=advice)


def _sniff(shown: str, path: Path) -> Form:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            if head.startswith(GZIP_MAGIC):
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as unpacked:
                    head = unpacked.read(4096)
    except (OSError, EOFError, zlib.error) as error:
        raise cannot_read(error, shown) from error
    if not head:
        raise DataError("the file is empty", path=shown, advice="give a file with at least one record")
    if head.startswith(b"PAR1"):
        return "parquet"
    if LOOKS_LIKE_JSONL.match(head):
        return "jsonl"
    if head.lstrip().startswith(b"[") and path.suffix.lower() == ".json":
        raise DataError(
            "it is one JSON document, not one object a line",
            path=shown,
            advice=f"convert it: jq -c '.[]' {shown} > {path.with_suffix('.jsonl').name}",
        )
    raise DataError("can't tell its format", path=shown, advice=f"name it by its format: {KNOWN}")


@contextmanager
def open_lines(source: Source) -> Iterator[Iterator[bytes]]:
    r"""Open a source as lines of bytes that end in b"\n", unpacked and without a byte order mark.

    Raises:
        DataError: It can't be read, or is not what its name says.
    """
    try:
        with ExitStack() as opened:
            raw = _open(source, opened)
            head = raw.peek(2)[:2]
            if head == GZIP_MAGIC:
                unpacked = opened.enter_context(gzip.GzipFile(fileobj=raw))
                # Lines from GzipFile itself go through Python; from a buffer around it, through C.
                raw = opened.enter_context(_buffered(unpacked))
            elif head and source.path is not None and source.path.suffix.lower() == ".gz":
                raise DataError("it is not gzip data", path=source.shown, advice="drop the .gz from its name")
            yield _after_mark(raw, source.shown)
    except (OSError, EOFError, zlib.error) as error:
        raise cannot_read(error, source.shown) from error


def _open(source: Source, opened: ExitStack) -> io.BufferedReader[Any]:
    if source.path is not None:
        return opened.enter_context(_buffered(io.FileIO(source.path)))
    raw: Any = sys.stdin.buffer
    if isinstance(raw, io.BufferedReader):
        return raw
    wrapped = _buffered(raw)
    opened.callback(wrapped.detach)  # or the garbage collector would close standard input
    return wrapped


def _buffered(raw: Any) -> io.BufferedReader[Any]:
    return io.BufferedReader(cast(io.RawIOBase, raw), BUFFER)


def _after_mark(raw: io.BufferedReader[Any], shown: str) -> Iterator[bytes]:
    first = raw.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            "it is UTF-16, not UTF-8",
            path=shown,
            advice="save it as UTF-8, for example with: iconv -f utf-16 -t utf-8",
        )
    first = first.removeprefix(b"\xef\xbb\xbf")
    return chain([first], raw) if first else iter(raw)
