"""The items of a judge on a sheet that people fill in, so that their judgement and a model's can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelspace.agents.taxonomy.judge import Item, Verdict
from labelspace.data import write_rows
from labelspace.errors import DataError
from labelspace.space import LabelSpace

_CHOICES = {"a": "A", "b": "B", "none": "none", "neither": "none", "n": "none"}
_FLAGS = {"yes": True, "y": True, "1": True, "true": True, "no": False, "n": False, "0": False, "false": False}


def write_sheet(path: str | Path, items: Sequence[Item], space: LabelSpace) -> None:
    """Write two rows for each item: which label is better, A, B or none; and whether the label is of use, yes or no.

    The questions of relevance come last, as they tell which label the document carries.

    Args:
        path: .csv, .tsv, .jsonl or .parquet.
        items: What to judge.
        space: Descriptions of the labels.
    """

    def told(name: str) -> str:
        description = space[name].description
        return f"{name}: {description}" if description else name

    rows = [
        {
            "id": item.record.id, "question": "accuracy", "text": item.record.text,
            "a": told(item.pair[0]), "b": told(item.pair[1]), "answer": "",
        }
        for item in items
    ]  # fmt: skip
    rows += [
        {
            "id": item.record.id, "question": "relevance", "text": item.record.text,
            "a": told(item.assigned), "b": "", "answer": "",
        }
        for item in items
    ]  # fmt: skip
    write_rows(path, rows)


def read_sheet(path: str | Path, items: Sequence[Item]) -> list[Verdict]:
    """What one person says of each item; a row without an answer says nothing.

    Raises:
        DataError: The file is no such sheet, or an answer is none of those that were asked for.
    """
    from labelspace.data.rows import read_rows
    from labelspace.data.source import find_source

    answers: dict[tuple[str, str], str] = {}
    for number, row in read_rows(find_source(path)):
        if not {"id", "question", "answer"} <= row.keys():
            raise DataError(
                "no sheet of judgements: it lacks the columns id, question and answer",
                path=str(path),
                advice="write one with --sheet, and fill in the column answer",
            )
        question, answer = str(row["question"]), str(row["answer"] or "").strip().casefold()
        known = _CHOICES if question == "accuracy" else _FLAGS
        if answer and answer not in known:
            wanted = "A, B or none" if question == "accuracy" else "yes or no"
            raise DataError(f"the answer {row['answer']!r} is not {wanted}", path=str(path), row=number)
        answers[str(row["id"]), question] = answer
    verdicts = []
    for item in items:
        choice = _CHOICES.get(answers.get((item.record.id, "accuracy"), ""))
        flag = _FLAGS.get(answers.get((item.record.id, "relevance"), ""))
        verdicts.append(Verdict(None if choice is None else item.choice(choice), flag))
    if all(verdict == Verdict(None, None) for verdict in verdicts):
        raise DataError(
            "it answers none of the items that were drawn",
            path=str(path),
            advice="use the same labels, sample and seed",
        )
    return verdicts
