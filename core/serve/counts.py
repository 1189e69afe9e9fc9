"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labelspace.errors import MissingExtra

if TYPE_CHECKING:
    from labelspace.serve.answers import Answer

PATHS = ("/classify", "/labelspace", "/health", "/metrics", "/v1/models", "/docs", "/openapi.json")
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TENTHS = tuple(n / 10 for n in range(1, 11))


class Counts:
    """Counters of one server, in a registry of their own."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Start from zero; each label is there from the start, so that a share of zero can be seen."""
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise MissingExtra("prometheus-client", "serve") from error
        self._registry = made = CollectorRegistry()
        self._requests = Counter(
            "labelspace_requests", "Requests by path and status", ["path", "status"], registry=made
        )
        self._seconds = Histogram("labelspace_request_seconds", "Time of /classify", registry=made, buckets=_SECONDS)
        self._labels = Counter("labelspace_labels", "Texts that were given a label", ["label"], registry=made)
        self._none = Counter("labelspace_unlabelled", "Texts without a label, by reason", ["reason"], registry=made)
        self._sure = Histogram("labelspace_confidence", "Confidence of predictions", registry=made, buckets=_TENTHS)
        self._batch = Histogram(
            "labelspace_batch_texts", "Texts in one run of the model", registry=made, buckets=_TEXTS
        )
        self._cascade = Counter(
            "labelspace_cascade",
            "Texts by who answered: the head, the model that is asked where it is not sure, or the head although it is "
            "not sure, for a person or as the model did not answer",
            ["by"],
            registry=made,
        )
        self.waiting = Gauge("labelspace_waiting_texts", "Texts that wait for the model", registry=made)
        self._of_label = {label: self._labels.labels(label) for label in labels}
        self._of_request: dict[tuple[str, int], Any] = {}  # looking a counter up takes longer than counting

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; paths that are not ours are one. Status 0 is a caller who has gone."""
        key = (path if path in PATHS else "other", status)
        if key not in self._of_request:
            self._of_request[key] = self._requests.labels(key[0], str(status))
        self._of_request[key].inc()
        if path == "/classify":
            self._seconds.observe(seconds)

    def answer(self, made: Answer) -> None:
        """Count an answer."""
        for label in made.labels:
            if label not in self._of_label:  # of a head that came later
                self._of_label[label] = self._labels.labels(label)
            self._of_label[label].inc()
        if made.status != "ok" or not made.labels:
            self._none.labels(made.reason or "fits nowhere").inc()
        if made.confidence is not None:
            self._sure.observe(made.confidence)

    def cascade(self, by: str) -> None:
        """Count a text of a cascade: head, model, person, or not answered."""
        self._cascade.labels(by).inc()

    def ran(self, texts: int) -> None:
        """Count a run of the model."""
        self._batch.observe(texts)

    def render(self) -> bytes:
        """As Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
