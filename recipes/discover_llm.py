"""A language model's taxonomy sorts texts more as people do than clusters do, named by a model or not.

labelspace run discover_llm                    # replays tests/cassettes/discover_llm.jsonl; needs ../shared/data
labelspace run discover_llm model=URL#NAME     # asks another model

"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from labelspace.agents.cluster import discover_clusters
from labelspace.agents.labeler import Labeler
from labelspace.agents.naming_model import ModelNamer
from labelspace.agents.taxonomy import Taxonomy, TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy_judge import Item, Verdict, draw_items, judge_items
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.embed import cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.llm import ChatModel, connect
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics import ari, cohen_kappa, evaluate, matched_tree_distance, nmi, one_to_one_f1, wilson
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace

Name = Literal["clinc150", "bills", "ai_arxiv"]


@dataclass(frozen=True)
class Task:
    """What a user of a data set would say, and how the replies are kept few."""

    file: str
    documents: int
    use_case: str
    max_labels: int
    labelled: int
    """Documents that are labelled."""
    together: int
    """Documents in a request of labeling."""
    level: str = ""
    """Where the gold label stands: "label" or another column; "" where there is none."""
    below: str = ""
    """The gold level below it, for the distance in the tree."""
    max_chars: int = 240
    """Of a document that is labelled or judged."""
    candidates: int = 3
    """Taxonomies that one is chosen from."""
    seeds: int = 1
    """Runs of the whole, whose labels are compared; the later ones make one taxonomy each."""


TASKS: dict[Name, Task] = {
    "clinc150": Task(
        file="train",
        documents=400,
        use_case="Hand each request to a voice assistant to the one of about ten teams that looks after its area.",
        max_labels=12,
        labelled=400,
        together=20,
        level="domain",
        below="label",
        seeds=2,
    ),
    "bills": Task(
        file="train",
        documents=500,
        use_case="File bills of the US Congress by policy area, as a library of legislation does.",
        max_labels=25,
        labelled=500,
        together=25,
        level="label",
        below="sublabel",
    ),
    "ai_arxiv": Task(
        file="corpus",
        documents=400,
        use_case="Show in a yearly overview which problems researchers in artificial intelligence work on.",
        max_labels=20,
        labelled=100,
        together=25,
        candidates=1,
    ),
}


class DiscoverLlmConfig(Config):
    """What `labelspace run discover_llm` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    cassette: Path = Path("tests/cassettes/discover_llm.jsonl")
    """The recorded replies."""
    model: str = ""
    """A model to ask instead, as `--model` of the command line."""
    embedder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """What the clusters are made on: a sentence-transformers model by name or folder."""
    datasets: tuple[Name, ...] = ("clinc150", "bills", "ai_arxiv")
    """Which to run."""
    judged: int = 60
    """Documents of each method that the model judges."""
    timeout: float = 120.0
    """Seconds to wait for a reply of `model`."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    labels: int
    coverage: float
    accuracy: float | None = None
    relevance: float | None = None
    nmi: float | None = None
    ari: float | None = None
    f1: float | None = None
    distance: float | None = None
    nmi_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Texts:
    """The documents of a task, with their gold labels."""

    name: Name
    task: Task
    records: list[Record]
    gold: list[str]
    """On the level of the labels; empty where there are none."""
    leaves: list[str]
    tree: LabelSpace | None


def main(config: DiscoverLlmConfig) -> dict[tuple[str, str], Row]:
    """Run every method on every data set and print a table; returns its rows by data set and method."""
    table: dict[tuple[str, str], Row] = {}
    for name in config.datasets:
        texts = load(config, name)
        click.echo(f"{name}: {texts.task.documents} texts, at most {texts.task.max_labels} labels{gold_line(texts)}")
        click.echo(
            f"  {'':38} {'labels':>6} {'cover':>6} {'accur':>6} {'relev':>6} {'NMI':>6} {'(95%)':13} "
            f"{'ARI':>6} {'F1':>6} {'edges':>6}"
        )
        with ThreadPoolExecutor() as pool:
            for found in pool.map(partial(call, config, texts), (clusters_alone, clusters_named, taxonomy)):
                for method, row in found.items():
                    table[name, method] = row
                    show(method, row)
        if texts.gold:
            click.echo(f"  the judge against people's labels: {judge_check(config, texts)}")
    return table


Method = Callable[[DiscoverLlmConfig, Texts], dict[str, Row]]


def call(config: DiscoverLlmConfig, texts: Texts, method: Method) -> dict[str, Row]:
    """Run a method, in a thread of its own."""
    return method(config, texts)


# -- the methods -----------------------------------------------------------------------------------


def clusters_alone(config: DiscoverLlmConfig, texts: Texts) -> dict[str, Row]:
    """Clusters, their number found by themselves or told to K-means."""
    from sklearn.cluster import KMeans

    plain = [record.text for record in texts.records]
    embedder = load_embedder(config.embedder, cache=cache_folder())
    found = {"clusters": discover_clusters(plain, embedder=embedder, max_labels=texts.task.max_labels).labels}
    if texts.gold:
        count = len(set(texts.gold))
        means = KMeans(count, n_init=10, random_state=0).fit_predict(embedder.embed(plain))
        found[f"K-means, told there are {count}"] = tuple(f"cluster {number}" for number in means)
    return {
        method: measure(
            texts,
            [Prediction(record.id, (str(one),)) for record, one in zip(texts.records, labels, strict=True)],
            LabelSpace.of(sorted({str(one) for one in labels})),
        )
        for method, labels in found.items()
    }


def clusters_named(config: DiscoverLlmConfig, texts: Texts) -> dict[str, Row]:
    """Clusters that the model named and described, and then labelled the texts with."""
    model, task = asked(config), texts.task
    namer = ModelNamer(model, settings(task), engine=live(config))
    found = discover_clusters(
        [record.text for record in texts.records],
        embedder=load_embedder(config.embedder, cache=cache_folder()),
        max_labels=task.max_labels,
        namer=namer,
    )
    space = found.space.model_copy(update={"other": "Other"})
    title = "clusters named by the model"
    as_clustered = [
        Prediction(record.id, () if one is None else (one,))
        for record, one in zip(texts.records, found.labels, strict=True)
    ]
    rows = {
        f"{title}": judged(config, texts, as_clustered, space, model),
        f"{title}, its labels": judged(config, texts, label(config, texts, space, model), space, model),
    }
    if lacked(model):
        click.echo(f"  {title}: left out, as this machine's clusters differ from those that were recorded")
        return {}
    return rows


def taxonomy(config: DiscoverLlmConfig, texts: Texts) -> dict[str, Row]:
    """The model's taxonomy and its labels; and how much runs with other seeds agree."""
    title = "taxonomy of the model, its labels"
    # A model for each run: a connection belongs to the loop that opened it.
    models = [asked(config) for _ in range(texts.task.seeds)]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(partial(taxonomy_run, config, texts), models, range(texts.task.seeds)))
    made, labels = runs[0]
    rows = {title: judged(config, texts, labels, made.space, models[0])}
    if missing := [key for model in models for key in lacked(model)]:
        raise DataError(
            f"{len(missing)} requests have no recorded reply: a prompt or the data has changed",
            path=str(config.cassette),
            advice="record again with model=URL",
        )
    names = ", ".join(made.space.leaves)
    click.echo(f"  labels: {names}")
    for other, found in runs[1:]:
        one, two = ([str(prediction.label) for prediction in side] for side in (labels, found))
        click.echo(
            f"  another seed: {len(other.space.leaves)} labels; the two runs agree with NMI {nmi(one, two):.3f}, "
            f"ARI {ari(one, two):.3f}"
        )
        rows[f"{title}, another seed"] = measure(texts, found, other.space)
    return rows


