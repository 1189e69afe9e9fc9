"""The combined suspicion finds planted errors better than any single score of confident learning.

    labelspace run audit_planted embedder=FOLDER_OF_ALL_MINILM_L6_V2

Labels of banking77 (77 intents, 9,999 texts) and goemotions (28 emotions, several a text, test part)
are made wrong in 5, 10 and 20% of the texts, by any other label or by one of the three most similar,
with three seeds. Every flagger sees the same out-of-sample scores: five folds of a linear head, near-
duplicates on one side. The best single score is the best of cleanlab's three, adjusted or not, and
for goemotions pooled over labels in four ways, picked with knowledge of the truth.

Prints average precision by setting: mean of the seeds, and the gain with its range.
The constants of `labelspace.agents.audit.suspicion` were chosen on these two sets, so the gains are
not what another data set must show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.folds import grouped_folds, out_of_sample
from labelspace.agents.audit.multilabel import class_quality, pool_quality
from labelspace.agents.audit.neighbours import duplicate_groups, nearest, neighbour_votes
from labelspace.agents.audit.planted import Noise, label_similarity, plant_errors
from labelspace.agents.audit.scores import SCORES, label_quality
from labelspace.agents.audit.suspicion import NEIGHBOUR_TEMPERATURE, suspect
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import cache_folder, fit_embedder, load_embedder
from labelspace.finetune.linear import LinearHead
from labelspace.records import Record

POOLINGS: tuple[Literal["moving_average", "softmin", "mean", "min"], ...] = ("moving_average", "softmin", "mean", "min")


class AuditPlantedConfig(Config):
    """What `labelspace run audit_planted` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Encoder of the texts."""
    sets: dict[str, str] = {"banking77": "train", "goemotions": "test"}  # noqa: RUF012 (pydantic copies it)
    """Data sets and the parts of them."""
    rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Shares of wrong labels."""
    noises: tuple[Noise, ...] = ("uniform", "confusable")
    """How labels are made wrong."""
    seeds: int = 3
    """Repetitions."""
    neighbours: int = 30
    """Nearest texts that vote."""


def main(config: AuditPlantedConfig) -> dict[tuple[str, str, float], list[tuple[float, float]]]:
    """Print average precision of the combined suspicion and of the best single score, by setting."""
    results: dict[tuple[str, str, float], list[tuple[float, float]]] = {}
    click.echo(f"{'data':11}{'noise':12}{'rate':>5}{'combined':>10}{'best single':>13}{'gain':>8}  (mean, range)")
    for name, part in config.sets.items():
        records = _distinct(config.data / name / f"{part}.jsonl.gz")
        embedder = load_embedder(config.embedder, cache=cache_folder())
        texts = [record.text for record in records]
        vectors = fit_embedder(embedder, texts).embed(texts)
        for noise in config.noises:
            for rate in config.rates:
                found = [_measure(records, vectors, (noise, rate, seed), config) for seed in range(config.seeds)]
                results[name, noise, rate] = found
                gains = [ours - theirs for ours, theirs in found]
                ours, theirs = (float(np.mean(column)) for column in zip(*found, strict=True))
                click.echo(
                    f"{name:11}{noise:12}{rate:5.0%}{ours:10.4f}{theirs:13.4f}{np.mean(gains):+8.4f}"
                    f"  ({min(gains):+.4f} to {max(gains):+.4f})"
                )
    return results


class _Known:
    """Looks vectors up that were computed once."""

    name = "known"

    def __init__(self, texts: list[str], vectors: NDArray[np.float32]) -> None:
        self.at, self.vectors = {text: at for at, text in enumerate(texts)}, vectors

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.vectors[[self.at[text] for text in texts]]


def _distinct(path: Path) -> list[Record]:
    first: dict[str, Record] = {}
    for record in read_records(path):
        if not record.is_blank:
            first.setdefault(record.text, record)
    return list(first.values())


def _measure(
    records: list[Record],
    vectors: NDArray[np.float32],
    setting: tuple[Noise, float, int],
    config: AuditPlantedConfig,
) -> tuple[float, float]:
    from sklearn.metrics import average_precision_score

    noise, rate, seed = setting
    texts = [record.text for record in records]
    names = sorted({label for record in records for label in record.labels or ()})
    true = np.array([[label in (record.labels or ()) for label in names] for record in records])
    several = bool((true.sum(axis=1) > 1).any())
    has, wrong = plant_errors(true, rate=rate, noise=noise, similarity=label_similarity(vectors, true), seed=seed)
    labels = [tuple(names[at] for at in np.flatnonzero(row)) for row in has]
    near = nearest(vectors, k=config.neighbours)
    fold = grouped_folds(duplicate_groups(texts, found=near), labels, seed=seed)
    probabilities = out_of_sample(
        texts,
        labels,
        fold,
        lambda: LinearHead(_Known(texts, vectors), words=0, multi_label=several, C=5.0, calibrate=False),
        names=names,
        multi_label=several,
    )
    votes = neighbour_votes(near, has, temperature=NEIGHBOUR_TEMPERATURE)
    combined = suspect(has, probabilities, votes=votes, multi_label=several).scores
    singles = []
    for score in SCORES:
        for adjusted in (False, True) if score != "confidence_weighted_entropy" else (False,):
            if several:
                by_class = class_quality(has, probabilities, score=score, adjusted=adjusted)
                singles += [pool_quality(by_class, pooling=pooling) for pooling in POOLINGS]
            else:
                singles.append(label_quality(has.argmax(axis=1), probabilities, score=score, adjusted=adjusted))
    best = max(float(average_precision_score(wrong, -quality)) for quality in singles)
    return float(average_precision_score(wrong, combined)), best
