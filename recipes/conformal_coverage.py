"""Sets of labels that hold the right one as often as promised: 80, 90, 95% on three label spaces.

    labelspace run conformal_coverage                             # needs the data sets in ../shared/data
    labelspace run conformal_coverage data=FOLDER embedder=st:FOLDER_OF_AN_ENCODER
    labelspace run conformal_coverage report=dev                  # while changing something

A linear head over frozen embeddings is fitted to training texts, everything here is calibrated on dev, and test
is looked at once. clinc150 has one of 150 labels a text; goemotions any of 28; "fifty" is made up on the
spot, with any of 50, that is over 1e15 combinations. `observed` should lie in `expected`, where a valid
procedure lands 95 times in 100: binomial over test texts, and wider since the dev texts are a draw too.
`size` is the median; for combinations of labels, `ms` is for the region, its exact size and its best ten.
"Each label" keeps the promise for every intent by its own 20 dev texts; there clinc150's test texts fall short,
since within an intent they are not exchangeable with its dev texts: dealt anew, they do not. The last table
refuses out-of-scope texts of clinc150, and of known ones at most 5%.

Expected, all-MiniLM-L6-v2, two cores that do other work too, 3 minutes once texts are embedded and 10 before:

                                   promised observed  expected (binomial, + dev draw)    size     ms
    clinc150: lac                       80%   80.20%  0.788 to 0.812   0.781 to 0.818          1   0.00
    clinc150: lac                       90%   89.93%  0.891 to 0.909   0.886 to 0.914          1   0.00
    clinc150: lac                       95%   94.87%  0.944 to 0.956   0.940 to 0.960          1   0.00
    clinc150: aps                       80%   79.22%  0.788 to 0.812   0.781 to 0.818          1   0.02
    clinc150: aps                       90%   89.60%  0.891 to 0.909   0.886 to 0.914          1   0.02
    clinc150: aps                       95%   95.04%  0.944 to 0.956   0.940 to 0.960          1   0.02
    clinc150: raps                      80%   79.22%  0.788 to 0.812   0.781 to 0.818          1   0.02
    clinc150: raps                      90%   89.58%  0.891 to 0.909   0.886 to 0.914          1   0.02
    clinc150: raps                      95%   95.04%  0.944 to 0.956   0.940 to 0.960          1   0.02
    clinc150: lac, each label           80%   78.16%  0.798 to 0.821!  0.791 to 0.828!         1   0.00
    clinc150: lac, each label           90%   88.27%  0.896 to 0.913!  0.891 to 0.918!         1   0.00
    clinc150: lac, each label           95%   93.67%  0.946 to 0.959!  0.943 to 0.962!         2   0.00
      the same, dealt anew              80%   81.60%  0.798 to 0.821   0.791 to 0.828          1   0.00
      the same, dealt anew              90%   91.58%  0.896 to 0.913!  0.891 to 0.918          1   0.00
      the same, dealt anew              95%   95.62%  0.946 to 0.959   0.943 to 0.962          2   0.00
    goemotions: square, 2^28            80%   81.17%  0.789 to 0.811!  0.785 to 0.815         29   0.24
    goemotions: square, 2^28            90%   91.19%  0.892 to 0.908!  0.889 to 0.911!        56   0.28
    goemotions: square, 2^28            95%   95.80%  0.944 to 0.956!  0.942 to 0.958        113   0.35
    goemotions: log, 2^28               80%   81.02%  0.789 to 0.811   0.785 to 0.815         16   0.22
    goemotions: log, 2^28               90%   90.55%  0.892 to 0.908   0.889 to 0.911         42   0.27
    goemotions: log, 2^28               95%   95.47%  0.944 to 0.956   0.942 to 0.958         96   0.29
    fifty: square, 2^50                 80%   80.45%  0.782 to 0.818   0.775 to 0.825        143   2.44
    fifty: square, 2^50                 90%   90.50%  0.886 to 0.913   0.881 to 0.918        817   4.73
    fifty: square, 2^50                 95%   95.70%  0.940 to 0.960   0.936 to 0.963      2,605   2.04
    fifty: log, 2^50                    80%   81.05%  0.782 to 0.818   0.775 to 0.825         82   1.24
    fifty: log, 2^50                    90%   90.60%  0.886 to 0.913   0.881 to 0.918        362   1.11
    fifty: log, 2^50                    95%   95.50%  0.940 to 0.960   0.936 to 0.963      1,221   0.73

    out of scope (clinc150)        known refused  unknown caught    AUROC
    lack of confidence                      5.0%           64.5%    0.939
    distance to 10th neighbour              4.4%           78.1%    0.956
    Mahalanobis distance                    4.3%           66.9%    0.945

Of the lines that promise an average, one is outside its wider interval, by less than 0.1%: goemotions, square, 90%.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click
import numpy as np
import numpy.typing as npt

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.finetune.conformal import ConformalClassifier, coverage_interval
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.open_set import (
    OpenSet,
    auroc,
    lack_of_confidence,
    mahalanobis_distance,
    neighbour_distance,
)
from labelspace.finetune.powerset import PowersetConformal
from labelspace.records import Record

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]


class ConformalCoverageConfig(Config):
    """What `labelspace run conformal_coverage` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model by name or folder, tfidf, or http://host/v1#model."""
    coverages: tuple[float, ...] = (0.8, 0.9, 0.95)
    """What is promised."""
    most_training: int = 10000
    """Training texts of a set, at most; more make smaller sets, not better coverage."""
    report: Literal["test", "dev"] = "test"
    """What coverage is observed on: test, or the second half of dev, calibrated on the first."""
    seed: int = 0
    """Of the made-up texts, the choice of training texts, and folds."""


