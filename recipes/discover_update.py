"""A label space in use meets new topics: `discover --update` adds them; only what the change affects is asked again.

    labelspace run discover_update                    # replays tests/cassettes/discover_update.jsonl
    labelspace run discover_update model=URL#NAME     # asks another model

300 old texts of clinc150 and of bills are about all topics but two (four), drawn by lot; of 200 new texts about half
are about those. A model makes a space of the old texts, labels all texts with it (so what fits nowhere abstains),
updates the space by the new texts alone, and labels again what the update affects. To compare, it labels all texts
again. "Right" counts texts whose label is paired with their gold topic, each label with one topic at most, as well as
possible. The model sees no gold label; of a text it reads what it does in `discover_llm`.

The replies were recorded once, from an LLM that may know these public data sets. On clinc150 the update makes room by
merging two labels and brings the unseen topics from 9% to 75%, asking about 85 of 500 texts; asking about all would
bring 78%, which these intervals don't tell from 75%. On bills little was to be gained: labels of the old space took
most of the unseen topics already, and 25 labels for 20 topics leave much unpaired. There 38 of 498 texts are asked
about, and it ends as asking about all does.

Expected, without any call, in seconds, and below each table the diff with the model's reasons:

                                              asked    NMI    ARI  right, of all          of the unseen topics
    clinc150: 300 old texts, 200 new ones; no old text is about small_talk, work
      the old space                             500  0.873  0.771  0.696 (0.654-0.735)  0.090 (0.048-0.162)
      updated, what is affected asked again      85  0.876  0.794  0.844 (0.810-0.873)  0.750 (0.657-0.825)
      updated, all asked again                  500  0.880  0.802  0.850 (0.816-0.879)  0.780 (0.689-0.850)
      12 labels became 12; 415 texts keep their label, 48 of them under a new name
    bills: 300 old texts, 198 new ones; no old text is about Foreign Trade, Law and Crime, Macroeconomics, Public Lands
      the old space                             498  0.628  0.405  0.568 (0.524-0.611)  0.680 (0.583-0.763)
      updated, what is affected asked again      38  0.642  0.453  0.620 (0.577-0.662)  0.680 (0.583-0.763)
      updated, all asked again                  498  0.637  0.451  0.616 (0.573-0.658)  0.670 (0.573-0.754)
      25 labels became 25; 460 texts keep their label, 66 of them under a new name
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from labelspace.agents.taxonomy.changes import Changes
from labelspace.agents.taxonomy.loop import TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy.migrate import Plan, migrate, plan_migration
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
    check_recorded([model], config.cassette)
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
