"""A trained or served classifier in Ray actors, on many cores or machines, as one `Classifier`.

Batches go to whichever actor is free and come back in order. A batch whose actor dies is given to another: what a
model answers depends on the text alone, so nothing is lost and nothing differs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from labelspace.errors import ConfigError, MissingExtra
from labelspace.finetune.store import load_classifier, read_model
from labelspace.records import Classifier, Prediction, Record, as_records
from labelspace.serve.client import VLLMClassifier
from labelspace.space import LabelSpace

BATCH = 512
"""Records that an actor takes at a time."""
_AHEAD = 3
"""Batches for each actor that are handed out before the first has come back."""
_ATTEMPTS = 5
"""Times that a batch is given to an actor that came back from the dead."""
_STORE = 256 << 20
"""Bytes of Ray's object store, where Ray is started here: batches of texts, and their predictions."""


class Worker:
    """What an actor does."""

    def __init__(self, model: str, embedder: str | None, export: str | None) -> None:
        """Load a classifier, or point at one behind an address."""
        self._classifier = make_classifier(model, embedder=embedder, export=export)

    def predict(self, records: list[Record]) -> list[Prediction]:
        """Predictions for a batch."""
        return list(self._classifier.predict(records))


def make_classifier(model: str, *, embedder: str | None, export: str | None, cached: bool = False) -> Classifier:
    """A classifier from a folder, or behind an address.

    Args:
        model: The folder or the address.
        embedder: Where the model's embedder is, if it has moved.
        export: See `VLLMClassifier`.
        cached: Whether to keep embeddings on disk.
    """
    if model.startswith(("http://", "https://")):
        return VLLMClassifier(model, export=export)
    return load_classifier(model, embedder=embedder, cached=cached)


class RayClassifier:
    """Gives records their labels in Ray actors. A `Classifier`."""

    def __init__(
        self,
        model: str,
        *,
        embedder: str | None = None,
        export: str | None = None,
        workers: int | None = None,
        address: str | None = None,
        batch_size: int = BATCH,
    ) -> None:
        """Say what runs where; nothing is started yet.

        Args:
            model: Folder of a model, which all machines see, or an address.
            embedder: Where the model's embedder is, if it has moved.
            export: See `VLLMClassifier`.
            workers: Actors; one for each CPU if None.
            address: A Ray cluster; RAY_ADDRESS, or one on this machine, if None.
            batch_size: Records that an actor takes at a time.
        """
        self.model, self.embedder, self.export = model, embedder, export
        self.workers, self.address, self.batch_size = workers, address, batch_size

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        if self.model.startswith(("http://", "https://")):
            return VLLMClassifier(self.model, export=self.export).label_space
        return LabelSpace.from_data(read_model(self.model)["space"])

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order.

        Raises:
            MissingExtra: Ray is not installed.
            ConfigError: An actor could not load the model, or actors keep dying.
        """
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("ray", "ray") from error
        began = not ray.is_initialized()
        if began:
            _start(ray, self.address, self.workers)
        actors: list[Any] = []
        try:
            count = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_ATTEMPTS)(Worker)
            actors = [kind.remote(self.model, self.embedder, self.export) for _ in range(count)]
            yield from self._run(ray, actors, as_records(texts))
        except ray.exceptions.RayError as error:
            cause = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise ConfigError(f"the workers can't go on: {cause}") from error
        finally:
            for actor in actors:
                ray.kill(actor)
            if began:
                ray.shutdown()

    def _run(self, ray: Any, actors: list[Any], records: Iterator[Record]) -> Iterator[Prediction]:
        waiting: deque[Any] = deque()
        load = dict.fromkeys(range(len(actors)), 0)
        owner: dict[Any, int] = {}
        while True:
            while len(waiting) < _AHEAD * len(actors) and (batch := list(islice(records, self.batch_size))):
                least = min(load, key=lambda at: load[at])
                reference = actors[least].predict.remote(batch)
                load[least] += 1
                owner[reference] = least
                waiting.append(reference)
            if not waiting:
                return
            ray.wait(list(waiting), num_returns=1, fetch_local=False)
            done, _ = ray.wait(list(owner), num_returns=len(owner), timeout=0, fetch_local=False)
            for reference in done:  # those who are done get the next, whoever's turn it is to be read
                load[owner.pop(reference)] -= 1
            first = waiting.popleft()
            yield from ray.get(first)


def _start(ray: Any, address: str | None, workers: int | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        return
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=_STORE,
        _node_ip_address="127.0.0.1",
    )
