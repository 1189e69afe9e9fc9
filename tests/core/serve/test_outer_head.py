"""A head outside: the server answers others while it computes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import call

from labelspace.finetune.classifier import HeadClassifier
from labelspace.readout import to_probabilities
from labelspace.serve.outer_head import OuterHead
from labelspace.serve.protocol import ClassifyModel, Upstream
from labelspace.serve.served import Served

TOKENS, WIDTH, HIDDEN = 256, 32, 2048


def vectors(text: str) -> Any:
    """Of the tokens of a text [TOKENS, WIDTH]."""
    return np.random.default_rng(len(text)).standard_normal((TOKENS, WIDTH), dtype=np.float32)


class Pooling(ThreadingHTTPServer):
    """Gives vectors of tokens, as vLLM does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.gave = threading.Event()


class _Answer(BaseHTTPRequestHandler):
    server: Pooling

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [base64.b64encode(vectors(text).tobytes()).decode() for text in asked["input"]]
        body = json.dumps({"data": [{"index": at, "data": row} for at, row in enumerate(rows)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.gave.set()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def vllm() -> Iterator[Pooling]:
    with Pooling() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_health_is_told_while_a_head_outside_computes(
    tmp_path: Path, start: Any, classifier: HeadClassifier, vllm: Pooling
) -> None:
    random, labels = np.random.default_rng(0), len(classifier.names)
    layers = [random.standard_normal(shape, dtype=np.float32) / 50 for shape in ((HIDDEN, WIDTH), (labels, HIDDEN))]
    head = OuterHead([("linear", layers[:1]), ("gelu", []), ("linear", layers[1:])], pooling="max")
    head.save(tmp_path)
    served = Served(
        "support", "mlp", classifier.space, tuple(classifier.names), asks="token_embed", logits=True, folder=tmp_path
    )
    texts = ["a" * length for length in range(1, 33)]
    backend = Upstream(ClassifyModel(f"http://127.0.0.1:{vllm.server_port}", served), served)
    with start(backend=backend) as running, ThreadPoolExecutor(1) as pool:
        asked, healthy = pool.submit(call, running.port, "POST", "/classify", {"input": texts}), 0
        assert vllm.gave.wait(30)
        while not asked.done():
            healthy += call(running.port, "GET", "/health")[0] == 200
        status, _, reply = asked.result()
    assert status == 200
    wanted = to_probabilities(head(texts, [vectors(text) for text in texts]), multi_label=False)
    np.testing.assert_allclose([one["probs"] for one in reply["data"]], wanted, atol=1e-5)
    assert healthy > 8, "it waited for the head"
