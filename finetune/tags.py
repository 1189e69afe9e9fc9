"""Tags of words in the BIO scheme: spans, strict scores, repair, and decoding that keeps to the scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelspace.errors import DataError

OUTSIDE = "O"
Span = tuple[str, int, int]
"""Type, first word, one past the last word."""


def check_tags(tags: Sequence[str]) -> None:
    """Refuse tags that are not of the scheme.

    Raises:
        DataError: A tag is none of O, B-type and I-type.
    """
    wrong = sorted({tag for tag in tags if tag != OUTSIDE and (tag[:2] not in ("B-", "I-") or len(tag) < 3)})
    if wrong:
        raise DataError(
            f"{', '.join(map(repr, wrong[:3]))} is no tag of the BIO scheme",
            advice="tags are O, B-type and I-type; convert others first",
        )


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Spans of a sentence, read strictly: one starts at B-x and goes on over I-x of the same type.

    An I-x that follows anything else belongs to no span, as in seqeval's strict IOB2 mode.
    """
    found: list[Span] = []
    start: int | None = None
    for position, tag in enumerate([*tags, OUTSIDE]):
        if start is not None and tag != f"I-{tags[start][2:]}":
            found.append((tags[start][2:], start, position))
            start = None
        if tag.startswith("B-"):
            start = position
    return found


def repair(tags: Sequence[str]) -> list[str]:
    """Make each I-x that continues nothing a B-x, as the CoNLL script reads it."""
    mended: list[str] = []
    for tag in tags:
        before = mended[-1][2:] if mended and mended[-1] != OUTSIDE else None
        mended.append(f"B-{tag[2:]}" if tag.startswith("I-") and before != tag[2:] else tag)
    return mended


@dataclass(frozen=True, slots=True)
class SpanScore:
    """Counts of spans, and what follows from them; a ratio over nothing is 0."""

    right: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted spans that are right."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold spans that were found."""
        return self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.right / (self.predicted + self.gold) if self.predicted + self.gold else 0.0


def span_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, SpanScore]:
    """Score predicted tags by spans: right are those whose type, start and end are all right.

    Args:
        gold: Tags of each sentence.
        predicted: Tags of the same words; O for a word that the model never saw.

    Returns:
        Scores by type, sorted; `micro` for all together.

    Raises:
        DataError: A sentence has another number of tags than words.
    """
    if len(gold) != len(predicted):
        raise DataError(f"there are {len(gold)} sentences but predictions for {len(predicted)}")
    counts: dict[str, list[int]] = {}
    for number, (truth, guess) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(truth) != len(guess):
            raise DataError(f"sentence {number} has {len(truth)} words but {len(guess)} predicted tags")
        true_spans, guessed = set(spans_of(truth)), set(spans_of(guess))
        for column, spans in enumerate((true_spans & guessed, guessed, true_spans)):
            for kind, _, _ in spans:
                counts.setdefault(kind, [0, 0, 0])[column] += 1
    scores = {kind: SpanScore(*counts[kind]) for kind in sorted(counts)}
    totals = np.array(list(counts.values()), dtype=int).reshape(-1, 3).sum(axis=0)
    return {**scores, "micro": SpanScore(*map(int, totals))}


def allowed_steps(tags: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether one tag may follow another: [k + 1, k], the last row for the start of a sentence."""
    kinds = [None if tag == OUTSIDE else tag[2:] for tag in tags]
    rows = [[not tag.startswith("I-") or before == tag[2:] for tag in tags] for before in [*kinds, None]]
    return np.array(rows, dtype=bool)


def decode(scores: npt.NDArray[np.floating], tags: Sequence[str]) -> list[str]:
    """The likeliest sequence of tags that keeps to the scheme (Viterbi).

    Args:
        scores: [words, k] log-probabilities, or logits: a constant added to a row changes nothing.
        tags: Name of each column.
    """
    if not len(scores):
        return []
    allowed = np.where(allowed_steps(tags), 0.0, -np.inf)
    reached = scores[0] + allowed[-1]
    came_from: list[npt.NDArray[np.intp]] = []
    for row in scores[1:]:
        paths = reached[:, None] + allowed[:-1]
        came_from.append(paths.argmax(axis=0))
        reached = paths.max(axis=0) + row
    path = [int(reached.argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return [tags[number] for number in reversed(path)]
