"""How many labels to flag: where classifier and neighbours name the same other label, against the filters alone.

    labelspace run audit_flags

Labels are planted wrong in 5, 10 and 20% of trec, bills, banking77 and clinc150 (at most 2,000 texts
of each), uniformly and confusably, and audited with TF-IDF as `labelspace audit` does by default. A
classifier this weak makes mistakes of its own, which a filter of confident learning takes for wrong
labels. By the default, as many labels are flagged as the filter flags where the nearest texts are for
the same other label; the rule was chosen on these sets.

Prints (7 minutes on one CPU core), mean of the sets and of both kinds of errors:
    flags by                     wrong  flags for each error  precision  recall     F1
    predicted_neq_given alone       5%                  4.94      0.240   0.969  0.374
    prune_by_noise_rate alone       5%                  2.95      0.370   0.794  0.466
    both alone                      5%                  2.60      0.423   0.770  0.496
    confident_learning alone        5%                  2.49      0.432   0.715  0.484
    default                         5%                  1.31      0.625   0.691  0.628
    predicted_neq_given alone      10%                  2.96      0.372   0.962  0.523
    prune_by_noise_rate alone      10%                  2.00      0.491   0.841  0.594
    both alone                     10%                  1.85      0.524   0.814  0.606
    confident_learning alone       10%                  1.84      0.524   0.757  0.580
    default                        10%                  1.02      0.741   0.693  0.702
    predicted_neq_given alone      20%                  2.03      0.509   0.964  0.656
    prune_by_noise_rate alone      20%                  1.49      0.607   0.835  0.691
    both alone                     20%                  1.41      0.634   0.814  0.697
    confident_learning alone       20%                  1.54      0.588   0.790  0.648
    default                        20%                  0.82      0.820   0.648  0.719
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import click
import numpy as np

from labelspace.agents.audit.filters import Filter
from labelspace.agents.audit.folds import grouped_folds, out_of_sample
from labelspace.agents.audit.neighbours import duplicate_groups, nearest
from labelspace.agents.audit.planted import Noise, label_similarity, plant_errors
from labelspace.agents.audit.run import audit
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import fit_embedder, load_embedder
from labelspace.finetune.linear import LinearHead
from labelspace.records import Record
from labelspace.space import LabelSpace

WAYS: dict[str, tuple[Filter, bool]] = {
    "predicted_neq_given alone": ("predicted_neq_given", True),
    "prune_by_noise_rate alone": ("prune_by_noise_rate", True),
    "both alone": ("both", True),
    "confident_learning alone": ("confident_learning", True),
    "default": ("confident_learning", False),
}


class AuditFlagsConfig(Config):
    """What `labelspace run audit_flags` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets."""
    sets: dict[str, str] = {"trec": "test", "bills": "train", "banking77": "test", "clinc150": "test"}  # noqa: RUF012
    """Data sets and the parts of them."""
    rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Shares of wrong labels."""
    noises: tuple[Noise, ...] = ("uniform", "confusable")
    """How labels are made wrong."""
    most: int = 2_000
    """Texts of each set."""
    seed: int = 0
    """Seed of errors and folds."""


def main(config: AuditFlagsConfig) -> dict[tuple[str, float], tuple[float, float, float]]:
    """Print flags for each error there is, precision and recall, by way and rate."""
    found: dict[tuple[str, float], list[tuple[float, float, float]]] = {}
    for name, part in config.sets.items():
        first: dict[str, Record] = {}
        for record in read_records(config.data / name / f"{part}.jsonl.gz"):
            if not record.is_blank:
                first.setdefault(record.text, record)
        records = list(first.values())[: config.most]
        texts = [record.text for record in records]
        names = sorted({record.label or "" for record in records})
        true = np.array([[record.label == one for one in names] for record in records])
        embedder = fit_embedder(load_embedder("tfidf"), texts)
        vectors = embedder.embed(texts)
        groups = duplicate_groups(texts, found=nearest(vectors, k=30))
        for rate, noise in product(config.rates, config.noises):
            similarity = label_similarity(vectors, true)
            has, wrong = plant_errors(true, rate=rate, noise=noise, similarity=similarity, seed=config.seed)
            labels = [(names[at],) for at in has.argmax(axis=1)]
            noisy = [Record(id=str(at), text=texts[at], labels=given) for at, given in enumerate(labels)]
            scores = out_of_sample(
                texts,
                labels,
                grouped_folds(groups, labels, seed=config.seed),
                lambda: LinearHead("tfidf", C=5.0, calibrate=False, seed=config.seed),
                names=names,
            )
            for way, (chosen, exactly) in WAYS.items():
                flags = audit(
                    noisy, LabelSpace.of(names), embedder=embedder, scores=scores, filter_by=chosen, exactly=exactly
                ).flags
                hits = float((flags & wrong).sum())
                measured = float(flags.sum() / wrong.sum()), hits / max(1, flags.sum()), hits / float(wrong.sum())
                found.setdefault((way, rate), []).append(measured)
    click.echo(f"{'flags by':28}{'wrong':>6}{'flags for each error':>22}{'precision':>11}{'recall':>8}{'F1':>7}")
    results: dict[tuple[str, float], tuple[float, float, float]] = {}
    for (way, rate), rows in found.items():
        number, precision, recall = (float(value) for value in np.mean(rows, axis=0))
        f1 = float(np.mean([2 * p * r / max(p + r, 1e-9) for _, p, r in rows]))
        results[way, rate] = (number, precision, recall)
        click.echo(f"{way:28}{rate:6.0%}{number:22.2f}{precision:11.3f}{recall:8.3f}{f1:7.3f}")
    return results
