"""Which column holds the text, the label, the id: named by the user or guessed from common names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from labelspace.data.source import Source
from labelspace.errors import DataError

TEXT = (
    "text", "content", "body", "message", "query", "utterance", "sentence", "document", "doc", "question",
    "comment", "review", "tweet", "post", "input", "prompt", "abstract",
)  # fmt: skip
LABEL = (
    "label_text", "label_name", "label", "labels", "intent", "category", "class", "topic", "gold", "target",
    "intents", "categories", "classes", "topics",
)  # fmt: skip
ID = ("id", "uid", "guid", "_id", "record_id", "example_id", "doc_id", "uuid", "idx")
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "bio_tags")


class Plan(NamedTuple):
    """Column names for one shape of row; None where there is no such column."""

    text: str | None
    label: str | None
    id: str | None
    tokens: str | None
    tags: str | None
    labels: str | None
    """The column `labels` beside `label`, as in the files that we write."""


@dataclass(frozen=True)
class Columns:
    """What the user asked for, and what earlier rows have settled."""

    source: Source
    text: str | None = None
    label: str | None = None
    id: str | None = None
    needs_text: bool = True
    """Whether even rows that have an id must have a text."""

    def plan(self, names: tuple[str, ...], *, row: int, first: bool) -> Plan:
        """Choose the columns of a row with these names.

        Rows of JSONL may lack keys. The text column is settled by the first row and must be in every
        row; label and id are settled by the first row that has one, and may be missing.

        Raises:
            DataError: A column that was asked for, or any column for the text, is missing.
        """
        free = list(names)
        chosen: dict[str, str | None] = {}
        for role, asked in (("text", self.text), ("label", self.label), ("id", self.id)):
            chosen[role] = asked if asked in names else None
            if asked is not None and asked not in names and (first or role == "text"):
                advice = f"name one with --{role}-column" if first else "each row needs it; a blank text may be null"
                raise missing(f"there is no column {asked!r}", self.source, names, row, advice)
            if asked in free:
                free.remove(asked)
            elif chosen[role]:
                problem = f"column {asked!r} can't be the {role} and something else too"
                raise DataError(problem, path=self.source.shown, advice=f"name another with --{role}-column")
        text = chosen["text"] or (None if self.text else _take(TEXT, free))
        tokens = _take(TOKENS, free)
        by_id = chosen["id"] or (None if self.id else _take(ID, free))
        if text is None and tokens is None and (self.needs_text or by_id is None):
            raise missing("no column looks like the text", self.source, names, row, self._where_text())
        tags = _take(TAGS, free) if tokens else None
        label = chosen["label"] or (None if self.label else _take(LABEL, free))
        labels = "labels" if label == "label" and "labels" in free else None
        return Plan(text, label, by_id, tokens, tags, labels)

    def _where_text(self) -> str:
        header = ", or add a header if there is none" if self.source.form in ("csv", "tsv") else ""
        return f"name it with --text-column{header}"

    def settled(self, plan: Plan) -> Columns:
        """The same with what a plan chose, so that later rows keep to it."""
        return replace(self, text=plan.text or self.text, label=plan.label or self.label, id=plan.id or self.id)


def find_column(candidates: tuple[str, ...], names: Iterable[str]) -> str | None:
    """The column that the first of the candidates names, whatever its case."""
    folded = {name.strip().casefold(): name for name in reversed(list(names))}
    return next((folded[candidate] for candidate in candidates if candidate in folded), None)


def missing(problem: str, source: Source, names: tuple[str, ...], row: int, advice: str) -> DataError:
    """The error for a column that is not there; it lists those that are."""
    there = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return DataError(
        f"{problem}; {'the columns are: ' + there if names else 'the row is an empty object'}",
        path=source.shown,
        row=None if source.is_tabular else row,
        advice=advice,
    )


def _take(candidates: tuple[str, ...], free: list[str]) -> str | None:
    """The same among the free columns; it is free no longer."""
    found = find_column(candidates, free)
    if found is not None:
        free.remove(found)
    return found
