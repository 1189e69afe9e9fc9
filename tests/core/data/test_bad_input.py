"""Every kind of bad input gives one line: file, row, what is wrong, what to do."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelspace.data import read_predictions, read_records
from labelspace.errors import DataError
from labelspace.space import LabelSpace

NO_ROWS = "give at least one record"
ONE_OBJECT = 'each line must be one object such as {"text": "..."}'
QUOTING = "put fields with quotes or line breaks in double quotes, and write each quote in them twice"
KNOWN = ".jsonl, .csv, .tsv, .txt (each also with .gz) and .parquet"

BAD_FILES = {
    "empty jsonl": ("a.jsonl", b"", f"a.jsonl: the file is empty; {NO_ROWS}"),
    "only a mark": ("a.jsonl", b"\xef\xbb\xbf", f"a.jsonl: the file is empty; {NO_ROWS}"),
    "only blank lines": ("a.jsonl", b"\n \n", f"a.jsonl: it has no rows; {NO_ROWS}"),
    "empty csv": ("a.csv", b"", f"a.csv: the file is empty; {NO_ROWS}"),
    "empty text": ("a.txt", b"", f"a.txt: the file is empty; {NO_ROWS}"),
    "empty parquet": ("a.parquet", b"", f"a.parquet: the file is empty; {NO_ROWS}"),
    "empty unknown": ("a.dat", b"", "a.dat: the file is empty; give a file with at least one record"),
    "header only": ("a.csv", b"text,label\n", f"a.csv: the file has a header and no rows; {NO_ROWS}"),
    "json cut off": (
        "a.jsonl",
        b'{"text": "a"}\n\n{"text": "b"\n',
        "a.jsonl, row 3: not valid JSON at column 13 (Expecting ',' delimiter);"
        " each line must be one whole JSON object",
    ),
    "two objects in a line": (
        "a.jsonl",
        b'{"text": "a"} {"text": "b"}\n',
        "a.jsonl, row 1: not valid JSON at column 15 (Extra data); each line must be one whole JSON object",
    ),
    "a list": (
        "a.jsonl",
        b'{"text": "a"}\n["b"]\n',
        f"a.jsonl, row 2: the line is a list, not an object; {ONE_OBJECT}",
    ),
    "a string": ("a.jsonl", b'"b"\n', f"a.jsonl, row 1: the line is a string, not an object; {ONE_OBJECT}"),
    "a number": ("a.jsonl", b"1\n", f"a.jsonl, row 1: the line is a number, not an object; {ONE_OBJECT}"),
    "null": ("a.jsonl", b"null\n", f"a.jsonl, row 1: the line is null, not an object; {ONE_OBJECT}"),
    "nested deep": (
        "a.jsonl",
        b'{"text": ' + b"[" * 200_000,
        "a.jsonl, row 1: the JSON is nested too deep; flatten it",
    ),
    "json document": (
        "a.json",
        b'[{"text": "a"}]',
        "{folder}/a.json: it is one JSON document, not one object a line;"
        " convert it: jq -c '.[]' {folder}/a.json > a.jsonl",
    ),
    "latin1 jsonl": (
        "a.jsonl",
        '{"text": "a"}\n{"text": "café"}\n'.encode("latin1"),
        "a.jsonl, row 2: byte 14 of the line (0xE9) is not UTF-8;"
        " save it as UTF-8, for example with: iconv -f latin1 -t utf-8",
    ),
    "latin1 csv": (
        "a.csv",
        'text\n"a\nb"\ncafé\n'.encode("latin1"),
        "a.csv, row 4: byte 4 of the line (0xE9) is not UTF-8;"
        " save it as UTF-8, for example with: iconv -f latin1 -t utf-8",
    ),
    "latin1 text": (
        "a.txt",
        "é\n".encode("latin1"),
        "a.txt, row 1: byte 1 of the line (0xE9) is not UTF-8;"
        " save it as UTF-8, for example with: iconv -f latin1 -t utf-8",
    ),
    "utf-16": (
        "a.csv",
        "text\na\n".encode("utf-16"),
        "a.csv: it is UTF-16, not UTF-8; save it as UTF-8, for example with: iconv -f utf-16 -t utf-8",
    ),
    "NUL byte in jsonl": (
        "a.jsonl",
        b'{"text": "a\0b"}\n',
        "a.jsonl, row 1: NUL at byte 12 of the line; the file is binary, UTF-16 or damaged; save it as UTF-8 text",
    ),
    "NUL byte in csv": (
        "a.csv",
        b"text\na\0b\n",
        "a.csv, row 2: NUL at byte 2 of the line; the file is binary, UTF-16 or damaged; save it as UTF-8 text",
    ),
    "NUL byte in text": (
        "a.txt",
        b"a\nb\0\n",
        "a.txt, row 2: NUL at byte 2 of the line; the file is binary, UTF-16 or damaged; save it as UTF-8 text",
    ),
    "NUL escaped": (
        "a.jsonl",
        b'{"text": "a\\u0000b"}\n',
        "a.jsonl, row 1: the text has a NUL character at position 2; remove it",
    ),
    "no text column in jsonl": (
        "a.jsonl",
        b'{"artikel": "a", "nr": 1}\n',
        "a.jsonl, row 1: no column looks like the text; the columns are: artikel, nr; name it with --text-column",
    ),
    "no text column in csv": (
        "a.csv",
        b"artikel,nr\na,1\n",
        "a.csv: no column looks like the text; the columns are: artikel, nr;"
        " name it with --text-column, or add a header if there is none",
    ),
    "empty object": (
        "a.jsonl",
        b"{}\n",
        "a.jsonl, row 1: no column looks like the text; the row is an empty object; name it with --text-column",
    ),
    "text missing later": (
        "a.jsonl",
        b'{"text": "a"}\n{"body": "b"}\n',
        "a.jsonl, row 2: there is no column 'text'; the columns are: body; each row needs it; a blank text may be null",
    ),
    "text is an object": (
        "a.jsonl",
        b'{"text": {"de": "a"}}\n',
        "a.jsonl, row 1: the text in column 'text' is an object; name another column with --text-column",
    ),
    "text is true": (
        "a.jsonl",
        b'{"text": true}\n',
        "a.jsonl, row 1: the text in column 'text' is true or false; name another column with --text-column",
    ),
    "label is an object": (
        "a.jsonl",
        b'{"text": "a", "label": {"name": "x"}}\n',
        "a.jsonl, row 1: the label in column 'label' is an object; name another column with --label-column",
    ),
    "label in a list is a list": (
        "a.jsonl",
        b'{"text": "a", "labels": [["x"]]}\n',
        "a.jsonl, row 1: the label in column 'labels' is a list; name another column with --label-column",
    ),
    "id is a list": (
        "a.jsonl",
        b'{"id": [1], "text": "a"}\n',
        "a.jsonl, row 1: the id in column 'id' is a list; name another column with --id-column",
    ),
    "id too large": (
        "a.jsonl",
        b'{"id": 123456789012345678901234567890, "text": "a"}\n',
        "a.jsonl, row 1: the id 1.2345678901234568e+29 is too large a number to be read exactly; write it in quotes",
    ),
    "repeated id": (
        "a.jsonl",
        b'{"id": "x", "text": "a"}\n\n{"id": "y", "text": "b"}\n{"id": "x", "text": "c"}\n',
        "a.jsonl, row 4: the id 'x' is also on row 1; make ids unique, or name another column with --id-column",
    ),
    "repeated id as number and string": (
        "a.jsonl",
        b'{"id": 7, "text": "a"}\n{"id": "7", "text": "b"}\n',
        "a.jsonl, row 2: the id '7' is also on row 1; make ids unique, or name another column with --id-column",
    ),
    "repeated id after quoted line breaks": (
        "a.csv",
        b'id,text\n1,"a\nb"\n1,c\n',
        "a.csv, row 4: the id '1' is also on row 2; make ids unique, or name another column with --id-column",
    ),
    "tokens of another kind": (
        "a.jsonl",
        b'{"tokens": [1, 2]}\n',
        "a.jsonl, row 1: column 'tokens' holds no list of strings, and no column looks like the text;"
        " name the text with --text-column",
    ),
    "tags of another kind": (
        "a.jsonl",
        b'{"tokens": ["a"], "tags": [1]}\n',
        "a.jsonl, row 1: column 'tags' holds no list of strings; give one tag for each token",
    ),
    "too few tags": (
        "a.jsonl",
        b'{"tokens": ["a", "b"], "tags": ["O"]}\n',
        "a.jsonl, row 1: 2 tokens and 1 tags; give one tag for each token",
    ),
    "too many fields": (
        "a.csv",
        b"text,label\na,x\nb, and c,x\n",
        "a.csv, row 3: 3 fields where the header has 2; put fields that contain a comma in double quotes",
    ),
    "too few fields": (
        "a.tsv",
        b"text\tlabel\na\n",
        "a.tsv, row 2: 1 field where the header has 2; put fields that contain a tab in double quotes",
    ),
    "quote never closed": (
        "a.csv",
        b'text,label\na,x\n"b,x\nc,x\n',
        f"a.csv, row 3: a double quote opens here and is never closed; {QUOTING}",
    ),
    "text after a quote": (
        "a.csv",
        b'text,label\n"a" b,x\n',
        f"a.csv, row 2: a field goes on after its closing quote; {QUOTING}",
    ),
    "bare carriage return": (
        "a.csv",
        b"text,label\ra,x\rb,y\r",
        f"a.csv, row 1: a carriage return stands outside quotes; {QUOTING}",
    ),
    "two columns of one name": (
        "a.csv",
        b"text,text\na,b\n",
        "a.csv, row 1: two columns are named 'text'; rename one of them",
    ),
    "gzip cut off": (
        "a.jsonl.gz",
        gzip.compress(b'{"text": "a"}\n' * 10_000, mtime=0)[:-50],
        "a.jsonl.gz: the gzip data is damaged or cut off; copy or download the file again",
    ),
    "gzip not gzip": ("a.csv.gz", b"text\na\n", "a.csv.gz: it is not gzip data; drop the .gz from its name"),
    "parquet damaged": (
        "a.parquet",
        b"text\na\n",
        "a.parquet: not a readable Parquet file: Parquet file size is 7 bytes, smaller than the minimum file"
        " footer (8 bytes); write, copy or download it again",
    ),
    "unknown format": ("a.log", b"hello\n", f"a.log: can't tell its format; name it by its format: {KNOWN}"),
    "no suffix": ("data", b"hello\n", f"data: can't tell its format; name it by its format: {KNOWN}"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files(case: str, tmp_path: Path) -> None:
    name, content, message = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    expected = message.replace("{folder}", str(tmp_path)) if "{folder}" in message else f"{tmp_path}/{message}"
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert str(caught.value) == expected
    assert "\n" not in str(caught.value)


def test_damaged_gzip_says_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = bytearray(gzip.compress(b'{"text": "a"}\n' * 10_000))
    packed[30] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: the gzip data is damaged or cut off( \(.+\))?; copy or"):
        list(read_records(path))
    with pytest.raises((zlib.error, OSError, EOFError)):  # so that the file is damaged indeed
        gzip.decompress(bytes(packed))


SPACE = LabelSpace.from_data(
    {
        "name": "support",
        "other": "Other",
        "labels": ["Money", {"name": "Refund", "parent": "Money"}, {"name": "Invoice", "parent": "Money"}, "Login"],
    }
)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (
            '"Refunds"',
            "the label 'Refunds' is not in the space 'support'; did you mean 'Refund'?;"
            " correct it, or add the label to the space",
        ),
        (
            '"zzz"',
            "the label 'zzz' is not in the space 'support'; it has 4 labels; correct it, or add the label to the space",
        ),
        ('"Money"', "the label 'Money' of the space 'support' is a group; use one below it: 'Refund', 'Invoice'"),
        (
            '["Refund", "Login"]',
            "2 labels where the space 'support' allows one; keep one, or set multi_label: true in the space",
        ),
    ],
)
def test_labels_that_the_space_does_not_allow(label: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    labels = ('"Refund"', '"Other"', label)
    path.write_text("".join(f'{{"text": "a", "label": {one}}}\n' for one in labels))
    with pytest.raises(DataError) as caught:
        list(read_records(path, space=SPACE))
    assert str(caught.value) == f"{path}, row 3: {problem}"
    assert (caught.value.path, caught.value.row) == (str(path), 3)


@pytest.mark.parametrize("role", ["text", "label", "id"])
def test_columns_that_are_not_there(role: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,id\na,x,1\n")
    with pytest.raises(DataError) as caught:
        list(read_records(path, **{f"{role}_column": "nope"}))
    assert str(caught.value) == (
        f"{path}: there is no column 'nope'; the columns are: text, label, id; name one with --{role}-column"
    )


def test_one_column_for_two_roles(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\n")
    with pytest.raises(DataError) as caught:
        list(read_records(path, text_column="text", label_column="text"))
    assert str(caught.value) == (
        f"{path}: column 'text' can't be the label and something else too; name another with --label-column"
    )


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{i}" for i in range(30)) + "\n" + "," * 29 + "\n")
    with pytest.raises(DataError, match=r"the columns are: c0, .*, c19 and 10 more; name it"):
        list(read_records(path))


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    """These are said when the reader is made, before any work."""
    (tmp_path / "file.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "empty").mkdir()
    cases = {
        f"{tmp_path}/none.jsonl": "no such file; check the name and the folder you are in",
        f"{tmp_path}/none#train": "no such file; check the name and the folder you are in",
        f"{tmp_path}/file.jsonl/below": "no such file; check the name and the folder you are in",
        f"{tmp_path}/a\0b": "can't be read: embedded null byte",
        f"{tmp_path}/{'x' * 300}": "can't be read: File name too long",
        str(tmp_path): "it is a folder, and not one that `datasets` saved (no state.json);"
        " name a file in it: file.jsonl",
        f"{tmp_path}/empty": f"it is a folder, and not one that `datasets` saved (no state.json); name a file: {KNOWN}",
        "sample:nope": "no such sample; there are: sample:support, sample:support.truth",
    }
    for named, problem in cases.items():
        for read in (read_records, read_predictions):
            with pytest.raises(DataError) as caught:
                read(named)
            assert str(caught.value) == f"{named}: {problem}"


def test_no_permission(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.jsonl", tmp_path / "closed"
    path.write_text('{"text": "a"}\n')
    folder.mkdir()
    path.chmod(0)
    folder.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:  # root may read everything, so be someone else for a moment
            os.seteuid(65534)
        for named in (path, folder, folder / "b.csv"):
            with pytest.raises(DataError) as caught:
                read_records(named)
            assert str(caught.value) == (
                f"{named}: no permission to read it; check the permissions of the file and its folders"
            )
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_parquet_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9"))
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert str(caught.value) == (
        f"{path}, row 2: byte 1 in column 'text' is not UTF-8; write the file again with valid text"
    )
    pq.write_table(pa.table({"text": [b"a"]}), path)
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert str(caught.value) == (
        f"{path}, row 1: the text in column 'text' is of type bytes; name another column with --text-column"
    )
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert str(caught.value) == f"{path}: it has no rows; {NO_ROWS}"


def test_parquet_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert str(caught.value).startswith(f"{path}: not a readable Parquet file: ")
    assert str(caught.value).endswith("; write, copy or download it again")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", f"standard input: nothing came in; {NO_ROWS}"),
        (
            b'\n{"text": "a"\n',
            "standard input, row 2: not valid JSON at column 13 (Expecting ',' delimiter);"
            " each line must be one whole JSON object",
        ),
        (
            b'{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n',
            "standard input, row 2: the id '1' is also above;"
            " make ids unique, or name another column with --id-column",
        ),
    ],
)  # fmt: skip
def test_standard_input(content: bytes, problem: str) -> None:
    code = "from labelspace.data import read_records; list(read_records('-'))"
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=False)
    assert done.stderr.decode().strip().splitlines()[-1] == f"labelspace.errors.DataError: {problem}"


BAD_PREDICTIONS = {
    "no id": (
        '{"label": "x"}',
        "no column looks like the id; the columns are: label; rename the ids' column to 'id'",
    ),
    "no label": (
        '{"id": 1, "etikett": "x"}',
        "no column looks like the label; the columns are: id, etikett; rename the labels' column to 'label'",
    ),
    "blank id": ('{"id": "", "label": "x"}', "the id is blank; give each prediction the id of its record"),
    "status": (
        '{"id": 1, "label": "x", "status": "done"}',
        "the status is 'done'; it must be one of: ok, abstained, failed",
    ),
    "confidence": (
        '{"id": 1, "label": "x", "confidence": 85}',
        "the confidence is 85; it must be a number from 0 to 1",
    ),
    "confidence in words": (
        '{"id": 1, "label": "x", "confidence": "high"}',
        "the confidence is 'high'; it must be a number from 0 to 1",
    ),
    "score": (
        '{"id": 1, "label": "x", "scores": {"x": 3.2}}',
        "the score of 'x' is 3.2; it must be a number from 0 to 1",
    ),
    "scores": (
        '{"id": 1, "label": "x", "scores": [0.5]}',
        "column 'scores' is a list; it must be an object, or be left out",
    ),
    "source": (
        '{"id": 1, "label": "x", "source": "gpt"}',
        "column 'source' is not a JSON object; write it as JSON, or leave it out",
    ),
    "repeated": (
        '{"id": "0", "label": "x"}',
        "the id '0' is also on row 1; make ids unique, or name another column with --id-column",
    ),
}


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_predictions(case: str, tmp_path: Path) -> None:
    line, problem = BAD_PREDICTIONS[case]
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 0, "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        list(read_predictions(path))
    assert str(caught.value) == f"{path}, row 2: {problem}"
