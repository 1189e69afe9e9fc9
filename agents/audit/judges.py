"""LLM judges: is this label right? Several models and wordings are asked, and their probabilities averaged.

After "Are LLMs Better than Reported?" (arXiv 2410.18889): a judge sees the document, the label and
its definition, and never a hint of what is expected; each model is asked in four wordings. The
probability that the label is right comes from the log-probabilities of "yes" and "no" where the model
has them; a model that has none is asked for it in percent. Two of our wordings ask whether the label
is right and two whether it is wrong, so that a leaning to yes cancels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError
from labelspace.llm import ChatModel, Engine, Reply, ReplyError, Request, choice_distribution, run
from labelspace.prompts import load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

Wording = Literal["right", "wrong", "agree", "change"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)
AGAINST: frozenset[Wording] = frozenset({"wrong", "change"})
"""Wordings whose yes speaks against the label."""
Answers = Literal["auto", "word", "percent"]
YES_OR_NO = ("yes", "no")
MOST_SHOWN = 40
"""Other labels are shown to the judge where there are at most so many."""
ALTERNATIVES = 10
MAX_CHARS = 12_000
_NUMBER = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*(?:%|percent)?\s*\.?\s*", re.IGNORECASE)


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


class _Question(NamedTuple):
    at: int
    label: str
    wording: Wording


async def ask_judges(
    records: Sequence[Record],
    space: LabelSpace,
    models: Sequence[str | ChatModel],
    *,
    wordings: Sequence[Wording] = WORDINGS,
    answers: Answers = "auto",
    tolerance: int | None = None,
    use_case: str = "",
    max_chars: int = MAX_CHARS,
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
        answers: `word` asks for yes or no and reads log-probabilities, else 1 or 0; `percent` asks for
            a probability in words; `auto` takes `word` for a model whose first reply has log-probabilities.
        tolerance: If the labels are a scale, in the order of the space: how many steps off one may be
            and still be right. None where they are no scale.
        use_case: What the labels are for, in a sentence.
        max_chars: Longer texts are cut in the middle.
        prompts: Folder with a `judge.jinja` of your own.
        journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
        engine: Further settings of the `Engine`.
    """
    unknown = [wording for wording in wordings if wording not in WORDINGS]
    if unknown:
        raise ConfigError(f"no wording named {unknown[0]!r}; there are: {', '.join(WORDINGS)}")
    if not models or not wordings:
        raise ConfigError("there is no judge: give a model and a wording")
    template = load_prompt("judge", folder=prompts)
    version = f"{template.version}:{template.hash}"
    asked = [
        _Question(at, label, wording)
        for wording in wordings
        for at, record in enumerate(records)
        if not record.is_blank
        for label in record.labels or ()
    ]

    def request(question: _Question, answer: Answers, times: int = 0) -> Request:
        messages = template.render(
            use_case=use_case,
            label=_definition(space, question.label),
            others=_others(space, question.label),
            several=space.multi_label,
            scale=list(space.leaves) if tolerance is not None else [],
            tolerance=tolerance or 0,
            wording=question.wording,
            answer=answer,
            document=cut_middle(records[question.at].text, max(max_chars >> times, 200)),
        )
        if answer == "percent":
            return Request(messages, max_tokens=8)
        return Request(messages, choices=YES_OR_NO, logprobs=ALTERNATIVES, max_tokens=8)

    columns, names = [], []
    for model in models:
        async with Engine(model, journal=journal, **(engine or {})) as talk:
            form = answers
            if form == "auto":
                form = "word"
                async for first in talk.map(
                    asked[:1], lambda q: request(q, "word"), _has_logprobs, purpose="judge", version=version
                ):
                    form = "word" if first.value else "percent"
            found = {wording: np.full(len(records), np.nan) for wording in wordings}
            async for outcome in talk.map(
                asked,
                lambda q, form=form: request(q, form),  # type: ignore[misc]
                _percent if form == "percent" else _word,
                purpose="judge",
                version=version,
                shorten=lambda q, times, form=form: request(q, form, times) if times < 8 else None,  # type: ignore[misc]
            ):
                if outcome.value is None:
                    continue
                at, _, wording = outcome.item
                chance = 1 - outcome.value if wording in AGAINST else outcome.value
                column = found[wording]
                column[at] = chance if np.isnan(column[at]) else min(column[at], chance)
            columns += list(found.values())
            names += [f"{talk.model.name} ({wording})" for wording in wordings]
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


def _has_logprobs(reply: Reply, _question: object) -> bool:
    return choice_distribution(reply, YES_OR_NO) is not None


def _word(reply: Reply, _question: object) -> float:
    """Probability of "yes": from log-probabilities, else from the word itself."""
    found = choice_distribution(reply, YES_OR_NO)
    if found is not None:
        return found["yes"]
    word = reply.text.strip().strip(".\"'").lower()
    if word not in YES_OR_NO:
        raise ReplyError("answer with one word, yes or no")
    return 1.0 if word == "yes" else 0.0


def _percent(reply: Reply, _question: object) -> float:
    """Probability of "yes", as the model puts it."""
    number = _NUMBER.fullmatch(reply.text)
    if number is None or float(number[1]) > 100:
        raise ReplyError("answer with one whole number from 0 to 100")
    return float(number[1]) / 100
