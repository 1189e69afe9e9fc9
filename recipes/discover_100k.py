"""`labelspace discover` over 100,000 documents: a model reads of rare topics that a random sample lacks.

    labelspace run discover_100k                     # needs ../shared/data
    labelspace run discover_100k rows=20000 sample=400

100,000 different texts, composed with seed 0: half are comments of goemotions, most of which are like no other text;
the rest are requests to plugins (metatool), questions (trec) and intents. Among them are 40 rare topics, 20 of 50 texts
(0.05%) and 20 of 20 (0.02%). They are intents of clinc150, beside all of banking77 ("test"); everything about the
sampler was chosen on intents of banking77, beside all of clinc150 (mixtures=[dev]). Of 2,000 texts that are drawn, in
how many rare topics is at least one, and at least three? Means over three of our samples and 20 random ones.

Then the command runs in a process of its own, with an endpoint that plays a script: that shows that it works from end
to end, in what time and memory, and which rare topics stand in the prompts, but says nothing of a model's labels.

Texts are compared by TF-IDF; with `embedder=` by a sentence encoder, which takes far longer. Expected (one thread
of a shared machine with two cores, so that times vary threefold):

    test: 100,000 documents, 40 rare topics of 50 texts, 20 texts
                               50 texts: 1 seen, 3 seen  20 texts: 1 seen, 3 seen
      random                             0.608            0.098            0.318            0.020
      ours                               0.983            0.317            0.417            0.017
      embedded in 37 s, a sample drawn in 31 s
    labelspace discover, with a scripted endpoint (it shows the plumbing, and says nothing of a model's labels): 100,000
    documents, 11 requests, 10 labels, 38 s, at most 816 MB
      read by the model                  0.850            0.350            0.550            0.000

So a topic of 0.05% is read of in 85 to 98 of 100 cases, one of 0.02% in 42 to 55. Three texts of a topic, from
which a label is likelier to be made, are read of a third of the former and of none of the latter: draw more texts
(`--max-documents`) where such topics matter.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.agents.taxonomy.loop import sampling_embedder
from labelspace.agents.taxonomy.rare_sample import rare_sample
from labelspace.config import Config
from labelspace.data import write_rows
from labelspace.prompts.fence import one_line
from labelspace.recipes._rare_topics import Mixture, Texts, compose
from labelspace.recipes.labeling_million import command
from labelspace.space import LabelSpace

SEEDS = 20
"""Random samples that the mean is taken of."""
_BEGINNING = 80
"""Characters by which a text is found in a prompt: of a long one the middle is left out."""


class Discover100kConfig(Config):
    """What `labelspace run discover_100k` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    rows: int = 100_000
    """Documents."""
    sample: int = 2_000
    """Documents that the model reads."""
    mixtures: tuple[Mixture, ...] = ("test",)
    """Which to draw from: all was chosen on "dev"; `discover` runs on the last."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of our samples."""
    embedder: str = "tfidf"
    """What documents are compared by."""


def main(config: Discover100kConfig) -> dict[str, list[float]]:
    """Draw samples, then run the command.

    Returns:
        The shares of rare topics that are seen, by "MIXTURE random", "MIXTURE ours" and "discover".
    """
    table: dict[str, list[float]] = {}
    for which in config.mixtures:
        texts = compose(config.data, which, config.rows)
        sizes = ", ".join(f"{size} texts" for size in texts.sizes)
        click.echo(f"{which}: {len(texts.texts):,} documents, {len(texts.rare)} rare topics of {sizes}")
        click.echo(f"  {'':24} " + "  ".join(f"{size} texts: 1 seen, 3 seen" for size in texts.sizes))
        start = time.perf_counter()
        vectors = sampling_embedder(config.embedder, texts.texts).embed(texts.texts)
        embedded = time.perf_counter() - start
        random = [
            np.random.default_rng(seed).choice(len(vectors), config.sample, replace=False).tolist()
            for seed in range(SEEDS)
        ]
        start = time.perf_counter()
        ours = [rare_sample(vectors, config.sample, seed=seed).tolist() for seed in config.seeds]
        drawn = (time.perf_counter() - start) / len(ours)
        for title, samples in (("random", random), ("ours", ours)):
            table[f"{which} {title}"] = tell(title, texts, samples)
        click.echo(f"  embedded in {embedded:.0f} s, a sample drawn in {drawn:.0f} s")
    table["discover"] = discover(config, texts)
    return table


def tell(title: str, texts: Texts, samples: list[list[int]]) -> list[float]:
    """Print and return means over samples: for each size, the shares of topics seen once and three times."""
    found = [
        float(np.mean([texts.seen(sample, size, least) for sample in samples]))
        for size in texts.sizes
        for least in (1, 3)
    ]
    click.echo(f"  {title:24} " + "  ".join(f"{share:15.3f}" for share in found))
    return found


def discover(config: Discover100kConfig, texts: Texts) -> list[float]:
    """Run `labelspace discover` in a process of its own, against an endpoint that plays a script."""
    with tempfile.TemporaryDirectory() as name, endpoint() as (url, prompts):
        folder = Path(name)
        write_rows(folder / "texts.jsonl", ({"id": str(n), "text": text} for n, text in enumerate(texts.texts)))
        arguments = ["discover", str(folder / "texts.jsonl"), "--out", str(folder / "space.yaml"), "--model", url]
        arguments += ["--max-documents", str(config.sample), "--summarize", "never", "--embedder", config.embedder]
        here, there = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=command, args=(arguments, there))
        process.start()
        seconds, memory = here.recv()
        process.join()
        space = LabelSpace.load(folder / "space.yaml")
    lines = (line.partition(": ")[2] for prompt in prompts for line in prompt.splitlines())
    shown = {line[:_BEGINNING] for line in lines}
    read = [place for place, text in enumerate(texts.texts) if one_line(text)[:_BEGINNING] in shown]
    click.echo(
        f"labelspace discover, with a scripted endpoint (it shows the plumbing, and says nothing of a model's labels): "
        f"{len(texts.texts):,} documents, {len(prompts)} requests, {len(space.leaves)} labels, {seconds:.0f} s, "
        f"at most {memory:,.0f} MB"
    )
    return tell("read by the model", texts, [read])


# -- an endpoint that plays a script -----------------------------------------------------------------


class _Scripted(BaseHTTPRequestHandler):
    """Answers as a model would that finds something to change in every batch, so that all are read."""

    server: _Server

    def do_POST(self) -> None:
        """A taxonomy of ten labels, one of them worded anew each time."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.prompts.append(body["messages"][-1]["content"])
        labels = [{"name": f"Topic {at}", "description": f"What is said about topic {at}."} for at in range(10)]
        labels[-1]["description"] = f"What is left after request {len(self.server.prompts)}."
        told = [{**label, "from": [label["name"]], "documents": [1]} for label in labels]
        reply = json.dumps({"score": 90, "explanation": "", "suggestions": "", "labels": told})
        message = {"role": "assistant", "content": reply}
        self.answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def do_GET(self) -> None:
        """The one model."""
        self.answer({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def answer(self, payload: dict[str, Any]) -> None:
        """Send JSON."""
        data = json.dumps(payload).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.prompts: list[str] = []


@contextmanager
def endpoint() -> Iterator[tuple[str, list[str]]]:
    """The address of the endpoint, and the prompts that it gets."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1#scripted", server.prompts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
