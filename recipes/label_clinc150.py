"""Labels without a model and without training text: 150 intents by what their labels say of themselves.

    labelspace run label_clinc150                              # needs the data sets in ../shared/data
    labelspace run label_clinc150 data=FOLDER embedder=st:FOLDER_OF_AN_ENCODER

Reads `clinc150/test.jsonl.gz` (4,500 texts) and the space in `recipes/spaces/clinc150.yaml`: names and
domains of the data set, one-sentence descriptions of ours. The last
row is what `labelspace label` does. "Centred" uses the labels alone; "adapted" has also seen the texts
that it labels, never a gold label. How to adapt, and how sure to be, was settled on other texts (see
`labelspace.agents.labeling.prototypes`); clinc150's dev texts were among them, its test texts were not.

Expected, all-MiniLM-L6-v2, a minute on two cores (accuracy, calibration error), and with embedder=tfidf:
    nearest name, as it is written     65.82%     -       51.93%     -
    nearest name, as it is spoken      68.38%     -       52.44%     -
    names, centred                     68.02%  0.040      52.49%  0.170
    names and domains, centred         69.64%  0.048      52.82%  0.152
    names and descriptions, centred    80.00%  0.053      64.27%  0.074
    names, adapted                     72.93%  0.044      54.04%  0.158
    names and domains, adapted         74.16%  0.034      54.40%  0.154
    names and descriptions, adapted    84.98%  0.070      63.84%  0.118
Adapting gains five points with the encoder and nothing with TF-IDF and descriptions.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from labelspace.agents.labeling.zeroshot import SimilarityLabeler, speak
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import Embedder, cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.metrics import expected_calibration_error
from labelspace.records import Record
from labelspace.space import LabelSpace

HERE = Path(__file__).resolve().parent


class LabelClinc150Config(Config):
    """What `labelspace run label_clinc150` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    split: str = "test"
    """Which texts to label: test, or dev while changing something."""
    space: Path | None = None
    """The label space; None takes `recipes/spaces/clinc150.yaml`."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model by name or folder, tfidf, or http://host/v1#model."""


def main(config: LabelClinc150Config) -> dict[str, float]:
    """Label the texts in every way and print a table; returns accuracy by way."""
    path = config.data / "clinc150" / f"{config.split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    records = list(read_records(path))
    described = LabelSpace.load(config.space or HERE / "spaces" / "clinc150.yaml")
    named = LabelSpace.from_data(
        {"name": "clinc150", "labels": [{"name": label.name, "parent": label.parent} for label in described.labels]}
    )
    flat = LabelSpace.of(described.leaves)
    embedder = load_embedder(config.embedder, cache=cache_folder())
    if config.embedder == "tfidf":  # one vocabulary for all rows
        said = [text for label in described.labels for text in (label.name, speak(label.name), label.description)]
        embedder = load_embedder("tfidf")
        embedder.fit([*said, *(record.text for record in records)])  # type: ignore[attr-defined]
    embedder.embed([record.text for record in records])  # so that the seconds below are those of labelling
    click.echo(f"clinc150 {config.split}: {len(records):,} texts, {len(flat)} labels; {config.embedder}")
    click.echo(f"{'':44} accuracy    ECE  seconds")
    ways = {
        "nearest name, as it is written": list(described.leaves),
        "nearest name, as it is spoken": [speak(name) for name in described.leaves],
    }
    table = {}
    for title, names in ways.items():
        table[title] = nearest(title, names, described.leaves, records, embedder)
    for title, space, adapt in (
        ("names, centred", flat, False),
        ("names and domains, centred", named, False),
        ("names and descriptions, centred", described, False),
        ("names, adapted", flat, True),
        ("names and domains, adapted", named, True),
        ("names and descriptions, adapted", described, True),
    ):
        started = time.perf_counter()
        made = list(SimilarityLabeler(space, embedder=embedder, adapt=adapt).predict(records))
        right = np.array([one.label == record.label for one, record in zip(made, records, strict=True)])
        sure = [one.confidence or 0.0 for one in made]
        table[title] = float(right.mean())
        error = expected_calibration_error(sure, right.tolist())
        click.echo(f"{title:44} {right.mean():8.2%} {error:6.3f} {time.perf_counter() - started:8.1f}")
    plain = table["nearest name, as it is written"]
    click.echo(f"gain over the nearest name: {100 * (table['names and descriptions, adapted'] - plain):.1f} points")
    return table


def nearest(title: str, names: list[str], labels: tuple[str, ...], records: list[Record], embedder: Embedder) -> float:
    """Accuracy of the label whose name has the highest cosine with the text."""
    started = time.perf_counter()
    found = (embedder.embed([record.text for record in records]) @ embedder.embed(names).T).argmax(1)
    right = np.mean([labels[at] == record.label for at, record in zip(found, records, strict=True)])
    click.echo(f"{title:44} {right:8.2%} {'-':>6} {time.perf_counter() - started:8.1f}")
    return float(right)
