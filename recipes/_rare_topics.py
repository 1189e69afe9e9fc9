"""Texts of many kinds among which some topics are rare, composed of the shared data sets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelspace.recipes._recorded import read_rows
from labelspace.records import Record

Mixture = Literal["dev", "test"]
SHARES = (0.0005, 0.0002)
"""Of all texts, those of each rare topic: half of the topics have one share, half the other."""
TOPICS = 40
_SPLITS = {
    "clinc150": ("train", "dev", "test"),
    "banking77": ("train", "test"),
    "goemotions": ("train", "dev", "test"),
    "metatool": ("train", "dev", "test"),
    "trec": ("train", "test"),
}
_RARE: dict[Mixture, str] = {"dev": "banking77", "test": "clinc150"}
"""Where the rare topics of each mixture come from: the other mixture has all topics of that set, whole."""
_COMMON: dict[Mixture, str] = {"dev": "clinc150", "test": "banking77"}
_TOPIC: dict[str, Callable[[Record], str]] = {
    "goemotions": lambda row: (row.labels or ("neutral",))[0],
    "metatool": lambda row: str(row.metadata["tools"][0]),
    "trec": lambda row: str(row.metadata["fine"]),
}


@dataclass(frozen=True)
class Texts:
    """Different texts in random order, and the topic of each."""

    texts: list[str]
    topics: list[str]
    rare: dict[str, int]
    """How many texts each rare topic has."""

    def seen(self, drawn: list[int], size: int, least: int = 1) -> float:
        """Of the rare topics with so many texts, the share that has so many among the places drawn, at least."""
        found = Counter(self.topics[place] for place in drawn)
        hits = [found[topic] >= least for topic, count in self.rare.items() if count == size]
        return sum(hits) / len(hits)

    @property
    def sizes(self) -> list[int]:
        """How many texts rare topics have, the more first."""
        return sorted(set(self.rare.values()), reverse=True)


def compose(data: Path, which: Mixture, rows: int) -> Texts:
    """A mixture of about half comments that nobody could sort (goemotions), and requests and questions of many topics.

    Where the sets have fewer texts than `rows`, the mixture has all there are.
    """
    rng = random.Random(0)
    rare_from = _by_topic(data, _RARE[which])
    sizes = [max(3, round(share * rows)) for share in SHARES]
    names = sorted(name for name, texts in rare_from.items() if len(texts) >= max(sizes))
    drawn = rng.sample(names, min(TOPICS, len(names)))
    rare = {name: sizes[turn % len(sizes)] for turn, name in enumerate(drawn)}
    found = {text: name for name in drawn for text in rng.sample(rare_from[name], rare[name])}
    others = {
        text: name
        for source in ("goemotions", "metatool", "trec", _COMMON[which])
        for name, texts in _by_topic(data, source).items()
        for text in texts
        if text not in found
    }
    # Where these are too few, common topics of the set that the rare ones are from.
    fill = {text: name for name in sorted(rare_from) if name not in rare for text in rare_from[name]}
    fill = {text: name for text, name in fill.items() if text not in others}
    wanted = rows - len(found)
    if len(others) < wanted:
        others |= {text: fill[text] for text in rng.sample(sorted(fill), min(len(fill), wanted - len(others)))}
    found |= {text: others[text] for text in rng.sample(sorted(others), min(len(others), wanted))}
    order = rng.sample(sorted(found), len(found))
    return Texts(order, [found[text] for text in order], rare)


def _label(row: Record) -> str:
    return str(row.label)


def _by_topic(data: Path, name: str) -> dict[str, list[str]]:
    """Different texts of a data set by topic."""
    topic_of = _TOPIC.get(name, _label)
    found: dict[str, str] = {}
    for split in _SPLITS[name]:
        for row in read_rows(data, name, split):
            if row.text.strip():
                found.setdefault(row.text.strip(), f"{name}: {topic_of(row)}")
    by_topic: dict[str, list[str]] = {}
    for text in sorted(found):
        by_topic.setdefault(found[text], []).append(text)
    return by_topic
