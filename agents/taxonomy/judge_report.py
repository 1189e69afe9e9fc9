"""What judges say of labels, with intervals; and how far judges, people and runs agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelspace.agents.taxonomy.judge import Item, Verdict
from labelspace.metrics import cohen_kappa, fleiss_kappa, kappa_by, wilson

Question = Literal["accuracy", "relevance"]
QUESTIONS: tuple[Question, ...] = ("accuracy", "relevance")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Part):
    """A share with its 95% interval (Wilson)."""

    value: float
    low: float
    high: float
    of: int

    @classmethod
    def of_flags(cls, flags: Sequence[bool]) -> Share | None:
        """The share that is true; None of nothing."""
        if not flags:
            return None
        low, high = wilson(sum(flags), len(flags))
        return cls(value=sum(flags) / len(flags), low=low, high=high, of=len(flags))

    def __str__(self) -> str:
        """As a percentage."""
        return f"{self.value:6.1%}  ({self.low:.1%} to {self.high:.1%}, n={self.of:,})"


class Agreement(_Part):
    """How far raters agree on one question; kappas are None where chance leaves nothing to tell."""

    question: Question
    items: int
    people: int
    fleiss: float | None = None
    """Of the people; Cohen's where there are two."""
    judge: float | None = None
    """Cohen's kappa of the judge with a person, mean over the people."""
    majority: float | None = None
    """Cohen's kappa of the judge with what most people say; items where they are split are left out."""
    by: dict[str, dict[str, tuple[int, float, float | None]]] = {}
    """The same with the majority within each label, and each value of a column: items, share the same, kappa."""
    people_by: dict[str, dict[str, tuple[int, float | None]]] = {}
    """As `fleiss`, within each label and each value of a column: items, kappa."""


class Judgement(_Part):
    """All that is known of the labels."""

    documents: int
    coverage: Share
    judge: dict[str, Share] = {}
    """By the model: accuracy, none (neither label fits), relevance."""
    people: dict[str, Share] = {}
    """The same by people, over all their answers."""
    by: dict[str, dict[str, dict[str, Share]]] = {}
    """Per label, and per value of a column: the shares by the model, or by people where there is no model."""
    agreement: tuple[Agreement, ...] = ()
    runs: dict[str, float] = {}
    """How far the labels of other runs agree: NMI and ARI, means over pairs."""

    def text(self, show: int = 20) -> str:
        """For people."""
        lines = [f"coverage   {self.coverage}"]
        for who, shares in (("the model", self.judge), ("people", self.people)):
            for name, share in shares.items():
                lines.append(f"{name:10} {share}  by {who}")
        for one in self.agreement:
            known = [("people", one.fleiss), ("judge and person", one.judge), ("judge and majority", one.majority)]
            told = ", ".join(f"{name} {value:.3f}" for name, value in known if value is not None)
            lines.append(f"kappa of {one.question} ({one.items:,} items, {one.people} people): {told or 'undefined'}")
            for column, groups in one.by.items():
                for name, (items, same, kappa) in list(groups.items())[:show]:
                    shown = "undefined" if kappa is None else f"{kappa:.3f}"
                    lines.append(f"  {column} {name}: {same:.1%} the same, kappa {shown} (n={items})")
            for column, inside in one.people_by.items():
                for name, (items, kappa) in list(inside.items())[:show]:
                    shown = "undefined" if kappa is None else f"{kappa:.3f}"
                    lines.append(f"  people, {column} {name}: kappa {shown} (n={items})")
        if self.runs:
            lines.append("runs agree: " + ", ".join(f"{name} {value:.3f}" for name, value in self.runs.items()))
        for column, values in self.by.items():
            lines.append(f"per {column}:")
            for name, shares in list(values.items())[:show]:
                parts = ", ".join(f"{key} {share.value:.1%}" for key, share in shares.items())
                lines.append(f"  {name}: {parts} (n={next(iter(shares.values())).of})")
        return "\n".join(lines)


