"""What repair does to a model: trained on labels as they are, filtered, flipped, weighted, and on random controls.

    labelspace run audit_repair

TREC questions (6 labels); a share of the training and of the test labels is made wrong. The audit sees
the training labels only. Controls drop or flip as many records, drawn at random. Accuracy is against
the corrected test labels and against the wrong ones as well, as a benchmark that nobody checked has them.

Prints (15 s on one CPU core); 788 labels are flagged, 89.2% of them rightly, and 64.5% of the errors:
    trained on                  records  corrected test  original test
    labels as they are            5,452           0.790          0.628
    flagged filtered              4,664           0.808          0.656
    as many at random filtered    4,664           0.794          0.646
    flagged flipped               5,452           0.814          0.656
    as many at random flipped     5,452           0.802          0.658
    flagged weighted              5,452           0.808          0.656
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from labelspace.agents.audit.planted import plant_errors
from labelspace.agents.audit.result import Audit
from labelspace.agents.audit.run import audit
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import cache_folder, fit_embedder, load_embedder
from labelspace.finetune.linear import LinearHead
from labelspace.records import Record
from labelspace.space import LabelSpace


class AuditRepairConfig(Config):
    """What `labelspace run audit_repair` reads."""

    data: Path = Path("../shared/data/trec")
    """Folder with train.jsonl.gz and test.jsonl.gz."""
    embedder: str = "tfidf"
    """Encoder of the texts."""
    rate: float = 0.2
    """Share of wrong labels."""
    seed: int = 0
    """Seed of errors and controls."""


def main(config: AuditRepairConfig) -> dict[str, tuple[float, float]]:
    """Print accuracy on corrected and on original test labels for each training set."""
    train = [record for record in read_records(config.data / "train.jsonl.gz") if not record.is_blank]
    test = list(read_records(config.data / "test.jsonl.gz"))
    names = sorted({record.label or "" for record in train})
    given, wrong = _spoil(train, names, config.rate, config.seed)
    shown, _ = _spoil(test, names, config.rate, config.seed + 1)
    embedder = load_embedder(config.embedder, cache=cache_folder())
    embedder = fit_embedder(embedder, [record.text for record in train])
    noisy = [
        Record(id=str(at), text=record.text, labels=(label,))
        for at, (record, label) in enumerate(zip(train, given, strict=True))
    ]
    found = audit(
        noisy,
        LabelSpace.of(names),
        embedder=embedder,
        make_head=lambda: LinearHead(embedder, words=0, C=5.0, calibrate=False),
        seed=config.seed,
    )
    flags = found.flags
    click.echo(
        f"{wrong.mean():.0%} of {len(train):,} training labels are wrong; {flags.sum():,} are flagged, "
        f"{wrong[flags].mean():.1%} of them rightly, and {flags[wrong].mean():.1%} of the errors"
    )
    results: dict[str, tuple[float, float]] = {}
    truth, texts = [record.label or "" for record in test], [record.text for record in test]
    click.echo(f"{'trained on':26}{'records':>9}{'corrected test':>16}{'original test':>15}")
    for name, (kept, labels, weights) in _variants(found, given, flags, names, config.seed).items():
        head = LinearHead(embedder, words=0, C=5.0, calibrate=False)
        head.fit([train[at].text for at in kept], [labels[at] for at in kept], weights[kept].tolist())
        said = np.array(head.predict(texts), object)
        results[name] = float(np.mean(said == np.array(truth, object))), float(np.mean(said == np.array(shown, object)))
        click.echo(f"{name:26}{len(kept):9,}{results[name][0]:16.3f}{results[name][1]:15.3f}")
    return results


def _spoil(records: list[Record], names: list[str], rate: float, seed: int) -> tuple[list[str], NDArray[np.bool_]]:
    has = np.array([[record.label == name for name in names] for record in records])
    after, wrong = plant_errors(has, rate=rate, seed=seed)
    return [names[at] for at in after.argmax(axis=1)], wrong


def _variants(
    found: Audit, given: list[str], flags: NDArray[np.bool_], names: list[str], seed: int
) -> dict[str, tuple[NDArray[np.int64], list[str], NDArray[np.float64]]]:
    generator = np.random.default_rng(seed)
    everything, ones = np.arange(len(given)), np.ones(len(given))
    drawn = np.zeros(len(given), bool)
    drawn[generator.choice(len(given), flags.sum(), replace=False)] = True
    flipped = [found.suggestion(at)[0] if flags[at] else label for at, label in enumerate(given)]
    shuffled = [str(generator.choice(names)) if drawn[at] else label for at, label in enumerate(given)]
    doubt = np.where(flags, 1 - found.suspicion.scores, 1.0)
    return {
        "labels as they are": (everything, given, ones),
        "flagged filtered": (np.flatnonzero(~flags), given, ones),
        "as many at random filtered": (np.flatnonzero(~drawn), given, ones),
        "flagged flipped": (everything, flipped, ones),
        "as many at random flipped": (everything, shuffled, ones),
        "flagged weighted": (everything, given, doubt),
    }
