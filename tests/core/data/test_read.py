"""Formats, columns, labels and streaming."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelspace.data import count_rows, read_predictions, read_records
from labelspace.records import Record, derive_id
from labelspace.space import LabelSpace


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "a", "label": "x", "id": "1"}, Record("1", "a", ("x",))),
        ({"Utterance": "a", "Intent": "x", "UID": 7}, Record("7", "a", ("x",))),
        ({"query": "a", "category": None, "guid": "g"}, Record("g", "a", None)),
        ({"content": "a", "labels": ["x", "y", "x"], "_id": "1"}, Record("1", "a", ("x", "y"))),
        ({"content": "a", "labels": [], "record_id": "1"}, Record("1", "a", ())),
        ({"text": "a", "label": "", "id": "1"}, Record("1", "a", None)),
        ({"text": "a", "label": " x ", "id": " 1 "}, Record("1", "a", ("x",))),
        ({"text": "a", "label": 3, "id": 1.0}, Record("1", "a", ("3",))),
        ({"text": "a", "label": 3.0, "id": 1.5}, Record("1.5", "a", ("3",))),
        ({"text": "a", "label": True, "id": "1"}, Record("1", "a", ("true",))),
        ({"text": "a", "label": 1, "label_text": "one", "id": "1"}, Record("1", "a", ("one",), metadata={"label": 1})),
        ({"text": "a", "body": "b", "id": "1"}, Record("1", "a", metadata={"body": "b"})),
        ({"text": None, "id": "1"}, Record("1", "")),
        ({"text": float("nan"), "label": float("nan"), "id": "1"}, Record("1", "")),
        ({"text": 12, "id": "1"}, Record("1", "12")),
        ({"text": 1.5, "id": "1"}, Record("1", "1.5")),
        ({"text": "a"}, Record(derive_id("a"), "a")),
        ({"text": "a", "id": None}, Record(derive_id("a"), "a")),
        ({"tokens": ["a", "b"], "tags": ["O", "B"], "id": "1"}, Record("1", "a b", None, ("a", "b"), ("O", "B"))),
        (
            {"text": "a  b", "tokens": ["a", "b"], "ner_tags": None, "id": "1"},
            Record("1", "a  b", None, ("a", "b"), metadata={"ner_tags": None}),
        ),
        ({"text": "a b", "tokens": 2, "id": "1"}, Record("1", "a b", metadata={"tokens": 2})),
        (
            {"text": "a", "label": "x", "labels": "mine", "id": "1"},
            Record("1", "a", ("x",), metadata={"labels": "mine"}),
        ),
        ({"text": "a", "label": "x", "labels": ["x", "y"], "id": "1"}, Record("1", "a", ("x", "y"))),
        (
            {"text": "a", "label": None, "labels": [], "status": "abstained", "id": "1"},
            Record("1", "a", None, metadata={"status": "abstained"}),
        ),
        (
            {"text": "a", "label": None, "labels": [], "status": "ok", "id": "1"},
            Record("1", "a", (), metadata={"status": "ok"}),
        ),
    ],
)
def test_columns_and_cells(row: dict[str, object], expected: Record, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert list(read_records(path)) == [expected]


def test_columns_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text,label,kommentar,art,nr\n1,a,x,b,y,2\n")
    (record,) = read_records(path, text_column="kommentar", label_column="art", id_column="nr")
    assert record == Record("2", "b", ("y",), metadata={"id": "1", "text": "a", "label": "x"})


def test_rows_that_lack_keys(tmp_path: Path) -> None:
    """Label and id may come late; the text column stays that of the first row."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"body": "a"}\n{"body": "b", "text": "no"}\n{"body": "c", "label": "x", "id": 1}\n'
        '{"body": "d", "intent": "y"}\n{"body": "e", "label": "z", "intent": "y"}\n'
    )
    assert list(read_records(path)) == [
        Record(derive_id("a"), "a"),
        Record(derive_id("b"), "b", metadata={"text": "no"}),
        Record("1", "c", ("x",)),
        Record(derive_id("d"), "d", metadata={"intent": "y"}),
        Record(derive_id("e"), "e", ("z",), metadata={"intent": "y"}),
    ]


