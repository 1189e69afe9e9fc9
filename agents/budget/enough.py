"""Label until the classifier that learns from the labels has stopped changing, and no further.

Each round labels the texts that the classifier of the round before would learn most from (see `acquire.py`), and
trains it again. Rounds grow by a quarter, so that two classifiers in a row differ by the same share of their texts.
The run stops when they agree on nearly all texts that are not labelled yet (Cohen's kappa; stabilising predictions,
Bloodgood and Vijay-Shanker 2009, who look at a fixed set), or when held-out labels show that nothing is gained any
more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.agents.budget.acquire import Acquisition, choose
from labelspace.agents.taxonomy.sample import diverse_sample
from labelspace.errors import DataError
from labelspace.finetune.decision import softmax
from labelspace.finetune.logistic import fit_logistic, sigmoid
from labelspace.metrics.agreement import cohen_kappa
from labelspace.progress import note
from labelspace.records import Classifier, Prediction, Record

Vectors = npt.NDArray[np.float32]
STRENGTH = 30.0
"""Inverse penalty of the classifier of the rounds, as of the linear head."""


@dataclass(frozen=True)
class Round:
    """What one round of labels brought."""

    labelled: int
    """Texts labelled so far, without the held-out ones."""
    kappa: float | None
    """Agreement of this round's classifier with that of the round before, on the texts that are not labelled yet,
    beyond chance."""
    agreement: float | None
    """Share of held-out texts to which the classifier gives what the labeler gave; None where none are held out."""


@dataclass
class Enough:
    """Labels, and how they came about."""

    labels: dict[str, Prediction] = field(default_factory=dict)
    """By record id, held-out ones too."""
    rounds: list[Round] = field(default_factory=list)
    reason: str = ""
    """Why it stopped."""

    def to_data(self) -> dict[str, Any]:
        """The learning curve and the reason, as plain data."""
        return {"reason": self.reason, "rounds": [asdict(one) for one in self.rounds]}


def label_enough(
    records: Sequence[Record],
    labeler: Classifier,
    embed: Callable[[Sequence[str]], Vectors],
    *,
    held_out: Sequence[Record] = (),
    first: int = 100,
    growth: float = 0.25,
    way: Acquisition = "robust",
    stable: float = 0.998,
    least_gain: float = 0.01,
    patience: int = 4,
    errors: float = 0.03,
    most: int | None = None,
    seed: int = 0,
    shown: bool = True,
) -> Enough:
    """Label some of the records.

    The defaults were chosen by training texts that were held out of banking77 and trec, and clinc150's development
    texts, with labels by people and by an LLM to learn from. They go together: with fewer `errors`, less sure texts are
    drawn, so that classifiers agree on the others sooner.

    Args:
        records: What may be labelled; ids are unique.
        labeler: What labels them; with a journal, a rerun asks nothing twice.
        embed: Texts to rows of length 1 [n, d].
        held_out: Records to label and never learn from, for the learning curve.
        first: Texts of the first round, drawn from all regions of the embeddings.
        growth: Share by which each round adds to the labels.
        way: How texts are chosen.
        stable: Kappa of two classifiers in a row from which on the labels are enough.
        least_gain: Agreement with held-out labels that `patience` rounds must gain.
        patience: Rounds without that gain after which the labels are enough.
        errors: Share of texts that the labeler is expected to get wrong; the fewer, the less sure the texts drawn.
        most: Texts to label at most, held-out ones not counted.
        seed: Of everything random.
        shown: Whether to say what each round brought.

    Raises:
        DataError: The records have no text, or all labels are the same.
    """
    pool = [record for record in records if not record.is_blank]
    if not pool:
        raise DataError("no record has a text to label")
    found = Enough()
    vectors = embed([record.text for record in pool]).astype(np.float64)
    for record, prediction in zip(held_out, labeler.predict(held_out), strict=True):
        found.labels[record.id] = prediction
    judged = [record for record in held_out if _usable(found.labels[record.id], labeler)]
    judged_vectors = embed([record.text for record in judged]).astype(np.float64) if judged else None
    limit = min(len(pool), most or len(pool))
    asked = np.zeros(len(pool), dtype=bool)
    chosen: npt.NDArray[np.intp] = diverse_sample(vectors.astype(np.float32), min(first, limit), seed=seed)
    before: npt.NDArray[np.bool_] | None = None
    while True:
        picked = [pool[at] for at in chosen]
        for record, prediction in zip(picked, labeler.predict(picked), strict=True):
            found.labels[record.id] = prediction
        asked[chosen] = True
        student = _Student(labeler, pool, found.labels, vectors)
        chances = student.chances(vectors)
        given = student.given(chances)
        kappa = None if before is None or asked.all() else kappa_of(before[~asked], given[~asked])
        agreement = None
        if judged_vectors is not None:
            wanted = student.wanted([found.labels[record.id] for record in judged])
            agreement = float((student.given(student.chances(judged_vectors)) == wanted).all(axis=1).mean())
        found.rounds.append(Round(int(asked.sum()), kappa, agreement))
        before = given
        if shown:
            note(_line(found.rounds[-1], len(pool)))
        found.reason = _reason(found.rounds, limit, stable=stable, least_gain=least_gain, patience=patience)
        if found.reason:
            return found
        free = np.flatnonzero(~asked)
        count = min(max(round(growth * asked.sum()), 25), limit - int(asked.sum()))
        draw = seed * 1_000_003 + len(found.rounds)
        chosen = free[choose(chances[free], count, way=way, multi_label=student.several, errors=errors, seed=draw)]


def kappa_of(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Cohen's kappa of two sets of decisions [n, k], one label a text or several; 1 where all are the same label.

    With one label a text, chance and agreement are over texts; with several, over pairs of text and label.
    """
    single = (first.sum(1) == 1).all() and (second.sum(1) == 1).all()
    one, other = (made.argmax(1) if single else made.ravel() for made in (first, second))
    found = cohen_kappa(one.tolist(), other.tolist())
    return 1.0 if np.isnan(found) else found


