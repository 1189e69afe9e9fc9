"""One prototype vector for each label, started from what its text says and moved towards the texts near it.

Texts and labels lie apart in an embedding (a question is not a label's name), and a name is often a
little beside what it stands for. Both are mended with unlabelled texts alone: each side is centred on
its own mean, and an EM loop over a mixture of directions, one component a label, moves each prototype
from its label's text to the texts that it attracts. Soft k-means seeded with class names is old;
what keeps it from going astray here:

- a prototype stays tied to its label's text, as by `TIE` texts there, and by more where there are many
  texts a label, so that a label that no text has is not dragged off by its neighbours' texts;
- classes need not be balanced: the mixture has weights, and each label's logit gets `BALANCE` times the
  logarithm of its weight (1 is plain EM, where small labels starve; 0 takes all labels as equally common,
  where absent ones steal);
- sharpness is set in units of the spread of the similarities, so that it fits any embedder.

The constants were chosen on five data sets (clinc150 dev, banking77, TREC and bills train, metatool
dev), each whole, with Zipf-distributed labels, with a third of its labels, and with 200 texts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from labelspace.embed.base import Vectors, unit_rows

Floats = npt.NDArray[np.float32]

SHARPNESS = 3.5
"""Of the assignment in EM, divided by the standard deviation of the similarities."""
TIE = 10.0
"""Texts that a label's own text counts for."""
TIE_SHARE = 0.2
"""The same, as a share of the texts that there are for each label."""
BALANCE = 0.6
"""How far frequent labels are preferred."""
ROUNDS = 15
SURE_REFINED, SURE_PLAIN = (4.0, 1.5), (5.0, 2.5)
"""Sharpness of probabilities is a + b log(labels), of similarities as they are: what is near enough to be
sure differs less between embedders and data than how widely all similarities spread. Refined prototypes
lie nearer to the texts, so that a given margin says less."""
SURE_DESCRIBED = 1.0
"""Added to a where labels say more of themselves than a name."""
SHRINK = 20
"""Means over few texts are drawn to what is known without them, as by so many texts."""
LEAST_SPREAD = 0.02
_FEW = 1000
"""Labels that the spread among labels is measured on; it only matters where there are few texts."""
_CELLS = 1 << 22
"""Similarities held at once while refining (16 MiB)."""


@dataclass(frozen=True)
class Prototypes:
    """Where texts and labels meet: apply `similarities`, then `probabilities` or `memberships`."""

    vectors: Floats
    """Unit rows, one for each label [k, d]."""
    centre: Floats
    """Mean of the texts [d]."""
    bias: Floats
    """What is added to each label's similarity [k]; 0 where nothing was learnt from texts."""
    spread: float
    """Standard deviation of the similarities of texts and labels: their unit."""
    usual: Floats
    """Mean and standard deviation of the similarities of each label [2, k]."""
    texts: int
    """How many texts it learnt from."""
    sureness: tuple[float, float]
    """Sharpness of probabilities; see `SURE_PLAIN`."""

    def similarities(self, vectors: Vectors) -> Floats:
        """Similarity of texts [n, d] and labels [n, k], centred; higher is nearer."""
        found: Floats = unit_rows(vectors - self.centre) @ self.vectors.T + self.bias
        return found

    def probabilities(self, similarities: Floats) -> Floats:
        """Probability of each label [n, k] where a text has exactly one."""
        constant, slope = self.sureness
        return softmax(similarities * np.float32(constant + slope * np.log(similarities.shape[1])))

    def memberships(self, similarities: Floats) -> Floats:
        """How likely each label applies [n, k] where a text can have several or none; over 0.5 is yes.

        A label applies where its similarity stands out twice, among what the label has with other
        texts and among what the text has with other labels, by more than the highest of as many
        labels would by chance.
        """
        labels = similarities.shape[1]
        outstanding = (similarities - self.usual[0]) / self.usual[1]
        if labels > 2:
            outstanding -= outstanding.mean(1, keepdims=True)
            outstanding /= np.maximum(outstanding.std(1, keepdims=True), 1e-6)
        threshold = NormalDist().inv_cdf(1 - 1 / max(labels, 3))
        likely: Floats = (1 / (1 + np.exp(-2 * (outstanding - threshold)))).astype(np.float32)
        return likely


