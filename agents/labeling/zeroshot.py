"""Labels without a language model: each text gets the label whose own text is nearest in an embedding.

A label's own text is its name, its description, its examples; where it has only a name, its parent's
name helps. The labels' vectors are then adapted to the unlabelled texts (`labelspace.agents.labeling.prototypes`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from labelspace.agents.labeling.prototypes import Floats, Prototypes, plain_prototypes, refined_prototypes
from labelspace.embed import Embedder, Vectors, cache_folder, fit_embedder, load_embedder
from labelspace.embed.base import unit_rows
from labelspace.records import Prediction, Record, as_records, set_aside_blank
from labelspace.space import Label, LabelSpace

FITS_NOWHERE = "no label fits"
"""The reason on a prediction for a text that is near no label, where the space has an `other` bucket."""
NOTHING_SHARED = "no word that the embedder knows"
"""The reason on a prediction for a text that has no direction in the embedding."""
ALL_SCORES = 50
"""Scores of every label are given in spaces up to this size; the ten highest in larger ones."""

_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_JOINTS = re.compile(r"[\W_]+")
_EXCLUDED = re.compile(r"[;,(]?\s*\b(?:but )?(?:not (?:for|about|when|including)|excluding|except)\b[^;.)]*\)?")


def speak(name: str) -> str:
    """A label's name as a person says it: `card_lost`, `cardLost` and `card-lost` are "card lost"."""
    return " ".join(_JOINTS.sub(" ", _CASE.sub(" ", name)).split()).lower() or name


def label_texts(label: Label) -> list[tuple[str, float]]:
    """What a label says of itself, as texts to embed with their weights.

    What a description says does not belong ("not for refunds") is left out: an embedding does not
    understand "not".
    """
    name = speak(label.name)
    texts = [(name, 1.0)]
    if description := " ".join(_EXCLUDED.sub("", label.description).split()):
        texts += [(description, 1.0), (f"{name}: {description}", 1.0)]
    elif label.parent:
        texts.append((f"{speak(label.parent)}: {name}", 1.0))
    # One example is worth as much as the name; the mean of many is worth more, the root of their number.
    each = len(label.examples) ** -0.5 if label.examples else 0.0
    return texts + [(example, each) for example in label.examples if example.strip()]


