"""A rolling restart with real processes: one server ends, another begins at its port, and the client loses no row."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from asking import counted

from labelspace.finetune.classifier import HeadClassifier
from labelspace.finetune.store import save_model
from labelspace.records import Prediction
from labelspace.serve.client import VLLMClassifier

TEXTS = [f"{what} {n}" if n % 7 else " " for n, what in enumerate(["parcel", "pump", "refund", "seeds"] * 600)]


@contextmanager
def process(model: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "labelspace", "serve", str(model), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            assert "serving m at" in running.stderr.readline()
            yield
        finally:
            running.send_signal(signal.SIGTERM)
            said = running.stderr.read()
            assert running.wait(30) == 0 and "what was accepted is answered" in said


@pytest.mark.slow
def test_no_row_is_lost(tmp_path: Path, classifier: HeadClassifier) -> None:
    save_model(tmp_path / "m", classifier.head, classifier.space)  # type: ignore[arg-type]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found: list[Prediction] = []
    predictions: Iterator[Prediction] = iter(())
    client = VLLMClassifier(f"http://127.0.0.1:{port}", batch_size=2, concurrency=8)
    for _ in range(2):  # requests are in flight when each ends, and nobody is there until the next has loaded
        with process(tmp_path / "m", port):
            ready(port)
            predictions = predictions if found else client.predict(TEXTS)
            found += [next(predictions)]
            while not (done := answered(port)) > 100:
                time.sleep(0.01)
            assert done < len(TEXTS) / 4, "there is something left for the next"
    with process(tmp_path / "m", port):
        ready(port)
        found += predictions
    assert [one.status for one in found] == ["abstained" if text == " " else "ok" for text in TEXTS]
    for one, wanted in zip(found, classifier.predict(TEXTS), strict=True):
        assert (one.record_id, one.labels) == (wanted.record_id, wanted.labels)
        assert one.confidence == pytest.approx(wanted.confidence, abs=1e-6)


def ready(port: int) -> None:
    while True:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.01)


def answered(port: int) -> float:
    """Requests that the server at a port has answered."""
    try:
        return counted(port).get('labelspace_requests_total{path="/classify",status="200"}', 0)
    except OSError:
        return 0
