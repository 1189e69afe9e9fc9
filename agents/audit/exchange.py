"""Send records to where people review them, and read their decisions back: Label Studio, Argilla, CSV.

What goes out is a blinded sample sheet or a list of suspicious records; what comes back is a filled-in
sheet, whatever tool it was filled in with. The formats are those of Label Studio (imports tasks; exports
JSON, JSON-MIN, CSV and TSV; checked against label-studio-sdk 2.1.2) and of Argilla (`Settings.from_json`,
`records.from_json`, `records.to_json`; checked against argilla 2.8.0).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from xml.sax.saxutils import quoteattr

from labelspace.data import find_source, write_rows
from labelspace.data.rows import read_rows
from labelspace.errors import DataError
from labelspace.space import LabelSpace

Form = Literal["csv", "label-studio", "argilla"]
FORMS: tuple[Form, ...] = get_args(Form)
QUESTION = "correct_label"
RECORD_ID = "record_id"
"""Name of our id in Label Studio, which overwrites a field `id` with its own number in JSON-MIN."""


def write_sheet(path: str | Path, rows: Sequence[Mapping[str, Any]], *, form: Form, space: LabelSpace) -> None:
    """Write the rows of a sheet for a review tool.

    Args:
        path: CSV, TSV, JSONL or Parquet for the form `csv`; JSON for the others. Beside the JSON goes
            what the tool needs to know of the labels: `PATH.xml` or `PATH.settings.json`.
        rows: With `id` and `text`; where there is a `label`, it is shown as the present one.
        form: The tool.
        space: The labels to choose from.
    """
    if form == "csv":
        write_rows(path, rows)
        return
    target = Path(path)
    if form == "label-studio":
        _write_json(target, [_task(row) for row in rows])
        target.with_name(target.name + ".xml").write_text(_label_studio_view(space), encoding="utf-8")
    else:
        _write_json(target, [_argilla_record(row, multi_label=space.multi_label) for row in rows])
        _write_json(target.with_name(target.name + ".settings.json"), _argilla_settings(space))


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _present(row: Mapping[str, Any]) -> list[str]:
    return [label for label in str(row.get("label") or "").split("|") if label]


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {RECORD_ID: row["id"], "text": row["text"]}}
    if present := _present(row):
        result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": present}}
        task["predictions"] = [{"model_version": "present label", "result": [result]}]
    return task


def _label_studio_view(space: LabelSpace) -> str:
    choices = "\n".join(
        f"    <Choice value={quoteattr(name)} hint={quoteattr(space[name].description)}/>" for name in space.leaves
    )
    several = "multiple" if space.multi_label else "single"
    return (
        '<View>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="label" toName="text" choice="{several}">\n{choices}\n  </Choices>\n</View>\n'
    )


def _argilla_record(row: Mapping[str, Any], *, multi_label: bool) -> dict[str, Any]:
    present = _present(row)
    record: dict[str, Any] = {"id": row["id"], "fields": {"text": row["text"]}, "metadata": {}, "responses": {}}
    record["suggestions"] = (
        {QUESTION: {"value": present if multi_label else present[0], "score": None, "agent": "present label"}}
        if present
        else {}
    )
    return record


def _argilla_settings(space: LabelSpace) -> dict[str, Any]:
    kind = "multi_label_selection" if space.multi_label else "label_selection"
    options = [{"value": name, "text": name, "description": space[name].description} for name in space.leaves]
    return {
        "fields": [
            {"name": "text", "title": "Text", "required": True, "settings": {"type": "text", "use_markdown": False}}
        ],
        "questions": [
            {"name": QUESTION, "title": "Label", "required": True, "settings": {"type": kind, "options": options}}
        ],
    }


def read_answers(
    path: str | Path, known: Collection[str] = frozenset()
) -> Iterator[tuple[str, str, tuple[str, ...] | None]]:
    """Read what reviewers decided: (id, verdict, right labels), in any of the forms.

    Verdict is "" where none was given; labels are None where none was given. Of several people's
    answers the last is taken.

    Args:
        path: The file.
        known: Labels there are: one that holds "|", or is "-", is then read as itself.

    Raises:
        DataError: The file is none of the known forms.
    """
    if Path(path).suffix == ".json":
        yield from _read_json(path)
        return
    for number, row in read_rows(find_source(path)):
        if RECORD_ID in row:  # Label Studio's CSV or TSV
            yield str(row[RECORD_ID]), "", _cell(row.get("label"))
            continue
        if row.get("id") is None:
            raise DataError("there is no id", path=str(path), row=number, advice="keep the column id of the sheet")
        labels = row.get(QUESTION)
        if isinstance(labels, str):
            name = labels.strip()
            labels = [name] if name in known else None if not name else [] if name == "-" else name.split("|")
        named = None if labels is None else tuple(label for one in labels if (label := str(one).strip()))
        yield str(row["id"]), str(row.get("verdict") or "").strip().lower(), named


def _read_json(path: str | Path) -> Iterator[tuple[str, str, tuple[str, ...] | None]]:
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("can't be read", path=str(path), advice=str(error.strerror)) from error
    except ValueError as error:
        raise DataError(f"not valid JSON: {error}", path=str(path), advice="export it again") from error
    if not isinstance(rows, list):
        raise DataError("not a list of records", path=str(path), advice="export as JSON from the review tool")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError("not a record", path=str(path), row=number)
        if "fields" in row:
            yield str(row.get("id")), "", _from_argilla(row)
        elif RECORD_ID in (row.get("data") or {}):
            yield str(row["data"][RECORD_ID]), "", _from_label_studio(row)
        elif RECORD_ID in row:  # Label Studio's JSON-MIN
            yield str(row[RECORD_ID]), "", _choices(row.get("label"))
        else:
            raise DataError(
                "neither a Label Studio nor an Argilla record", path=str(path), row=number, advice="export as JSON"
            )


def _cell(value: Any) -> tuple[str, ...] | None:
    """A cell of Label Studio's CSV: a label, or JSON where there are several."""
    if isinstance(value, str) and value.startswith('{"choices"'):
        try:
            return _choices(json.loads(value))
        except ValueError:
            pass
    return _choices(value)


def _choices(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        value = value.get("choices")
    if value is None or value == "":
        return None
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)


def _from_label_studio(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    answers = [answer for answer in row.get("annotations") or [] if not answer.get("was_cancelled")]
    if not answers:
        return None
    for result in answers[-1].get("result") or []:
        if result.get("type") == "choices":
            return _choices(result.get("value"))
    return None


def _from_argilla(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    answers = (row.get("responses") or {}).get(QUESTION) or []
    # Argilla leaves the status of a response out; that of the record says whether any was submitted.
    submitted = "submitted" if row.get("status") in (None, "completed") else "draft"
    given = [answer for answer in answers if answer.get("status", submitted) == "submitted"]
    return _choices(given[-1].get("value")) if given else None
