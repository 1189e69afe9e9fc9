"""The blinded sample sheet: a random draw of flagged and agreed records for somebody to judge.

The sheet is shuffled and says neither which records are flagged nor what a model would have said.
That is in the key, a file of its own that the judge does not need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from labelspace.agents.audit.estimate import Stratum, allocate
from labelspace.agents.audit.exchange import read_answers
from labelspace.errors import DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

Ask = Literal["verdict", "label"]
RIGHT = frozenset({"right", "correct", "yes", "y", "ok", "true", "1", "keep"})
WRONG = frozenset({"wrong", "incorrect", "no", "n", "error", "false", "0"})
UNSURE = frozenset({"unsure", "unclear", "?", "skip", "don't know"})


class Draw(BaseModel):
    """One record of the sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stratum: str
    labels: tuple[str, ...]
    """The labels it has in the data."""


class SampleKey(BaseModel):
    """What the sheet leaves out; `labelspace audit estimate` needs it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: Ask
    seed: int
    strata: tuple[Stratum, ...]
    draws: dict[str, Draw]
    """By record id."""

    @property
    def labels(self) -> set[str]:
        """All labels that a drawn record has."""
        return {label for draw in self.draws.values() for label in draw.labels}

    def save(self, path: str | Path) -> None:
        """Write the key as JSON."""
        Path(path).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> SampleKey:
        """Read a key back.

        Raises:
            DataError: The file is missing or is not a key.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError:
            raise DataError(
                "no key of a sample", path=str(path), advice="draw one with `labelspace audit sample`"
            ) from None
        except (ValueError, ValidationError) as error:
            raise DataError("not the key of a sample", path=str(path), advice="name the .key.json file") from error