def taxonomy_run(
    config: DiscoverLlmConfig, texts: Texts, model: ChatModel, seed: int
) -> tuple[Taxonomy, list[Prediction]]:
    """One run: only the first chooses among several candidates."""
    how = settings(texts.task)
    how = replace(how, seed=seed, candidates=texts.task.candidates if seed == 0 else 1)
    made = make_taxonomy(texts.records, how, model=model, engine=live(config))
    return made, label(config, texts, made.space, model)


# -- the pieces ------------------------------------------------------------------------------------


def settings(task: Task) -> TaxonomySettings:
    """What is told of the task, to discovery and to who names clusters alike."""
    return TaxonomySettings(
        use_case=task.use_case,
        max_labels=task.max_labels,
        summarize="never",
        shown_characters=180,
    )


def label(config: DiscoverLlmConfig, texts: Texts, space: LabelSpace, model: ChatModel) -> list[Prediction]:
    """Labels of the texts by the model."""
    task = texts.task
    labeler = Labeler(
        space,
        model=model,
        use_case=task.use_case,
        batch_documents=task.together,
        max_chars=task.max_chars,
        logprobs=0,
        concurrency=live(config).get("concurrency", "auto"),
        engine={name: value for name, value in live(config).items() if name != "concurrency"},
    )
    return list(labeler.predict(texts.records[: task.labelled]))


def judged(
    config: DiscoverLlmConfig, texts: Texts, labels: Sequence[Prediction], space: LabelSpace, model: ChatModel
) -> Row:
    """All measures, with those that a judge makes."""
    task = texts.task
    items = draw_items(labels, texts.records, space, sample=config.judged)
    verdicts = judge_items(
        items, space, model=model, use_case=task.use_case, together=20, max_chars=task.max_chars, engine=live(config)
    )
    right = [verdict.choice == "assigned" for verdict in verdicts if verdict.choice is not None]
    useful = [verdict.relevant for verdict in verdicts if verdict.relevant is not None]
    row = measure(texts, labels, space)
    return replace(
        row,
        accuracy=sum(right) / len(right) if right else None,
        relevance=sum(useful) / len(useful) if useful else None,
    )


