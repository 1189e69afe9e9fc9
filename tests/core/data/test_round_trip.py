"""What is written in any format is read back as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelspace.data import RowWriter, count_rows, read_predictions, read_records, write_rows
from labelspace.records import Prediction, Record, derive_id

FORMATS = [".jsonl", ".jsonl.gz", ".ndjson", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"]
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
names = texts.filter(lambda name: bool(name) and name == name.strip() and not name.startswith("["))
metadata = st.dictionaries(
    st.sampled_from(["domain", "Größe", "a,b", 'q"'], ),
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | texts | st.lists(texts, max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False) | st.dictionaries(texts, st.integers(0, 9), max_size=3),
    max_size=3,
)  # fmt: skip
records = st.lists(
    st.builds(
        lambda number, text, labels, extra: Record(f"r{number}", text, labels, metadata=extra),
        st.integers(0, 10**6),
        texts,
        st.none() | st.lists(names, max_size=3, unique=True).map(tuple),
        metadata,
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda record: record.id,
)


def row_of(record: Record) -> dict[str, Any]:
    labels = None if record.labels is None else list(record.labels)
    return {"id": record.id, "text": record.text, "labels": labels, **record.metadata}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
@quick
@given(records)
def test_records_in_typed_formats(suffix: str, given_records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        assert write_rows(path, map(row_of, given_records)) == len(given_records)
        back = list(read_records(path))
        assert count_rows(path) == len(given_records)
    if suffix == ".parquet":  # a column that a row lacks is null there, and one type holds for a column
        given_records = [
            Record(r.id, r.text, r.labels, metadata={k: v for k, v in r.metadata.items() if v is not None})
            for r in given_records
        ]
        back = [
            Record(r.id, r.text, r.labels, metadata={k: v for k, v in r.metadata.items() if v is not None})
            for r in back
        ]
    assert back == given_records


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz"])
@quick
@given(records)
def test_records_in_text_formats(suffix: str, given_records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_rows(path, map(row_of, given_records))
        back = list(read_records(path))
        assert count_rows(path) == len(given_records)
    assert [(r.id, r.text, r.labels) for r in back] == [(r.id, r.text, r.labels) for r in given_records]
    for old, new in zip(given_records, back, strict=True):
        for name, value in new.metadata.items():
            expected = old.metadata.get(name)
            if isinstance(expected, str) or expected is None:
                assert value == (expected or "")
            else:
                assert json.loads(value) == expected


@quick
@given(st.lists(texts.filter(lambda text: "\n" not in text and not text.endswith("\r")), min_size=1))
def test_text_lines(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for end in ("\n", "\r\n"):
            path = Path(folder) / "a.txt"
            path.write_bytes(b"\xef\xbb\xbf" + "".join(line + end for line in lines).encode())
            assert [record.text for record in read_records(path)] == lines
            assert count_rows(path) == len(lines)


probabilities = st.integers(0, 10**6).map(lambda millionths: millionths / 10**6)
predictions = st.lists(
    st.builds(
        Prediction,
        record_id=st.integers(0, 10**6).map(str),
        labels=st.lists(names, max_size=3, unique=True).map(tuple),
        scores=st.dictionaries(names, probabilities, max_size=3),
        confidence=st.none() | probabilities,
        status=st.sampled_from(["ok", "abstained", "failed"]),
        reason=st.none() | names,
        rationale=st.none() | names,
        raw=st.none() | names,
        source=st.dictionaries(names, names, max_size=2),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda prediction: prediction.record_id,
)


@pytest.mark.parametrize("suffix", FORMATS)
@quick
@given(predictions)
def test_predictions(suffix: str, given_predictions: list[Prediction]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_rows(path, ({"text": "t", **prediction.to_data()} for prediction in given_predictions))
        assert list(read_predictions(path)) == given_predictions
        back = list(read_records(path))
    assert [record.id for record in back] == [prediction.record_id for prediction in given_predictions]
    for record, prediction in zip(back, given_predictions, strict=True):
        set_aside = prediction.status != "ok" and not prediction.labels
        assert record.labels == (None if set_aside else prediction.labels)


LONG = "Grüße 👩‍👩‍👧 \u2028 next \u2029 \x85 \x0b end " * 800


@pytest.mark.parametrize("suffix", FORMATS)
def test_hard_texts(suffix: str, tmp_path: Path) -> None:
    hard = [
        LONG,
        "line\nbreak\r\nand \r alone",
        'a "quoted", text; with\ttab',
        "",
        " \n ",
        "emoji 😀 🇩🇪",
        "\ufeffmark",
        "x" * 5_000_000,
        "= 1 + 1",
        "null",
    ]
    assert len(LONG) > 20_000
    path = tmp_path / f"a{suffix}"
    write_rows(path, ({"id": i, "text": text} for i, text in enumerate(hard)))
    back = list(read_records(path))
    assert [record.text for record in back] == hard
    assert [record.id for record in back] == [str(i) for i in range(len(hard))]
    assert [record.is_blank for record in back] == [text.strip() == "" for text in hard]
    assert count_rows(path) == len(hard)


@pytest.mark.parametrize("suffix", FORMATS)
def test_half_a_surrogate_pair_becomes_a_replacement(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_rows(path, [{"id": "1", "text": "cut \ud83d off", "note": ["\udc00"]}])
    (record,) = read_records(path)
    assert record.text == "cut \ufffd off"


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_that_come_late(suffix: str, tmp_path: Path) -> None:
    """Also after the first row group, and with a type that widens."""
    path = tmp_path / f"a{suffix}"
    with RowWriter(path) as out:
        for number in range(21_000):
            row: dict[str, Any] = {"id": str(number), "text": f"a\n{number}", "n": number}
            if number == 12_000:
                row["reason"] = "late"
            if number == 20_500:
                row["n"] = "many"
            out.write(row)
    assert out.count == count_rows(path) == 21_000
    back = list(read_records(path))
    assert [record.text for record in back] == [f"a\n{number}" for number in range(21_000)]
    assert {record.id: record.metadata["reason"] for record in back if record.metadata.get("reason")} == {
        "12000": "late"
    }
    kept = str if suffix[:4] in (".csv", ".tsv") else int
    assert (back[5].metadata["n"], back[20_500].metadata["n"]) == (kept(5), "many")
    assert list(tmp_path.iterdir()) == [path]


def test_derived_ids_are_stable(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\nb\na\n\na\n\n")
    a, blank = derive_id("a"), derive_id("")
    ids = [a, derive_id("b"), f"{a}-2", blank, f"{a}-3", f"{blank}-2"]
    assert [record.id for record in read_records(path)] == ids
    assert [record.id for record in read_records(path)] == ids
