"""A label space in use meets new topics: `discover --update` adds them; only what the change affects is asked again.

labelspace run discover_update                    # replays tests/cassettes/discover_update.jsonl
labelspace run discover_update model=URL#NAME     # asks another model
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from labelspace.agents.migrate import Plan, migrate, plan_migration
from labelspace.agents.taxonomy import TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy_changes import Changes
from labelspace.metrics import ari, nmi, wilson
from labelspace.metrics.clusters import one_to_one, partition
from labelspace.recipes._discover_llm import TASKS, Name
from labelspace.recipes._recorded import RecordedConfig, asked, check_recorded, label, labeler, live, read_rows
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

OLD, NEW = 300, 200
UNSEEN: dict[Name, int] = {"clinc150": 2, "bills": 4}
"""Topics, drawn by lot, that no old text is about."""
COMMON = 15
"""An unseen topic has so many texts at least."""
_SHARE = 0.5
"""Of the new texts, at most, that are about unseen topics."""


class DiscoverUpdateConfig(RecordedConfig):
    """What `labelspace run discover_update` reads."""

    cassette: Path = Path("tests/cassettes/discover_update.jsonl")
    """The recorded replies."""
    datasets: tuple[Name, ...] = ("clinc150", "bills")
    """Which to run."""


@dataclass(frozen=True)
class Texts:
    """Old texts, then new ones, with their gold topics."""

    name: Name
    records: list[Record]
    gold: list[str]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    asked: int
    """Texts that were labelled for it."""
    nmi: float
    ari: float
    right: tuple[int, int]
    """Of all texts, and of those of unseen topics: with the label that is paired with their topic."""
    of: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """What came of one data set."""

    old: LabelSpace
    new: LabelSpace
    changes: Changes
    plan: Plan
    rows: dict[str, Row]


def main(config: DiscoverUpdateConfig) -> dict[Name, Found]:
    """Run each data set and print its table and its diff."""
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(partial(update, config), config.datasets))
    return dict(zip(config.datasets, made, strict=True))


def update(config: DiscoverUpdateConfig, name: Name) -> Found:
    """Discover, label, update, migrate; and label all again, to compare."""
    texts, model = draw(config.data, name), asked(config)
    old_texts, new_texts = texts.records[:OLD], texts.records[OLD:]
    old = make_taxonomy(old_texts, settings(name), model=model, engine=live(config)).space
    before = label(config, TASKS[name], old, model, texts.records)
    made = make_taxonomy(new_texts, settings(name), model=model, start=old, reasons=True, engine=live(config))
    assert made.changes is not None
    plan = plan_migration(before, texts.records, made.changes, made.space)
    after = list(migrate(plan, texts.records, labeler(config, TASKS[name], made.space, model)))
    whole = label(config, TASKS[name], made.space, model, texts.records)
    check_recorded([model], config)
    rows = {
        "the old space": measure(texts, before, old, len(texts.records)),
        "updated, what is affected asked again": measure(texts, after, made.space, len(plan.again)),
        "updated, all asked again": measure(texts, whole, made.space, len(texts.records)),
    }
    found = Found(old, made.space, made.changes, plan, rows)
    show(texts, found)
    return found


def draw(data: Path, name: Name) -> Texts:
    """Texts of all topics but the unseen ones, then texts of which at most half are about these."""
    rows = read_rows(data, name, TASKS[name].file)
    topics = [str(row.label if TASKS[name].level == "label" else row.metadata[TASKS[name].level]) for row in rows]
    rng = random.Random(0)
    common = sorted(topic for topic in set(topics) if topics.count(topic) >= COMMON)
    unseen = tuple(sorted(rng.sample(common, UNSEEN[name])))
    order = rng.sample(range(len(rows)), len(rows))
    of_unseen = [place for place in order if topics[place] in unseen][: round(_SHARE * NEW)]
    others = [place for place in order if topics[place] not in unseen]
    new = [*of_unseen, *others[OLD : OLD + NEW - len(of_unseen)]]
    rng.shuffle(new)
    kept = [*others[:OLD], *new]
    plain = [Record(rows[place].id, rows[place].text) for place in kept]
    return Texts(name, plain, [topics[place] for place in kept], unseen)


def settings(name: Name) -> TaxonomySettings:
    """As in `discover_llm`: the beginning and the end of each text."""
    task = TASKS[name]
    return TaxonomySettings(use_case=task.use_case, max_labels=task.max_labels, summarize="never", shown_characters=180)


def measure(texts: Texts, labels: Sequence[Prediction], space: LabelSpace, count: int) -> Row:
    """Agreement with the gold topics; each label is paired with at most one topic, as well as possible."""
    given = [one.label if one.label in space else None for one in labels]
    partner = one_to_one(partition(texts.gold, given), by="rows")
    right = [one is not None and partner.get(one) == gold for one, gold in zip(given, texts.gold, strict=True)]
    unseen = [gold in texts.unseen for gold in texts.gold]
    return Row(
        count,
        nmi(texts.gold, given),
        ari(texts.gold, given),
        (sum(right), sum(hit and new for hit, new in zip(right, unseen, strict=True))),
        (len(right), sum(unseen)),
    )


def show(texts: Texts, found: Found) -> None:
    """Print the table and the diff."""
    new, unseen = len(texts.records) - OLD, ", ".join(texts.unseen)
    lines = [f"{texts.name}: {OLD} old texts, {new} new ones; no old text is about {unseen}"]
    lines.append(f"  {'':38} {'asked':>6} {'NMI':>6} {'ARI':>6}  right, of all          of the unseen topics")
    for title, row in found.rows.items():
        shares = "  ".join(share(hits, of) for hits, of in zip(row.right, row.of, strict=True))
        lines.append(f"  {title:38} {row.asked:6} {row.nmi:6.3f} {row.ari:6.3f}  {shares}")
    kept = [place for place, record in enumerate(texts.records) if record.id in found.plan.kept]
    lines.append(
        f"  {len(found.old.leaves)} labels became {len(found.new.leaves)}; {len(kept)} texts keep their label, "
        f"{found.plan.renamed} of them under a new name"
    )
    lines += [f"  {line}" for line in str(found.changes).splitlines()]
    click.echo("\n".join(lines))


def share(hits: int, of: int) -> str:
    """A share with its interval (Wilson)."""
    low, high = wilson(hits, of)
    return f"{hits / of:.3f} ({low:.3f}-{high:.3f})"