class _Student:
    """Logistic regression on what is labelled so far."""

    def __init__(
        self,
        labeler: Classifier,
        pool: Sequence[Record],
        labels: dict[str, Prediction],
        vectors: npt.NDArray[np.float64],
    ) -> None:
        space = labeler.label_space
        self.several = space.multi_label
        self.names = [*space.leaves, *filter(None, [space.other])]
        rows = [at for at, record in enumerate(pool) if record.id in labels and _usable(labels[record.id], labeler)]
        made = [labels[pool[at].id] for at in rows]
        targets = self.wanted(made)
        self.seen = np.flatnonzero(targets.any(axis=0))
        if len(self.seen) < (1 if self.several else 2):
            raise DataError(
                f"all of {len(rows)} labelled texts have the same label, so there is nothing to learn",
                advice="check the label space, or label everything",
            )
        weights = np.array([1.0 if one.confidence is None else max(one.confidence, 0.05) for one in made])
        self._weight, self._bias = fit_logistic(
            vectors[rows],
            targets[:, self.seen].astype(np.float64),
            weights=weights,
            C=STRENGTH,
            exclusive=not self.several,
        )

    def wanted(self, predictions: Sequence[Prediction]) -> npt.NDArray[np.bool_]:
        """The labels given, many-hot [n, k]."""
        column = {name: at for at, name in enumerate(self.names)}
        targets = np.zeros((len(predictions), len(self.names)), dtype=bool)
        for row, prediction in enumerate(predictions):
            given = prediction.labels if self.several else prediction.labels[:1]
            targets[row, [column[name] for name in given]] = True
        return targets

    def chances(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probability of each label [n, k]; 0 for those not seen."""
        logits = vectors @ self._weight + self._bias
        chances = np.zeros((len(vectors), len(self.names)))
        if self.several:
            chances[:, self.seen] = sigmoid(logits)
            return chances
        chances[:, self.seen] = softmax(logits)
        return chances

    def given(self, chances: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Decisions, many-hot [n, k]."""
        if self.several:
            return np.asarray(chances >= 0.5)
        given: npt.NDArray[np.bool_] = np.eye(len(self.names), dtype=bool)[chances.argmax(axis=1)]
        return given


def _usable(prediction: Prediction, labeler: Classifier) -> bool:
    return prediction.status == "ok" and bool(prediction.labels or labeler.label_space.multi_label)


def _reason(rounds: list[Round], limit: int, *, stable: float, least_gain: float, patience: int) -> str:
    """Why to stop, or "" to go on."""
    last = rounds[-1]
    if last.kappa is not None and last.kappa >= stable:
        return f"two classifiers in a row agree: kappa {last.kappa:.3f}"
    scores = [one.agreement for one in rounds if one.agreement is not None]
    if len(scores) > patience and max(scores[-patience:]) < max(scores[:-patience]) + least_gain:
        return f"agreement with held-out labels gained less than {least_gain:.0%} in {patience} rounds"
    return "nothing is left to label" if last.labelled >= limit else ""


def _line(one: Round, total: int) -> str:
    parts = [f"{one.labelled:,} of {total:,} texts labelled"]
    if one.kappa is not None:
        parts.append(f"kappa with the round before {one.kappa:.3f} on the others")
    if one.agreement is not None:
        parts.append(f"agrees with {one.agreement:.1%} of held-out labels")
    return ", ".join(parts)
