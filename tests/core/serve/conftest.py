"""A small classifier, and servers on loopback that live as long as a test needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labelspace.data import read_records
from labelspace.finetune.classifier import HeadClassifier
from labelspace.finetune.linear import LinearHead
from labelspace.serve.app import make_app
from labelspace.serve.batching import Backend, Batcher
from labelspace.serve.cascade import Cascade
from labelspace.serve.counts import Counts
from labelspace.serve.guard import Limits
from labelspace.serve.log import AnswerLog
from labelspace.serve.models import Model, Models
from labelspace.serve.run import bind, make_server
from labelspace.serve.served import Served
from labelspace.space import LabelSpace


@pytest.fixture(scope="session")
def classifier() -> HeadClassifier:
    records = [record for record in read_records("sample:support") if record.label and not record.is_blank][:200]
    labels = [record.label or "" for record in records]
    head = LinearHead("tfidf").fit([record.text for record in records], labels)
    return HeadClassifier(head, LabelSpace.of(sorted(set(labels))))


def served_of(classifier: HeadClassifier, name: str = "support") -> Served:
    return Served(model=name, head="linear", space=classifier.space, names=tuple(classifier.names))


class Running:
    """A server in a thread."""

    def __init__(self, app: Any, limits: Limits, port: int = 0) -> None:
        self.server, self.socket = make_server(app, limits), bind("127.0.0.1", port)
        self.port = self.socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.socket]), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def has(self, requests: int) -> None:
        """Wait until so many requests are being read or answered."""
        while len(self.server.server_state.tasks) < requests:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.socket.close()


Start = Callable[..., Any]


@pytest.fixture(scope="module")
def start(classifier: HeadClassifier) -> Start:
    """Start a server: `with start() as running`."""

    @contextmanager
    def make(
        *,
        limits: Limits | None = None,
        key: str | None = None,
        predict: Callable[..., Any] | None = None,
        port: int = 0,
        cascade: Callable[[Counts], Cascade] | None = None,
        log: AnswerLog | None = None,
        backend: Backend | None = None,
        **batcher: Any,
    ) -> Iterator[Running]:
        served, bounds = served_of(classifier), limits or Limits()
        counts = Counts(served.names)
        asked = backend or Batcher(predict or classifier.head.predict_proba, ran=counts.ran, **batcher)
        model = Model(served, asked, None if cascade is None else cascade(counts))
        app = make_app(Models([model]), counts=counts, limits=bounds, key=key, log=log)
        running = Running(app, bounds, port)
        try:
            yield running
        finally:
            running.stop()

    return make


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[Running]:
    """A server with bounds that tests can reach."""
    with start(limits=Limits(body=200_000, texts=300, characters=20_000)) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(start: Start) -> Iterator[Running]:
    """A server that waits for nobody; only for tests of those who are slow."""
    with start(limits=Limits(body_seconds=0.6, head_seconds=0.6)) as running:
        yield running