def report(
    items: Sequence[Item],
    *,
    covered: Sequence[bool],
    model: Sequence[Verdict] | None = None,
    people: Sequence[Sequence[Verdict]] = (),
    column: str | None = None,
    runs: Mapping[str, float] | None = None,
) -> Judgement:
    """Sum up.

    Args:
        items: What was judged.
        covered: For each document that was labelled, whether it got a label.
        model: What the model says of each item.
        people: What each person says of each item.
        column: A column of the records, such as the language, by which to split.
        runs: Agreement of runs by name of the measure.
    """
    pooled = [verdict for person in people for verdict in person]
    groups: dict[str, list[str]] = {"label": [item.assigned for item in items]}
    if column is not None:
        groups[column] = [str(item.record.metadata.get(column, "")) for item in items]
    shown = list(model or []) or [verdict for person in people for verdict in person]
    repeat = max(1, len(shown) // max(len(items), 1))
    found: dict[str, dict[str, dict[str, Share]]] = {}
    for name, values in groups.items():
        inside: dict[str, list[Verdict]] = {}
        for value, verdict in zip(values * repeat, shown, strict=False):
            inside.setdefault(value, []).append(verdict)
        order = sorted(inside.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        found[name] = {value: shares for value, verdicts in order if (shares := _shares(verdicts))}
    coverage = Share.of_flags(covered)
    assert coverage is not None
    return Judgement(
        documents=len(covered),
        coverage=coverage,
        judge=_shares(model or ()),
        people=_shares(pooled),
        by={name: values for name, values in found.items() if values},
        agreement=tuple(
            agreement for question in QUESTIONS if (agreement := _agreement(question, items, model, people, groups))
        ),
        runs=dict(runs or {}),
    )


def _shares(verdicts: Sequence[Verdict]) -> dict[str, Share]:
    choices = [verdict.choice for verdict in verdicts if verdict.choice is not None]
    flags = [verdict.relevant for verdict in verdicts if verdict.relevant is not None]
    named = {
        "accuracy": Share.of_flags([choice == "assigned" for choice in choices]),
        "none": Share.of_flags([choice == "none" for choice in choices]),
        "relevance": Share.of_flags(flags),
    }
    return {name: share for name, share in named.items() if share is not None}


def _agreement(
    question: Question,
    items: Sequence[Item],
    model: Sequence[Verdict] | None,
    people: Sequence[Sequence[Verdict]],
    groups: Mapping[str, Sequence[str]],
) -> Agreement | None:
    """None where no two raters answered the same items."""
    answer: Callable[[Item, Verdict], Hashable] = _letter if question == "accuracy" else _flag
    sides = [[answer(item, verdict) for item, verdict in zip(items, side, strict=True)] for side in people]
    judge = [answer(item, verdict) for item, verdict in zip(items, model, strict=True)] if model else None
    asked = [at for at in range(len(items)) if sides and all(side[at] is not None for side in sides)]
    if not asked:
        return None
    fleiss, people_by = None, {}
    if len(sides) > 1:
        fleiss = _among(sides, asked)
        for name, values in groups.items():
            inside = Counter(values[at] for at in asked).most_common()
            people_by[name] = {
                value: (count, _among(sides, [at for at in asked if values[at] == value])) for value, count in inside
            }
    among: dict[str, Any] = {"question": question, "items": len(asked), "people": len(sides)}
    among |= {"fleiss": fleiss, "people_by": people_by}
    if judge is None:
        return None if len(sides) < 2 else Agreement(**among)
    with_judge = [at for at in asked if judge[at] is not None]
    each = [_cohen([judge[at] for at in with_judge], [side[at] for at in with_judge]) for side in sides]
    known = [kappa for kappa in each if kappa is not None]
    most = {at: _majority([side[at] for side in sides]) for at in with_judge}
    clear = [at for at in with_judge if most[at] is not None]
    by = {
        name: {
            str(value): (kappa.items, kappa.same, _number(kappa.kappa))
            for value, kappa in kappa_by(
                [judge[at] for at in clear], [most[at] for at in clear], [values[at] for at in clear]
            ).items()
        }
        for name, values in groups.items()
        if clear
    }
    return Agreement(
        **among,
        judge=float(np.mean(known)) if known else None,
        majority=_cohen([judge[at] for at in clear], [most[at] for at in clear]),
        by=by,
    )


def _letter(item: Item, verdict: Verdict) -> Hashable:
    """A, B or none, as it was said.

    The label that a document carries is nearly always the right one, which would leave nothing for chance; at which
    place it stands was drawn by lot.
    """
    if verdict.choice in (None, "none"):
        return verdict.choice
    return "A" if (verdict.choice == "assigned") == item.assigned_first else "B"


def _flag(_item: Item, verdict: Verdict) -> Hashable:
    return verdict.relevant


def _majority(said: Sequence[Hashable]) -> Hashable:
    """What more than half say; None where they are split."""
    best = max(set(said), key=said.count)
    return best if 2 * said.count(best) > len(said) else None


def _among(sides: Sequence[Sequence[Hashable]], asked: Sequence[int]) -> float | None:
    """Kappa of the people on some items, by their places: Cohen's of two, Fleiss' of more."""
    if len(sides) == 2:
        return _cohen([sides[0][at] for at in asked], [sides[1][at] for at in asked])
    return _number(fleiss_kappa([[side[at] for side in sides] for at in asked]))


def _cohen(one: Sequence[Hashable], two: Sequence[Hashable]) -> float | None:
    return _number(cohen_kappa(one, two)) if one else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