class Verdicts(BaseModel):
    """What a filled-in sheet says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strata: tuple[Stratum, ...]
    corrections: dict[str, tuple[str, ...]]
    """Labels that the judge gave in place of the wrong ones, by record id."""
    right: tuple[str, ...]
    """Ids of the records whose label was confirmed."""
    wrong: tuple[str, ...]
    unsure: int
    """Records judged as unclear; they count as not judged."""
    blank: int
    """Records without a verdict."""


def draw_sample(
    records: Sequence[Record],
    flagged: NDArray[np.bool_],
    *,
    total: int,
    ask: Ask = "verdict",
    suspicion: NDArray[np.float64] | None = None,
    parts: int = 1,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], SampleKey]:
    """Draw a stratified random sample and write its sheet.

    Args:
        records: All records, with their labels.
        flagged: Which of them are flagged as wrong, [n].
        total: How many to draw; half flagged and half agreed, as far as there are so many.
        ask: `verdict` shows the label and asks whether it is right; `label` shows none and asks for
            the right one, which blinds the judge to the label too.
        suspicion: How suspicious each record is, [n]; used with `parts`.
        parts: Cut the agreed records by suspicion into this many strata of equal size: more exact
            where the errors that were not flagged are near the cut.
        seed: Of the draw.

    Returns:
        The rows of the sheet, shuffled; and the key.
    """
    generator = np.random.default_rng(seed)
    groups: list[tuple[str, bool, NDArray[np.int64]]] = [("flagged", True, np.flatnonzero(flagged))]
    agreed = np.flatnonzero(~flagged)
    if suspicion is not None and parts > 1:
        pieces = np.array_split(agreed[np.argsort(suspicion[agreed], kind="stable")], parts)
        groups += [(f"agreed {at + 1} of {parts}", False, piece) for at, piece in enumerate(pieces)]
    else:
        groups.append(("agreed", False, agreed))
    half = allocate([len(groups[0][2]), len(agreed)], total)
    numbers = [half[0], *allocate([len(members) for _, _, members in groups[1:]], half[1])]
    draws: dict[str, Draw] = {}
    chosen: list[int] = []
    for (name, _, members), number in zip(groups, numbers, strict=True):
        for at in generator.choice(members, size=number, replace=False):
            draws[records[at].id] = Draw(stratum=name, labels=records[at].labels or ())
            chosen.append(int(at))
    rows = [_row(records[at], ask) for at in generator.permutation(np.array(chosen, np.int64))]
    strata = tuple(Stratum(name=name, flagged=is_flagged, size=len(members)) for name, is_flagged, members in groups)
    return rows, SampleKey(ask=ask, seed=seed, strata=strata, draws=draws)


def _row(record: Record, ask: Ask) -> dict[str, Any]:
    row: dict[str, Any] = {"id": record.id, "text": record.text}
    if ask == "verdict":
        row |= {"label": "|".join(record.labels or ()), "verdict": ""}
    return row | {"correct_label": "", "comment": ""}


def read_verdicts(path: str | Path, key: SampleKey, *, space: LabelSpace | None = None) -> Verdicts:
    """Read a filled-in sheet: a table with `id`, `verdict` and `correct_label`, or a review tool's export.

    A correct label that differs from the given one means wrong, whatever the verdict column holds.
    Several labels are joined with "|"; "-" stands for none; a label of that very name comes first.

    Raises:
        DataError: A verdict or label can't be read, or a record is not of this sample.
    """
    answers: dict[str, tuple[bool | None, tuple[str, ...] | None]] = {}
    unsure = 0
    known = key.labels | set(space.leaves if space is not None else ())
    for number, (record_id, verdict, labels) in enumerate(read_answers(path, known), start=2):
        draw = key.draws.get(record_id)
        if draw is None:
            raise DataError(
                f"record {record_id!r} is not in the sample", path=str(path), row=number, advice="use its own key"
            )
        for label in labels or ():
            if space is not None and label not in space.leaves and label != space.other:
                raise DataError(space.unknown(label), path=str(path), row=number)
        is_wrong = _is_wrong(verdict, labels, draw, path, number)
        unsure += is_wrong is None and verdict in UNSURE
        answers[record_id] = (is_wrong, labels)
    return _count(answers, key, unsure)


def verdicts_by(truth: Mapping[str, tuple[str, ...]], key: SampleKey) -> Verdicts:
    """Judge the sample by true labels, where they are known, in place of a sheet."""
    answers = {
        record_id: (set(truth[record_id]) != set(draw.labels), truth[record_id])
        for record_id, draw in key.draws.items()
        if record_id in truth
    }
    return _count(answers, key, 0)


def verdicts_of(wrong: Mapping[str, bool], key: SampleKey) -> Verdicts:
    """Verdicts from whether the labels of records are wrong, by id, as judges say."""
    return _count({record_id: (is_wrong, None) for record_id, is_wrong in wrong.items()}, key, 0)


def _count(answers: Mapping[str, tuple[bool | None, tuple[str, ...] | None]], key: SampleKey, unsure: int) -> Verdicts:
    judged = {stratum.name: [0, 0] for stratum in key.strata}
    for record_id, (is_wrong, _) in answers.items():
        if is_wrong is not None:
            judged[key.draws[record_id].stratum][0] += 1
            judged[key.draws[record_id].stratum][1] += is_wrong
    decided = {record_id: is_wrong for record_id, (is_wrong, _) in answers.items() if is_wrong is not None}
    return Verdicts(
        strata=tuple(
            part.model_copy(update={"judged": judged[part.name][0], "wrong": judged[part.name][1]})
            for part in key.strata
        ),
        corrections={
            record_id: labels for record_id, (is_wrong, labels) in answers.items() if is_wrong and labels is not None
        },
        right=tuple(record_id for record_id, is_wrong in decided.items() if not is_wrong),
        wrong=tuple(record_id for record_id, is_wrong in decided.items() if is_wrong),
        unsure=unsure,
        blank=len(key.draws) - len(decided) - unsure,
    )


def _is_wrong(verdict: str, labels: tuple[str, ...] | None, draw: Draw, path: str | Path, row: int) -> bool | None:
    if labels is not None:
        return set(labels) != set(draw.labels)
    if verdict in RIGHT:
        return False
    if verdict in WRONG:
        return True
    if not verdict or verdict in UNSURE:
        return None
    raise DataError(f"the verdict {verdict!r} is not known", path=str(path), row=row, advice="write right or wrong")