def main(config: ConformalCoverageConfig) -> dict[str, float]:
    """Calibrate, observe, print; returns the observed coverage by line."""
    click.echo(f"{'':30} promised observed  expected (binomial, + dev draw)    size     ms")
    found: dict[str, float] = {}
    train, dev, test = (read(config, "clinc150", split) for split in ("train", "dev", "test"))
    head = fit(config, train, embedder=config.embedder)
    found |= single_label(config, head, *splits(config, dev, test))
    emotions = [read(config, "goemotions", split) for split in ("train", "dev", "test")]
    found |= combinations(config, "goemotions", *emotions, embedder=config.embedder)
    found |= combinations(config, "fifty", *make_up(config.seed), embedder="tfidf")
    click.echo(f"\n{'out of scope (clinc150)':30} known refused  unknown caught    AUROC")
    unknown = read(config, "clinc150", "oos_test" if config.report == "test" else "oos_dev")
    return found | open_set(head, train, *splits(config, dev, test), unknown)


def single_label(
    config: ConformalCoverageConfig, head: LinearHead, dev: list[Record], test: list[Record]
) -> dict[str, float]:
    """One label a text: each score, and the promise kept for each label."""
    column = {str(name): at for at, name in enumerate(head.classes_)}
    (p, gold), (q, truth) = (
        (head.predict_proba(texts_of(records)), np.array([column[str(record.label)] for record in records], np.intp))
        for records in (dev, test)
    )
    each = ConformalClassifier("lac", by_label=True)
    ways = {
        "clinc150: lac": ConformalClassifier("lac"),
        "clinc150: aps": ConformalClassifier("aps"),
        "clinc150: raps": ConformalClassifier("raps"),
        "clinc150: lac, each label": each,
    }
    found: dict[str, float] = {}
    for way, conformal in ways.items():
        found |= observe(config, way, conformal, (p, gold), (q, truth))
    ours, theirs = deal(np.concatenate([gold, truth]), len(gold), seed=config.seed)
    pool, right = np.concatenate([p, q]), np.concatenate([gold, truth])
    return found | observe(
        config, "  the same, dealt anew", each, (pool[ours], right[ours]), (pool[theirs], right[theirs])
    )