def test_files_of_ids_and_labels_may_do_without_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,label\n1,x\n2,\n")
    assert list(read_records(path, needs_text=False)) == [Record("1", "", ("x",)), Record("2", "")]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("x|y", ("x", "y")),
        (" x | y ", ("x", "y")),
        ("a|b", ("a|b",)),
        ('["x", "y"]', ("x", "y")),
        ("[]", ()),
        ("", None),
        ("x", ("x",)),
    ],
)
def test_several_labels_in_a_cell(cell: str, labels: tuple[str, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    quoted = cell.replace('"', '""')
    path.write_text(f'text\tlabels\na\t"{quoted}"\n')
    space = LabelSpace.of(["x", "y", "a|b"], multi_label=True)
    assert [record.labels for record in read_records(path, space=space)] == [labels]


def test_a_bar_is_just_a_character_in_single_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x|y\nb,[z]\n")
    assert [record.labels for record in read_records(path)] == [("x|y",), ("[z]",)]
    assert [record.labels for record in read_records(path, space=LabelSpace.of(["x|y", "[z]"]))] == [("x|y",), ("[z]",)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'text,label\n"a\nb",x\n\nc,y\n'),
        ("a.csv", b'\xef\xbb\xbftext,label\r\n"a\nb",x\r\nc,y\r\n'),
        ("a.csv", b'text;label\n"a\nb";x\nc;y'),
        ("a.csv", b'label\ttext\nx\t"a\nb"\ny\tc'),
        ("a.tsv", b'text\tlabel\n"a\nb"\tx\nc\ty\n'),
        ("a.TSV", b'text\tlabel\n"a\nb"\tx\nc\ty\n'),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "a\\nb", "label": "x"}\r\n\r\n{"text": "c", "label": "y"}'),
        ("a.ndjson", b'{"text": "a\\nb", "label": "x"}\n{"text": "c", "label": "y"}\n'),
        ("a.data", b' {"text": "a\\nb", "label": "x"}\n{"text": "c", "label": "y"}\n'),
        ("a", gzip.compress(b'{"text": "a\\nb", "label": "x"}\n{"text": "c", "label": "y"}\n', mtime=0)),
        ("a.jsonl", gzip.compress(b'{"text": "a\\nb", "label": "x"}\n{"text": "c", "label": "y"}\n', mtime=0)),
        ("a.csv.gz", gzip.compress(b'text,label\n"a\nb",x\n', mtime=0) + gzip.compress(b"c,y\n", mtime=0)),
    ],
)
def test_forms_of_a_file(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for named in (path, str(path)):
        assert [(record.text, record.labels) for record in read_records(named)] == [("a\nb", ("x",)), ("c", ("y",))]


def test_huge_field(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'text,label\n"{"long, " * 3_500_000}",x\n')
    (record,) = read_records(path)
    assert (len(record.text), record.labels) == (21_000_000, ("x",))


@pytest.mark.parametrize("line", [b'"\\ud83d\\ude00 \\u2028"', '"😀 \u2028"'.encode()])
def test_escapes_in_jsonl(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": ' + line + b', "n": NaN}\n{"text": "half \\ud83d"}\n')
    assert [record.text for record in read_records(path)] == ["😀 \u2028", "half \ufffd"]


def test_sample() -> None:
    records = list(read_records("sample:support"))
    assert len(records) == count_rows("sample:support") >= 500
    assert len({record.id for record in records}) == len(records)
    assert sum(record.is_blank for record in records) == 2
    truth = list(read_records("sample:support.truth", needs_text=False))
    assert [record.id for record in truth] == [record.id for record in records]


STDIN = """
import sys
from labelspace.data import read_records
for record in read_records("-"):
    print(ascii((record.id, record.text, record.labels)), flush=True)
"""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"id": 1, "text": "a", "label": "x"}\n', [("1", "a", ("x",))]),
        (b'\n \n {"id": 1, "text": "a"}', [("1", "a", None)]),
        (b"\n{name}, hello\r\n", [(derive_id(""), "", None), (derive_id("{name}, hello"), "{name}, hello", None)]),
        ("\ufeffé".encode(), [(derive_id("é"), "é", None)]),
        (gzip.compress(b'{"id": 1, "text": "a"}\n', mtime=0), [("1", "a", None)]),
    ],
)
def test_standard_input(content: bytes, expected: list[object]) -> None:
    done = subprocess.run([sys.executable, "-c", STDIN], input=content, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [ascii(one) for one in expected]


@pytest.mark.parametrize("line", [b'{"id": 1, "text": "a"}\n', b"a\n"])
def test_standard_input_is_read_as_it_comes(line: bytes) -> None:
    process = subprocess.Popen([sys.executable, "-c", STDIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        assert b"'a'" in process.stdout.readline()  # before the input ends
        process.stdin.close()
        assert process.wait(60) == 0


def test_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"open({str(pipe)!r}, 'w').write('one\\ntwo\\n')"
    with subprocess.Popen([sys.executable, "-c", code]):
        assert [record.text for record in read_records(pipe)] == ["one", "two"]
    assert count_rows(pipe) is None


MEMORY = """
import sys, resource
from labelspace.data import read_records
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for count, record in enumerate(read_records(sys.argv[1]), 1):
    if count == 1_000:
        before = peak()
print(count, (peak() - before) // 1024)
"""


@pytest.mark.parametrize("identifier", ['"id": "r%d", ', ""])
def test_memory_stays_flat(identifier: str, tmp_path: Path) -> None:
    """Only eight bytes a row (with room to grow) are kept, to notice ids that come twice."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(200_000):
            given = identifier % number if identifier else ""
            file.write('{%s"text": "%d %s", "label": "x"}\n' % (given, number, "word " * 40))  # noqa: UP031
    assert path.stat().st_size > 40_000_000
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 200_000
    assert grown <= 12, f"{grown} MB"


def test_reading_loads_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n')
    code = (
        "import sys; from labelspace.data import RowWriter, read_records; list(read_records(sys.argv[1]));"
        "print([name for name in ('pyarrow', 'numpy', 'sklearn', 'datasets', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,prediction\n1,x\n2,y\n"),
        ("a.csv", "uid,text,label,predicted\n1,a,z,x\n2,b,z,y\n"),
        ("a.jsonl", '{"id": 1, "label": "x"}\n{"id": 2, "label": "y"}\n'),
        ("a.jsonl", '{"id": 1, "labels": null, "label": "x"}\n{"id": 2, "labels": ["y"], "label": "y"}\n'),
    ],
)
def test_predictions_of_others(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert [(one.record_id, one.labels, one.status) for one in read_predictions(path)] == [
        ("1", ("x",), "ok"),
        ("2", ("y",), "ok"),
    ]


def test_predictions_without_ids_get_those_of_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\na,y\n")
    assert [one.record_id for one in read_predictions(path)] == [record.id for record in read_records(path)]


def test_predictions_in_a_multi_label_space(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,label\n1,x|y\n")
    assert [one.labels for one in read_predictions(path)] == [("x|y",)]
    space = LabelSpace.of(["x", "y"], multi_label=True)
    assert [one.labels for one in read_predictions(path, space=space)] == [("x", "y")]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"}', 2),
        ("a.txt", b"a\n\nb\n", 3),
        ("a.csv", b'text\n"a\n""\nb"\nc\n', 2),
        ("a.csv.gz", gzip.compress(b'text\n"a\nb"\nc', mtime=0), 2),
        ("a.csv", b"text\n", 0),
        ("a.parquet", b"nonsense", None),
        ("a.jsonl.gz", b"nonsense", None),
        ("a.log", b"nonsense", None),
    ],
)
def test_count(name: str, content: bytes, rows: int | None, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert count_rows(path) == rows
    assert count_rows(tmp_path / "none.jsonl") is None
    assert count_rows("-") is None


@pytest.mark.data
def test_real_files(data_dir: Path) -> None:
    for folder, split, rows in [("banking77", "train", 10_003), ("goemotions", "dev", 5_426), ("wnut17", "dev", 1_009)]:
        path = data_dir / folder / f"{split}.jsonl.gz"
        found = list(read_records(path))
        assert len(found) == count_rows(path) == len({record.id for record in found}) == rows
        assert all(record.labels or record.tags for record in found)
