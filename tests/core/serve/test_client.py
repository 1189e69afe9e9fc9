"""The client: the same predictions as in this process, in order, whatever the server goes through."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labelspace.cli import main
from labelspace.errors import ConfigError, ModelError
from labelspace.finetune.classifier import HeadClassifier
from labelspace.records import Classifier, Prediction
from labelspace.serve.client import VLLMClassifier

TEXTS = [f"{what} {n}" if n % 7 else " " for n, what in enumerate(["parcel", "pump", "refund", "seeds"] * 40)]


def same(made: Iterable[Prediction], wanted: Iterable[Prediction]) -> bool:
    """Whether two runs say the same; probabilities go through JSON, in single precision."""
    for one, other in zip(made, wanted, strict=True):
        assert (one.record_id, one.labels, one.status, one.reason) == (
            other.record_id,
            other.labels,
            other.status,
            other.reason,
        )
        assert dict(one.scores) == pytest.approx(dict(other.scores), abs=1e-6)
    return True


def test_predictions_are_those_of_the_classifier(server: Any, classifier: HeadClassifier) -> None:
    client = VLLMClassifier(server.address, batch_size=5)
    assert isinstance(client, Classifier) and client.label_space == classifier.space
    assert same(client.predict(TEXTS), classifier.predict(TEXTS))
    assert same(client.predict(["", " "]), classifier.predict(["", " "]))
    assert list(client.predict([])) == []
    [odd] = client.predict(["half of a pair: \ud83d"])
    assert odd.status == "ok"


def test_it_streams(server: Any) -> None:
    read = []

    def texts() -> Any:
        for n in range(20_000):
            read.append(n)
            yield f"parcel {n}"

    predictions = VLLMClassifier(server.address, concurrency=2).predict(texts())
    assert next(predictions).record_id == "0"
    assert len(read) < 20_000
    predictions.close()  # type: ignore[attr-defined]


def test_a_text_that_is_refused_fails_alone(server: Any) -> None:
    found = list(VLLMClassifier(server.address, batch_size=4).predict(["a", "b" * 21_000, "c", "", "d"]))
    assert [one.status for one in found] == ["ok", "failed", "ok", "abstained", "ok"]
    assert "more than 20,000 characters" in str(found[1].reason)


def test_on_the_command_line(server: Any, tmp_path: Path, classifier: HeadClassifier) -> None:
    out = tmp_path / "predictions.jsonl"
    with pytest.raises(SystemExit) as done:
        main(["predict", server.address, "sample:support", "--out", str(out)])
    assert not done.value.code
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 634
    assert {row["source"]["model"] for row in rows} == {f"{server.address}#support"}
    assert {row["label"] for row in rows} <= {*classifier.names, None}


def test_a_key(start: Any) -> None:
    with start(key="s3cret") as running:
        assert [one.status for one in VLLMClassifier(running.address, api_key="s3cret").predict(["a"])] == ["ok"]
        with pytest.raises(ModelError, match="is the server up, and the key right"):
            list(VLLMClassifier(running.address, api_key="no").predict(["a"]))


class Other(BaseHTTPRequestHandler):
    """Some server that is neither vLLM nor ours, or a vLLM whose model lies elsewhere."""

    def do_GET(self) -> None:
        found = self.path == "/v1/models"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "m", "root": "/nowhere"}]}' if found else b"{}")

    def log_message(self, *_: Any) -> None:
        pass


def test_servers_that_do_not_tell() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_address[1]}"
        with pytest.raises(ConfigError, match="does not tell its label space; name the folder"):
            print(VLLMClassifier(address).label_space)
        other.shutdown()
    with pytest.raises(ModelError, match="does not answer; is the server up"):
        print(VLLMClassifier(address).label_space)