def observe(
    config: ConformalCoverageConfig,
    way: str,
    conformal: ConformalClassifier,
    dev: tuple[Floats, Numbers],
    test: tuple[Floats, Numbers],
) -> dict[str, float]:
    """Calibrate on probabilities and gold of dev, and print one line for each coverage."""
    conformal.calibrate(*dev)
    (q, truth), found = test, dict[str, float]()
    for coverage in config.coverages:
        started = time.perf_counter()
        sets = conformal.sets(q, coverage=coverage)
        spent = time.perf_counter() - started
        hits = sets[np.arange(len(q)), truth]
        rows = np.bincount(dev[1]) if conformal.by_label else len(dev[1])
        found[f"{way} {coverage}"] = line(way, coverage, hits, sets.sum(1).tolist(), spent, calibration=rows)
    return found


def deal(gold: Numbers, first: int, *, seed: int) -> tuple[Numbers, Numbers]:
    """Deal rows anew into `first` and the rest, each label in equal shares."""
    draw = np.random.default_rng(seed)
    place = np.empty(len(gold))
    for label in np.unique(gold):
        own = draw.permutation(np.flatnonzero(gold == label))
        place[own] = np.arange(len(own)) / len(own)
    order = np.argsort(place, kind="stable")
    return order[:first], order[first:]


def combinations(
    config: ConformalCoverageConfig,
    name: str,
    train: list[Record],
    dev: list[Record],
    test: list[Record],
    *,
    embedder: str,
) -> dict[str, float]:
    """Any number of labels a text: regions of combinations."""
    head = fit(config, train, embedder=embedder)
    (p, gold), (q, truth) = (
        (head.predict_proba(texts_of(records)), many_hot(head, records)) for records in splits(config, dev, test)
    )
    found = {}
    for cost in ("square", "log"):
        conformal = PowersetConformal(cost).calibrate(p, gold)
        for coverage in config.coverages:
            started = time.perf_counter()
            regions = list(conformal.regions(q, coverage=coverage))
            sizes = [region.size for region in regions]
            best = [region.top(10) for region in regions]
            spent = time.perf_counter() - started
            hits = np.array([right in region for right, region in zip(truth, regions, strict=True)])
            way = f"{name}: {cost}, 2^{len(best[0][0]) if best[0] else truth.shape[1]}"
            found[f"{way} {coverage}"] = line(way, coverage, hits, sizes, spent, calibration=len(p))
    return found


def open_set(
    head: LinearHead, train: list[Record], dev: list[Record], test: list[Record], unknown: list[Record]
) -> dict[str, float]:
    """Out-of-scope texts: what each score catches where 5% of known texts may be refused."""
    embed = head.fitted_embedder.embed
    known, labels = embed(texts_of(train)), [str(record.label) for record in train]
    scores: dict[str, Callable[[list[Record]], Doubles]] = {
        "lack of confidence": lambda rows: lack_of_confidence(head.predict_proba(texts_of(rows))),
        "distance to 10th neighbour": lambda rows: neighbour_distance(known, embed(texts_of(rows))),
        "Mahalanobis distance": lambda rows: mahalanobis_distance(known, labels, embed(texts_of(rows))),
    }
    found = {}
    for name, score in scores.items():
        ours, theirs = score(test), score(unknown)
        gate = OpenSet().calibrate(score(dev))
        refused, caught = (gate.refuse(values, wrongly=0.05).mean() for values in (ours, theirs))
        click.echo(f"{name:30} {refused:13.1%} {caught:15.1%} {auroc(ours, theirs):8.3f}")
        found[f"out of scope: {name}"] = float(caught)
    return found