class SimilarityLabeler:
    """Labels texts by similarity to what labels say of themselves. A `Classifier`.

    Only leaves are given. By default it adapts to the texts it labels: to those of `fit_texts`, if that
    was called; otherwise `predict` holds back up to `sample` texts, adapts to them, and streams the rest.
    Labels then depend a little on the other texts, and a sorted file longer than `sample` should go
    through `fit_texts`, which draws at random.

    Confidence is the probability of the label under one rule for all data, tuned on five data sets. With
    descriptions it tends to be a little low, with bare names a little high. In a multi-label space it only ranks.
    """

    def __init__(
        self,
        space: LabelSpace,
        *,
        embedder: str | Embedder = "tfidf",
        adapt: bool = True,
        sample: int = 10_000,
        other_below: float = 0.2,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        """Say what to label with; nothing is loaded yet.

        Args:
            space: The labels.
            embedder: A specification (see `load_embedder`), or an embedder. TF-IDF that is not fitted
                learns its words from the texts and the labels together.
            adapt: Whether to move labels towards the unlabelled texts. Left out where there are more
                labels than texts to learn from.
            sample: The most texts to learn from.
            other_below: Where the space has an `other` bucket, a text abstains if its confidence, over
                what chance gives, is below this: 0 is chance, 1 is surely right.
            batch_size: Texts embedded and compared at once.
            seed: Of the sample that `fit_texts` draws.
        """
        self.space, self.adapt, self.sample, self.seed = space, adapt, sample, seed
        self.other_below, self.batch_size = other_below, batch_size
        self._given = embedder
        self._loaded: Embedder | None = None if isinstance(embedder, str) else embedder
        self._fitted: tuple[Embedder, Prototypes] | None = None
        self._columns = np.array(space.leaves)

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self.space

    def fit_texts(self, texts: Iterable[str | Record]) -> SimilarityLabeler:
        """Learn from unlabelled texts where they lie; later `predict` calls stream from the first text on.

        Reads all texts once and keeps a random `sample` of those that are not blank.
        """
        draw = random.Random(self.seed)
        kept: list[str] = []
        for seen, record in enumerate(record for record in as_records(texts) if not record.is_blank):
            if seen < self.sample:
                kept.append(record.text)
            elif (place := draw.randrange(seen + 1)) < self.sample:
                kept[place] = record.text
        self._fitted = self._learn(kept)[:2]
        return self

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order; blank texts abstain."""
        records = as_records(texts)
        if self._fitted is not None:
            embedder, prototypes = self._fitted
        else:
            held = list(islice(records, self.sample))
            if not held:
                return
            embedder, prototypes, vectors = self._learn([record.text for record in held])
            source = self._source(embedder, prototypes)
            for start in range(0, len(held), self.batch_size):
                part = slice(start, start + self.batch_size)
                yield from self._label(held[part], vectors[part], prototypes, source)
            del held, vectors
        source = self._source(embedder, prototypes)
        while batch := list(islice(records, self.batch_size)):
            yield from self._label(batch, embedder.embed([record.text for record in batch]), prototypes, source)

    # -- learning ----------------------------------------------------------------------------

    def _learn(self, texts: list[str]) -> tuple[Embedder, Prototypes, Vectors]:
        """The embedder, the prototypes, and the vectors of the texts."""
        leaves = [self.space[name] for name in self.space.leaves]
        said = [label_texts(label) for label in leaves]
        flat = [text for own in said for text, _ in own]
        embedder = self._embedder()
        embedder = fit_embedder(embedder, [*flat, *texts])
        spoken = embedder.embed(flat)
        weighted = spoken * np.array([weight for own in said for _, weight in own], np.float32)[:, None]
        starts = np.cumsum([0, *(len(own) for own in said[:-1])])
        labels = unit_rows(np.add.reduceat(weighted, starts, axis=0))
        vectors = embedder.embed(texts)
        told = vectors[np.any(vectors, axis=1)]
        exclusive = not self.space.multi_label and len(labels) > 1
        described = sum(bool(label.description or label.examples) for label in leaves) > len(leaves) / 2
        if self.adapt and exclusive and len(told) >= len(labels):
            return embedder, refined_prototypes(labels, told, described=described), vectors
        known = told if self.adapt else None
        return embedder, plain_prototypes(labels, known, described=described), vectors

    def _embedder(self) -> Embedder:
        if self._given == "tfidf":
            return load_embedder("tfidf")  # a new one, as it learns from the texts at hand
        if self._loaded is None:
            self._loaded = load_embedder(str(self._given), cache=cache_folder())
        return self._loaded

    def _source(self, embedder: Embedder, prototypes: Prototypes) -> dict[str, object]:
        return {
            "model": "none",
            "method": "similarity",
            "embedder": embedder.name,
            "adapted_to": prototypes.texts,
            "space": self.space.version,
        }

    # -- labelling ---------------------------------------------------------------------------

    def _label(
        self, records: list[Record], vectors: Vectors, prototypes: Prototypes, source: dict[str, object]
    ) -> Iterator[Prediction]:
        size = max(1, (1 << 22) // len(self._columns))
        for start in range(0, len(records), size):
            part = slice(start, start + size)
            similarities = prototypes.similarities(vectors[part])
            multi = self.space.multi_label
            chances = prototypes.memberships(similarities) if multi else prototypes.probabilities(similarities)
            known = np.any(vectors[part], axis=1)
            for record, row, is_known in zip(records[part], chances, known, strict=True):
                if record.is_blank:
                    yield set_aside_blank(record, source)
                elif not is_known:
                    yield Prediction(record.id, status="abstained", reason=NOTHING_SHARED, source=source)
                else:
                    yield self._several(record, row, source) if multi else self._one(record, row, source)

    def _one(self, record: Record, row: Floats, source: dict[str, object]) -> Prediction:
        scores = highest(self._columns, row)
        best, confidence = next(iter(scores.items()))
        if self.space.other is not None and len(row) > 1:
            chance = 1 / len(row)
            if (confidence - chance) / (1 - chance) < self.other_below:
                return Prediction(record.id, scores=scores, status="abstained", reason=FITS_NOWHERE, source=source)
        return Prediction(record.id, (best,), scores=scores, confidence=confidence, source=source)

    def _several(self, record: Record, row: Floats, source: dict[str, object]) -> Prediction:
        scores = highest(self._columns, row)
        given = tuple(name for name, score in scores.items() if score > 0.5)
        least = min((scores[name] for name in given), default=1 - next(iter(scores.values())))
        return Prediction(record.id, given, scores=scores, confidence=least, source=source)


def highest(names: np.ndarray[tuple[int, ...], np.dtype[np.str_]], row: Floats) -> dict[str, float]:
    """Scores by name, highest first; in large spaces the ten highest, and all over one half."""
    order = np.argsort(-row, kind="stable")
    if len(row) > ALL_SCORES:
        order = order[: max(10, int((row > 0.5).sum()))]
    return {str(names[at]): float(row[at]) for at in order}
