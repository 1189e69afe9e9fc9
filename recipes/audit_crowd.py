"""What ten workers each say of 800 text pairs (RTE, Snow et al. 2008): consensus 92.9% right, majority 87.5%.

    labelspace run audit_crowd

Prints accuracy against the experts, and the workers that EM trusts most and least:
    majority vote                      0.8750
    Dawid-Skene, as published          0.9275
    Dawid-Skene, half a vote smoothed  0.9287
    with a classifier as annotator     0.9287
    the classifier alone               0.5475
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from labelspace.agents.audit.annotators import collect_votes, dawid_skene, majority
from labelspace.agents.audit.folds import grouped_folds, out_of_sample
from labelspace.agents.audit.neighbours import duplicate_groups
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.finetune.linear import LinearHead


class AuditCrowdConfig(Config):
    """What `labelspace run audit_crowd` reads."""

    data: Path = Path("../shared/data/snow_rte/test.jsonl.gz")
    """Items with `annotations`: a list of worker and label."""
    embedder: str = "tfidf"
    """Of the classifier that votes along."""
    shown: int = 3
    """Workers to show from either end."""


def main(config: AuditCrowdConfig) -> dict[str, float]:
    """Print the accuracy of each consensus."""
    records = list(read_records(config.data, label_column="label"))
    gold = [record.label or "" for record in records]
    names = sorted(set(gold))
    opinions = [[(vote["worker"], vote["label"]) for vote in record.metadata["annotations"]] for record in records]
    votes = collect_votes(opinions, names)
    shares = majority(votes)
    # The classifier learns from the majority, never from the experts.
    texts = [record.text for record in records]
    learned = [(names[at],) for at in shares.argmax(axis=1)]
    fold = grouped_folds(duplicate_groups(texts), learned)
    classifier = out_of_sample(texts, learned, fold, lambda: LinearHead(config.embedder, words=0, C=5.0), names=names)
    aided = dawid_skene(collect_votes(opinions, names, classifier=classifier.astype(np.float64)))
    smoothed = dawid_skene(votes)
    found = {
        "majority vote": [names[at] for at in shares.argmax(axis=1)],
        "Dawid-Skene, as published": dawid_skene(votes, smoothing=0.0).labels,
        "Dawid-Skene, half a vote smoothed": smoothed.labels,
        "with a classifier as annotator": aided.labels,
        "the classifier alone": [names[at] for at in classifier.argmax(axis=1)],
    }
    results = {
        name: float(np.mean([a == b for a, b in zip(given, gold, strict=True)])) for name, given in found.items()
    }
    for name, accuracy in results.items():
        click.echo(f"{name:35}{accuracy:.4f}")
    ranked = sorted(aided.annotators, key=lambda worker: -worker.accuracy)
    for worker in [*ranked[: config.shown], *ranked[-config.shown :]]:
        click.echo(f"  {worker.name:18}{worker.votes:5} votes, {worker.accuracy:.1%} right as estimated")
    return results