def line(
    way: str,
    coverage: float,
    hits: Flags,
    sizes: Sequence[int],
    seconds: float,
    *,
    calibration: int | Numbers,
) -> float:
    """Print what was promised and what came; returns the observed coverage.

    With many small groups of calibration rows, what is promised is the next higher share that each can give.
    """
    observed = float(hits.mean())
    if isinstance(calibration, int):
        intervals = [coverage_interval(coverage, calibration=n, test=len(hits)) for n in (None, calibration)]
    else:
        ranks = np.ceil((calibration + 1) * coverage - 1e-9)
        promised = np.where(ranks > calibration, 1, ranks / (calibration + 1)).mean()
        parts = (1 / len(hits), 1 / len(hits) + 1 / calibration.sum())
        halves = [1.96 * float(np.sqrt(promised * (1 - promised) * part)) for part in parts]
        intervals = [(promised - half, min(promised + half, 1.0)) for half in halves]
    shown = [f"{low:.3f} to {high:.3f}{' ' if low <= observed <= high else '!'}" for low, high in intervals]
    middle = sorted(sizes)[len(sizes) // 2]
    spent = 1000 * seconds / len(hits)
    click.echo(f"{way:30} {coverage:8.0%} {observed:8.2%}  {'  '.join(shown)} {middle:9,} {spent:6.2f}")
    return observed


def fit(config: ConformalCoverageConfig, train: list[Record], *, embedder: str) -> LinearHead:
    """Train a linear head on at most so many texts."""
    order = np.random.default_rng(config.seed).permutation(len(train))[: config.most_training]
    rows = [train[at] for at in np.sort(order)]
    several = any(len(record.labels or ()) != 1 for record in train)
    head = LinearHead(
        embedder if embedder == "tfidf" else load_embedder(embedder, cache=cache_folder()),
        multi_label=several,
        words=0,
        seed=config.seed,
    )
    return head.fit(texts_of(rows), [record.labels or () if several else str(record.label) for record in rows])


def make_up(seed: int) -> tuple[list[Record], list[Record], list[Record]]:
    """Texts with any of 50 labels: words that mostly give a label away, in groups that come together, and noise."""
    draw = np.random.default_rng(seed)
    records = []
    for number in range(6000):
        group = draw.integers(0, 10)
        chance = np.where(np.arange(50) // 5 == group, 0.35, 0.01)
        labels = np.flatnonzero(draw.random(50) < chance)
        hints = [f"word{label}x{draw.integers(0, 4)}" for label in labels if draw.random() < 0.85]
        noise = [f"word{draw.integers(0, 50)}x{draw.integers(0, 4)}" for _ in range(draw.integers(0, 3))]
        filler = [f"filler{draw.integers(0, 200)}" for _ in range(draw.integers(3, 12))]
        words = draw.permutation([*hints, *noise, *filler])
        records.append(Record(str(number), " ".join(words), labels=tuple(f"label {at}" for at in labels)))
    return records[:2000], records[2000:4000], records[4000:]


def read(config: ConformalCoverageConfig, name: str, split: str) -> list[Record]:
    """Records of a split."""
    path = config.data / name / f"{split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    return list(read_records(path))


def splits(config: ConformalCoverageConfig, dev: list[Record], test: list[Record]) -> tuple[list[Record], list[Record]]:
    """What to calibrate on and what to observe."""
    if config.report == "test":
        return dev, test
    order = np.random.default_rng(config.seed).permutation(len(dev))
    half = len(dev) // 2
    return [dev[at] for at in order[:half]], [dev[at] for at in order[half:]]


def texts_of(records: Sequence[Record]) -> list[str]:
    """The texts of records."""
    return [record.text for record in records]


def many_hot(head: LinearHead, records: Sequence[Record]) -> Flags:
    """Gold labels [n, k] in the order of the head's columns."""
    column = {str(name): at for at, name in enumerate(head.classes_)}
    found = np.zeros((len(records), len(column)), dtype=bool)
    for row, record in enumerate(records):
        found[row, [column[name] for name in record.labels or ()]] = True
    return found