def measure(texts: Texts, labels: Sequence[Prediction], space: LabelSpace) -> Row:
    """Coverage, and how well the labels agree with the gold ones where there are any."""
    given = [None if one.label not in space else one.label for one in labels]
    row = Row(len(space.leaves), sum(one is not None for one in given) / len(given))
    if not texts.gold:
        return row
    assert texts.tree is not None
    gold = [
        Record(record.id, record.text, labels=(name,)) for record, name in zip(texts.records, texts.gold, strict=True)
    ]
    report = evaluate(labels, gold, space=None, mode="discovered", other="Other")
    estimate = report.measures["nmi"].all_rows
    assert estimate is not None
    return replace(
        row,
        nmi=report.value("nmi"),
        ari=report.value("ari"),
        f1=one_to_one_f1(texts.gold, given),
        distance=matched_tree_distance(texts.leaves, given, space=texts.tree),
        nmi_interval=(estimate.low or 0.0, estimate.high or 0.0),
    )


def judge_check(config: DiscoverLlmConfig, texts: Texts) -> str:
    """How far the judge agrees with the people who labelled the data, on their labels and on others drawn by lot."""
    space = LabelSpace.of(sorted(name.replace("_", " ") for name in set(texts.gold)))
    people = [
        Prediction(record.id, (name.replace("_", " "),)) for record, name in zip(texts.records, texts.gold, strict=True)
    ]
    items = draw_items(people, texts.records, space, sample=config.judged)
    model = asked(config)
    verdicts = judge_items(
        items,
        space,
        model=model,
        use_case=texts.task.use_case,
        questions=("accuracy",),
        together=20,
        max_chars=texts.task.max_chars,
        engine=live(config),
    )
    by_people = ["A" if item.assigned_first else "B" for item in items]
    by_model = [letter(item, verdict) for item, verdict in zip(items, verdicts, strict=True)]
    same = sum(one == two for one, two in zip(by_people, by_model, strict=True))
    low, high = wilson(same, len(items))
    kappa = cohen_kappa(by_people, by_model)
    return f"{same / len(items):.3f} ({low:.3f} to {high:.3f}) the same, Cohen's kappa {kappa:.3f}"


def letter(item: Item, verdict: Verdict) -> str:
    """The answer that a verdict came from."""
    if verdict.choice in (None, "none"):
        return str(verdict.choice)
    return "A" if (verdict.choice == "assigned") == item.assigned_first else "B"


def load(config: DiscoverLlmConfig, name: Name) -> Texts:
    """The documents of a data set, drawn with seed 0."""
    task = TASKS[name]
    path = config.data / name / f"{task.file}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    rows = list(read_records(path))
    drawn = sorted(random.Random(0).sample(range(len(rows)), task.documents))
    kept = [rows[place] for place in drawn]

    def column(record: Record, which: str) -> str:
        return str(record.label if which == "label" else record.metadata[which])

    # Ids by place: what a data set calls its rows should not matter.
    records = [Record(f"{name} {place}", record.text) for place, record in zip(drawn, kept, strict=True)]
    if not task.level:
        return Texts(name, task, records, [], [], None)
    gold = [column(record, task.level) for record in kept]
    leaves = [f"{above} > {column(record, task.below)}" for above, record in zip(gold, kept, strict=True)]
    tree = [{"name": above} for above in sorted(set(gold))]
    tree += [{"name": leaf, "parent": leaf.partition(" > ")[0]} for leaf in sorted(set(leaves))]
    return Texts(name, task, records, gold, leaves, LabelSpace.from_data({"name": name, "labels": tree}))


def asked(config: DiscoverLlmConfig) -> ChatModel:
    """The model, or its recorded replies."""
    return connect(config.model, timeout=config.timeout) if config.model else RecordedModel(config.cassette)


def live(config: DiscoverLlmConfig) -> dict[str, Any]:
    """Settings of the engine: a live model is asked much at once."""
    return {"concurrency": 100, "patience": config.timeout} if config.model else {}


def lacked(model: ChatModel) -> list[str]:
    """Requests that had no recorded reply."""
    return model.lacked if isinstance(model, RecordedModel) else []


def gold_line(texts: Texts) -> str:
    """What the gold labels are."""
    if not texts.gold:
        return "; no gold labels"
    return f"; gold: {len(set(texts.gold))} of level {texts.task.level!r}, {len(set(texts.leaves))} below"


def show(method: str, row: Row) -> None:
    """Print one row."""
    shares = (row.coverage, row.accuracy, row.relevance, row.nmi)
    cells = " ".join(f"{'-':>6}" if value is None else f"{value:6.3f}" for value in shares)
    interval = "" if row.nmi_interval is None else "{:.3f}-{:.3f}".format(*row.nmi_interval)
    rest = " ".join(f"{'-':>6}" if value is None else f"{value:6.3f}" for value in (row.ari, row.f1, row.distance))
    click.echo(f"  {method:38} {row.labels:6} {cells} {interval:13} {rest}")
