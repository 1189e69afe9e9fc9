"""LLM judges: is this label right? Several models and wordings are asked, and their probabilities averaged.

After "Are LLMs Better than Reported?" (arXiv 2410.18889): a judge sees the document, the label and
its definition, and never a hint of what is expected; the probability that the label is right comes
from the log-probabilities of "yes" and "no" where the model has them. Each model is asked whether the
label is right and whether it is wrong, which the paper does by four prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labelspace.errors import ConfigError, DataError
from labelspace.llm import ChatModel, Engine, Reply, ReplyError, Request, choice_distribution, run
from labelspace.prompts import load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

Wording = Literal["right", "wrong"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)
ANSWERS = ("yes", "no")
MOST_SHOWN = 40
"""Other labels are shown to the judge where there are at most so many."""
ALTERNATIVES = 10
EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Bins of a judge's confidence."""


@dataclass(frozen=True)
class Judgement:
    """What the judges said: NaN where one gave no answer that could be read."""

    ids: tuple[str, ...]
    judges: tuple[str, ...]
    """Model and wording of each column."""
    right: NDArray[np.float64]
    """Probability that the labels are right by each judge, [n, judges]."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Average over the judges that answered, [n]; NaN where none did."""
        answered = ~np.isnan(self.right)
        counts = answered.sum(axis=1)
        total = np.where(answered, self.right, 0).sum(axis=1)
        return np.asarray(np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0))

    def by_id(self) -> dict[str, float]:
        """The average by record id, for `audit(opinions=...)`."""
        return {name: float(value) for name, value in zip(self.ids, self.mean, strict=True) if not np.isnan(value)}


class Bin(BaseModel):
    """Records whose verdict has this much confidence behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    records: int
    disagree: int
    """Records of which the judges say that the label is wrong."""
    wrong: int | None = None
    """Of those, records whose label is wrong in truth, where it is known."""


async def ask_judges(
    records: Sequence[Record],
    space: LabelSpace,
    models: Sequence[str | ChatModel],
    *,
    wordings: Sequence[Wording] = WORDINGS,
    use_case: str = "",
    prompts: Path | None = None,
    journal: Path | str | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Judgement:
    """Ask every model, in every wording, whether the labels of each record are right.

    A record with several labels is as right as its worst one; one without labels is not judged.

    Args:
        records: With labels and text.
        space: Whose definitions the judges go by.
        models: Model strings (see `labelspace.llm.connect`) or models.
        wordings: Questions to ask.
        use_case: What the labels are for, in a sentence.
        prompts: Folder with a `judge.jinja` of your own.
        journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
        engine: Further settings of the `Engine`.
    """
    if not models or not wordings:
        raise ConfigError("there is no judge: give a model and a wording")
    template = load_prompt("judge", folder=prompts)
    asked = [(at, label) for at, record in enumerate(records) if not record.is_blank for label in record.labels or ()]
    columns, names = [], []
    for model in models:
        async with Engine(model, journal=journal, **(engine or {})) as talk:
            for wording in wordings:

                def request(item: tuple[int, str], wording: Wording = wording) -> Request:
                    at, label = item
                    messages = template.render(
                        use_case=use_case,
                        label=_definition(space, label),
                        others=_others(space, label),
                        several=space.multi_label,
                        wording=wording,
                        document=records[at].text,
                    )
                    return Request(messages, choices=ANSWERS, logprobs=ALTERNATIVES, max_tokens=8)

                column = np.full(len(records), np.nan)
                version = f"{template.version}:{template.hash}"
                async for outcome in talk.map(asked, request, _read, purpose=f"judge {wording}", version=version):
                    if outcome.value is None:
                        continue
                    chance = outcome.value if wording == "right" else 1 - outcome.value
                    at = outcome.item[0]
                    column[at] = chance if np.isnan(column[at]) else min(column[at], chance)
                columns.append(column)
                names.append(f"{talk.model.name} ({wording})")
    return Judgement(tuple(record.id for record in records), tuple(names), np.stack(columns, axis=1))


def judge_records(
    records: Sequence[Record], space: LabelSpace, models: Sequence[str | ChatModel], **settings: Any
) -> Judgement:
    """`ask_judges` for callers that are not asynchronous; the same arguments."""
    return run(ask_judges(records, space, models, **settings))


def _definition(space: LabelSpace, label: str) -> dict[str, str]:
    if label not in space:
        return {"name": label, "description": "None of the other labels fits.", "instructions": ""}
    known = space[label]
    return {"name": label, "description": known.description, "instructions": known.instructions}


def _others(space: LabelSpace, label: str) -> list[dict[str, str]]:
    if len(space.leaves) > MOST_SHOWN:
        return []
    return [{"name": name, "description": space[name].description} for name in space.leaves if name != label]


def _read(reply: Reply, _item: object) -> float:
    """Probability of "yes": from log-probabilities, else from the word itself."""
    found = choice_distribution(reply, ANSWERS)
    if found is not None:
        return found["yes"]
    word = reply.text.strip().strip(".\"'").lower()
    if word not in ANSWERS:
        raise ReplyError("answer with one word, yes or no")
    return 1.0 if word == "yes" else 0.0


def agreement_within(
    chances: NDArray[np.float64], given: NDArray[np.int64], *, tolerance: int = 0
) -> NDArray[np.float64]:
    """Probability that ordinal labels are right, [n]: what a judge gives to labels within a tolerance.

    Args:
        chances: Of each label, in their order, [n, k], such as a labeler gives by code.
        given: Position of the given label, [n].
        tolerance: How many steps off a label may be and still count as right.
    """
    if chances.ndim != 2 or len(chances) != len(given):
        raise DataError("give one row of probabilities for each label")
    away = np.abs(np.arange(chances.shape[1]) - given[:, None])
    return np.asarray(np.where(away <= tolerance, chances, 0).sum(axis=1))


def by_confidence(right: NDArray[np.float64], *, wrong: NDArray[np.bool_] | None = None) -> tuple[Bin, ...]:
    """Disagreement of the judges with the labels by how sure they are.

    Args:
        right: Probability that the label is right, [n], NaN where unknown.
        wrong: Whether it is wrong in truth, [n], if that is known.
    """
    known = ~np.isnan(right)
    sure = np.where(right > 0.5, right, 1 - right)
    bins = []
    for low, high in pairwise(EDGES):
        inside = known & (sure >= low) & ((sure < high) | (high == EDGES[-1]))
        against = inside & (right < 0.5)
        bins.append(
            Bin(
                low=low,
                high=high,
                records=int(inside.sum()),
                disagree=int(against.sum()),
                wrong=None if wrong is None else int((against & wrong).sum()),
            )
        )
    return tuple(bins)