def plain_prototypes(labels: Vectors, texts: Vectors | None = None, *, described: bool = False) -> Prototypes:
    """Centre labels [k, d] and texts [n, d], and move no prototype.

    Args:
        labels: Vector of what each label says of itself.
        texts: Vectors of unlabelled texts to learn means and spreads from.
        described: Whether labels say more than a name.
    """
    own = labels.mean(0) if len(labels) > 1 else np.zeros(labels.shape[1], np.float32)
    vectors = unit_rows(labels - own)
    known = texts if texts is not None else labels[:0]
    centre = (known.sum(0) + SHRINK * own) / (len(known) + SHRINK)
    among = vectors[:_FEW] @ vectors[:_FEW].T
    spread = float(among[~np.eye(len(among), dtype=bool)].std()) if len(labels) > 2 else 0.1
    usual = np.stack([np.zeros(len(labels)), np.full(len(labels), max(spread, LEAST_SPREAD))]).astype(np.float32)
    count = len(known)
    if count:
        total, squares = np.zeros(len(labels)), np.zeros(len(labels))
        for rows in _chunks(known, len(labels)):
            found = unit_rows(rows - centre) @ vectors.T
            total += found.sum(0, dtype=np.float64)
            squares += np.square(found, dtype=np.float64).sum(0)
        overall = total.sum() / (count * len(labels))
        variance = squares.sum() / (count * len(labels)) - overall**2
        mean = (total + SHRINK * overall) / (count + SHRINK)
        each = (squares - 2 * mean * total + count * mean**2 + SHRINK * variance) / (count + SHRINK)
        spread = float((count * np.sqrt(max(variance, 0)) + SHRINK * spread) / (count + SHRINK))
        usual = np.stack([mean, np.sqrt(np.maximum(each, LEAST_SPREAD**2))]).astype(np.float32)
    unit = max(spread, LEAST_SPREAD)
    no_bias = np.zeros(len(labels), np.float32)
    sureness = SURE_PLAIN[0] + SURE_DESCRIBED * described, SURE_PLAIN[1]
    return Prototypes(vectors, centre.astype(np.float32), no_bias, unit, usual, count, sureness)


def refined_prototypes(labels: Vectors, texts: Vectors, *, described: bool = False) -> Prototypes:
    """Move prototypes from their labels' texts [k, d] to the unlabelled texts [n, d] that they attract.

    Args:
        labels: Vector of what each label says of itself.
        texts: Vectors of the texts.
        described: Whether labels say more than a name.
    """
    start = plain_prototypes(labels, texts)
    sharpness = SHARPNESS / start.spread
    tie = TIE + TIE_SHARE * len(texts) / len(labels)
    vectors, bias = start.vectors, start.bias
    for _ in range(ROUNDS):
        pulled = np.zeros_like(vectors)
        mass = np.zeros(len(labels), np.float32)
        for rows in _chunks(texts, len(labels)):
            centred = unit_rows(rows - start.centre)
            share = softmax(sharpness * (centred @ vectors.T + bias))
            pulled += share.T @ centred
            mass += share.sum(0)
        vectors = unit_rows(tie * start.vectors + pulled)
        bias = (BALANCE / sharpness * np.log((mass + 1) / (mass + 1).mean())).astype(np.float32)
    sureness = SURE_REFINED[0] + SURE_DESCRIBED * described, SURE_REFINED[1]
    return Prototypes(vectors, start.centre, bias, start.spread, start.usual, len(texts), sureness)


def softmax(logits: Floats) -> Floats:
    """Rows of logits [n, k] as probabilities."""
    raised = np.exp(logits - logits.max(1, keepdims=True))
    scaled: Floats = raised / raised.sum(1, keepdims=True)
    return scaled


def _chunks(rows: Vectors, labels: int) -> list[Vectors]:
    size = max(1, _CELLS // labels)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
