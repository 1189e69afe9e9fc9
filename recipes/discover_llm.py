"""A language model's taxonomy sorts texts more as people do than clusters do, named by a model or not.

    labelspace run discover_llm                    # replays tests/cassettes/discover_llm.jsonl; needs ../shared/data
    labelspace run discover_llm model=URL#NAME     # asks another model

Texts are drawn with seed 0: 400 of clinc150's train texts (gold: the 10 domains), all 500 of bills' (gold: the 20
topics), 400 abstracts of ai_arxiv (no gold). The model is told a purpose and the most labels (`_discover_llm.TASKS`),
never a gold label; of each document it reads the first 120 characters and the last 60, and to label it 240. It makes
three taxonomies (one for ai_arxiv), votes on held-out texts choose one, and it labels every text with that (100 of
ai_arxiv). Clusters are ours, of whole texts by all-MiniLM-L6-v2, with the same most labels; K-means is told the true
number. Named by the model, they are judged as they are, and as a label space that the model labels with.

Accuracy and relevance are by the model as a judge, on 60 texts: it judges its own labels, so they tell methods apart
and prove nothing. "Edges" is the mean distance in the gold tree (domain and intent, topic and subtopic) between a
text's leaf and the node that its label stands for; a label that is a whole domain is 1 from each of its leaves.

The replies were recorded once, from an instruction-tuned LLM that saw the prompts alone. Both data sets are public, so
it may know them. Expected, without any call, in half a minute on two cores:

                                         labels  cover  accur  relev    NMI (95%)            ARI     F1  edges
    clinc150
      clusters                               12  1.000      -      -  0.598 0.565-0.633    0.405  0.583  1.667
      K-means, told there are 10             10  1.000      -      -  0.520 0.483-0.559    0.347  0.533  1.780
      clusters named by the model            12  1.000  0.850  0.850  0.598 0.565-0.633    0.405  0.583  1.667
      clusters named by the model, its labels
                                             12  0.948  0.983  0.983  0.718 0.695-0.743    0.517  0.642  1.575
      taxonomy of the model, its labels      10  1.000  1.000  1.000  0.956 0.939-0.973    0.939  0.968  1.060
      the same, another seed                 12  1.000      -      -  0.927 0.908-0.946    0.874  0.914  1.060
    bills
      clusters                               11  1.000      -      -  0.500 0.466-0.535    0.343  0.297  1.766
      K-means, told there are 20             20  1.000      -      -  0.522 0.493-0.552    0.287  0.391  1.668
      clusters named by the model            11  1.000  0.883  0.867  0.500 0.466-0.535    0.343  0.297  1.766
      clusters named by the model, its labels
                                             11  0.906  1.000  0.900  0.550 0.519-0.584    0.368  0.321  1.714
      taxonomy of the model, its labels      25  1.000  1.000  1.000  0.617 0.584-0.648    0.427  0.581  1.496
      the same, another seed                 25  1.000      -      -  0.617 0.585-0.648    0.423  0.582  1.508
    ai_arxiv
      clusters named by the model            12  1.000  0.767  0.750
      clusters named by the model, its labels
                                             12  0.960  0.917  0.867
      taxonomy of the model, its labels      20  1.000  1.000  0.983
Two seeds agree with NMI 0.960 and ARI 0.926 on clinc150, 0.953 and 0.945 on bills. Between people's label and one drawn
by lot the judge chooses as people did in 60 of 60 texts of clinc150 (kappa 1.000), and in 0.867 of bills' (0.758 to
0.931; kappa 0.748).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from labelspace.agents.clustering.cluster import discover_clusters
from labelspace.agents.labeling.labeler import Labeler
from labelspace.agents.taxonomy.judge import draw_items, judge_items
from labelspace.agents.taxonomy.loop import Taxonomy, TaxonomySettings, make_taxonomy
from labelspace.agents.taxonomy.naming import ModelNamer
from labelspace.config import Config
from labelspace.embed import cache_folder, load_embedder
from labelspace.errors import DataError
from labelspace.llm import ChatModel, connect
from labelspace.llm.recorded import RecordedModel
from labelspace.metrics import ari, cohen_kappa, nmi, wilson
from labelspace.recipes._discover_llm import Name, Row, Task, Texts, gold_line, letter, load, measure, show
from labelspace.records import Prediction
from labelspace.space import LabelSpace


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


def main(config: DiscoverLlmConfig) -> dict[tuple[str, str], Row]:
    """Run every method on every data set and print a table; returns its rows by data set and method."""
    table: dict[tuple[str, str], Row] = {}
    for name in config.datasets:
        texts = load(config.data, name)
        click.echo(f"{name}: {texts.task.documents} texts, at most {texts.task.max_labels} labels{gold_line(texts)}")
        click.echo(
            f"  {'':38} {'labels':>6} {'cover':>6} {'accur':>6} {'relev':>6} {'NMI':>6} {'(95%)':13} "
            f"{'ARI':>6} {'F1':>6} {'edges':>6}"
        )
        with ThreadPoolExecutor() as pool:
            for found in pool.map(partial(call, config, texts), (clusters, taxonomy)):
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


def clusters(config: DiscoverLlmConfig, texts: Texts) -> dict[str, Row]:
    """Clusters, their number found by themselves or told to K-means; and named by the model, which labels with them."""
    from sklearn.cluster import KMeans

    model, task = asked(config), texts.task
    plain = [record.text for record in texts.records]
    embedder = load_embedder(config.embedder, cache=cache_folder())
    namer = ModelNamer(model, settings(task), engine=live(config))
    found = discover_clusters(plain, embedder=embedder, max_labels=task.max_labels, namer=namer)
    space, title = found.space, "clusters named by the model"
    space = LabelSpace(name=space.name, labels=space.labels, other="Other")
    as_clustered = [
        Prediction(record.id, () if one is None else (one,))
        for record, one in zip(texts.records, found.labels, strict=True)
    ]
    rows = {"clusters": measure(texts, as_clustered, space)}
    if texts.gold:
        count = len(set(texts.gold))
        means = KMeans(count, n_init=10, random_state=0).fit_predict(embedder.embed(plain))
        told = LabelSpace.of([f"cluster {number}" for number in range(count)])
        labels = [Prediction(one.id, (told.leaves[at],)) for one, at in zip(texts.records, means, strict=True)]
        rows[f"K-means, told there are {count}"] = measure(texts, labels, told)
    given = label(config, texts, space, model)
    by_model = {}
    if not lacked(model):
        by_model = {
            title: judged(config, texts, as_clustered, space, model),
            f"{title}, its labels": judged(config, texts, given, space, model),
        }
    if lacked(model):
        click.echo(f"  {title}: left out, as this machine's clusters differ from those that were recorded")
        return rows
    return {**rows, **by_model}


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
    if lacked(model):
        return "not recorded"
    by_people = ["A" if item.assigned_first else "B" for item in items]
    by_model = [letter(item, verdict) for item, verdict in zip(items, verdicts, strict=True)]
    same = sum(one == two for one, two in zip(by_people, by_model, strict=True))
    low, high = wilson(same, len(items))
    kappa = cohen_kappa(by_people, by_model)
    return f"{same / len(items):.3f} ({low:.3f} to {high:.3f}) the same, Cohen's kappa {kappa:.3f}"


def asked(config: DiscoverLlmConfig) -> ChatModel:
    """The model, or its recorded replies."""
    return connect(config.model, timeout=config.timeout) if config.model else RecordedModel(config.cassette)


def live(config: DiscoverLlmConfig) -> dict[str, Any]:
    """Settings of the engine: a live model is asked much at once."""
    return {"concurrency": 100, "patience": config.timeout} if config.model else {}


def lacked(model: ChatModel) -> list[str]:
    """Requests that had no recorded reply."""
    return model.lacked if isinstance(model, RecordedModel) else []
