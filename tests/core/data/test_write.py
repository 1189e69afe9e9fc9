"""A file appears whole or not at all."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelspace.data import RowWriter, read_records, write_rows
from labelspace.errors import DataError

FORMATS = [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".parquet"]
WRITTEN = ".jsonl, .csv, .tsv, .txt (each also with .gz), .parquet, NAME/ for `datasets`, or - for standard output"


def rows_until(stop: type[BaseException]) -> Iterator[dict[str, int]]:
    """More than a row group, with a column that comes late."""
    for number in range(11_000):
        yield {"id": number, **({"late": 1} if number > 10_500 else {})}
    raise stop


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_left_after_an_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for kept in (None, b"as it was"):
        if kept:
            path.write_bytes(kept)
        for stop in (RuntimeError, KeyboardInterrupt):
            with pytest.raises(stop):
                write_rows(path, rows_until(stop))
            assert [found.name for found in tmp_path.iterdir()] == ([path.name] if kept else [])
    assert path.read_bytes() == b"as it was"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_is_replaced_and_keeps_its_mode(suffix: str, tmp_path: Path) -> None:
    path, link = tmp_path / "deep" / "er" / f"a{suffix}", tmp_path / f"link{suffix}"
    write_rows(path, [{"id": 1}])
    path.chmod(0o640)
    link.symlink_to(path)
    before = path.read_bytes()
    assert write_rows(link, [{"id": 1}, {"id": 2}]) == 2
    assert link.is_symlink()
    assert path.read_bytes() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz"])
def test_a_long_text_is_written_where_a_column_comes_late(suffix: str, tmp_path: Path) -> None:
    before = csv.field_size_limit(131_072)  # as in a process that has read no table
    try:
        rows = [{"id": "1", "text": "x" * 200_000}, {"id": "2", "text": "short", "late": "yes"}]
        assert write_rows(tmp_path / f"a{suffix}", rows) == 2
        read = list(read_records(tmp_path / f"a{suffix}"))
    finally:
        csv.field_size_limit(before)
    assert [(len(one.text), one.metadata) for one in read] == [(200_000, {"late": ""}), (5, {"late": "yes"})]


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_rows(tmp_path / "a.jsonl", [{"id": 1}])
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o644


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_rows(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_rows(path, []) == 0
    assert path.is_file()


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".parquet"])
def test_same_rows_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}{suffix}", [{"id": 1, "text": "x"}])
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


ROW = {
    "id": "1",
    "text": 'a "b"',
    "n": np.int64(3),
    "p": np.float32(0.5),
    "v": np.array([1, 2]),
    "bad": float("nan"),
    "big": 2**70,
    "day": datetime.date(2024, 5, 6),
    "flag": True,
    "list": ["x", "y"],
    "map": {1: "one"},
}


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (
            ".jsonl",
            '{"id":"1","text":"a \\"b\\"","n":3,"p":0.5,"v":[1,2],"bad":null,"big":1180591620717411303424,'
            '"day":"2024-05-06","flag":true,"list":["x","y"],"map":{"1":"one"}}\n',
        ),
        (
            ".csv",
            "id,text,n,p,v,bad,big,day,flag,list,map\n"
            '1,"a ""b""",3,0.5,"[1,2]",,1180591620717411303424,2024-05-06,true,"[""x"",""y""]","{""1"":""one""}"\n',
        ),
    ],
)
def test_values(suffix: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_rows(path, [ROW])
    assert path.read_text() == content
    write_rows(f"{path}.gz", [ROW])
    assert gzip.decompress(Path(f"{path}.gz").read_bytes()).decode() == content


def test_values_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_rows(path, [ROW, {"id": "2"}, {"id": "3", "n": 0.5}])
    table = pq.read_table(path)
    types = {field.name: str(field.type).replace("element", "item") for field in table.schema}
    assert types == {
        "id": "string", "text": "string", "n": "double", "p": "double", "v": "string", "bad": "string",
        "big": "string", "day": "string", "flag": "bool", "list": "list<item: string>", "map": "string",
    }  # fmt: skip
    first, second, third = table.to_pylist()
    assert first == {
        "id": "1", "text": 'a "b"', "n": 3.0, "p": 0.5, "v": "[1,2]", "bad": None, "big": "1180591620717411303424",
        "day": "2024-05-06", "flag": True, "list": ["x", "y"], "map": '{"1":"one"}',
    }  # fmt: skip
    assert {name for name, value in second.items() if value is not None} == {"id"}
    assert third["n"] == 0.5


@pytest.mark.parametrize("name", ["a.text", "a", "a.parquet.gz", "a.xlsx", "a.gz", ".jsonl"])
def test_formats_that_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        RowWriter(tmp_path / name)
    assert str(caught.value) == f"{tmp_path}/{name}: can't write this format; known are: {WRITTEN}"


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    cases = {
        f"{tmp_path}/folder.jsonl": f"it is a folder; name a file: {WRITTEN}",
        f"{tmp_path}/file/a.csv": "can't be written: File exists; a part of that path is a file",
        f"{tmp_path}/file/b/a.csv": "can't be written: Not a directory; a part of that path is a file",
        f"{tmp_path}/{'x' * 300}.jsonl": "can't be written: File name too long",
        "/proc/a.jsonl": "can't be written: No such file or directory",
    }
    for named, problem in cases.items():
        with pytest.raises(DataError) as caught:
            write_rows(named, [{"id": 1}])
        assert str(caught.value) == f"{named}: {problem}"


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_permission(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    path, root = folder / f"a{suffix}", os.geteuid() == 0
    try:
        if root:  # root may write everywhere, so be someone else for a moment
            os.seteuid(65534)
        with pytest.raises(DataError) as caught:
            write_rows(path, [{"id": 1}])
    finally:
        if root:
            os.seteuid(0)
    assert str(caught.value) == f"{path}: can't be written: Permission denied; name a folder that you may write to"


def test_full_disk_on_a_device() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with pytest.raises(DataError) as caught:
        write_rows("/dev/full", [{"id": 1}])
    assert str(caught.value) == ("/dev/full: can't be written: No space left on device; free some space and run again")


LIMITED = """
import resource, sys, random
from labelspace.data import write_rows
from labelspace.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_rows(sys.argv[1], ({"id": i, "text": random.randbytes(40).hex()} for i in range(60_000)))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: can't be written: File too large\n"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


STDOUT = """
import sys, time
from labelspace.data import RowWriter
with RowWriter("-") as out:
    out.write({"id": 1, "text": "é"})
    sys.stdin.readline()
    out.write({"id": 2})
print("after")
"""


def test_standard_output_goes_out_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", STDOUT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"id": 1, "text": "é"}
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b'{"id":2}\nafter\n'


def test_a_reader_that_has_gone_is_no_error_of_ours() -> None:
    code = (
        "from labelspace.data import write_rows\n"
        "try: write_rows('-', ({'id': i} for i in range(10**6)))\n"
        "except BrokenPipeError: import os, sys; os.dup2(os.open(os.devnull, 1), 1); sys.exit(7)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 7


def test_devices_take_rows_as_they_come() -> None:
    assert write_rows("/dev/null", [{"id": 1}]) == 1
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
