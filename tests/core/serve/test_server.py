"""The server: right answers, refusals that say why, bounds on what is slow or large, and an orderly stop."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from asking import call, counted

from labelspace.finetune.classifier import HeadClassifier
from labelspace.serve.guard import Limits

TEXTS = ["Where is my parcel?", "I was charged twice", "", "  ", "日本語", "<b>&\x00", "the pump does not work " * 40]


def test_the_answers_are_those_of_the_classifier(server: Any, classifier: HeadClassifier) -> None:
    status, _, reply = call(server.port, "POST", "/classify", {"model": "support", "input": TEXTS, "user": "me"})
    assert status == 200 and reply["model"] == "support" and reply["object"] == "list"
    assert reply["labelspace"] == {
        "version": classifier.space.version,
        "labels": classifier.names,
        "multi_label": False,
        "thresholds": None,
    }
    wanted = iter(classifier.head.predict_proba([text for text in TEXTS if text.strip()]))
    for index, (text, made, one) in enumerate(zip(TEXTS, classifier.predict(TEXTS), reply["data"], strict=True)):
        assert one["index"] == index
        assert (one["status"], one["reason"], one["labels"]) == (made.status, made.reason, list(made.labels))
        assert (one["answered_by"], one["review"]) == ("head", None)
        if text.strip():
            np.testing.assert_array_equal(np.float32(one["probs"]), next(wanted))
            assert (one["label"], one["num_classes"]) == (made.label, len(classifier.names))
            assert one["confidence"] == pytest.approx(made.confidence)
        else:
            assert (one["label"], one["probs"], one["status"]) == (None, [], "abstained")


def test_many_at_once_go_together_and_each_gets_its_own(start: Any, classifier: HeadClassifier) -> None:
    texts = [f"parcel {n} pump" for n in range(60)]
    sizes: list[int] = []
    go = threading.Event()

    def predict(asked: Any) -> Any:
        sizes.append(len(asked))
        go.wait(60)
        return classifier.head.predict_proba(asked)

    with start(predict=predict, batch_size=16) as running, ThreadPoolExecutor(60) as pool:
        calls = [pool.submit(call, running.port, "POST", "/classify", {"input": text}) for text in texts]
        running.has(60)
        go.set()
        found = [one.result() for one in calls]
        status, _, many = call(running.port, "POST", "/classify", {"input": texts})
    for text, (status, _, reply), one in zip(texts, found, many["data"], strict=True):
        assert status == 200
        np.testing.assert_allclose(reply["data"][0]["probs"], classifier.head.predict_proba([text])[0], atol=1e-6)
        np.testing.assert_allclose(one["probs"], reply["data"][0]["probs"], atol=1e-6)
    assert max(sizes) <= 16 and sum(sizes) == 120 and len(sizes) < 60


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/classify", b"", 400, "Invalid JSON: EOF"),
        ("POST", "/classify", b"{}", 400, "input: Field required"),
        ("POST", "/classify", b"{", 400, "Invalid JSON: EOF"),
        ("POST", "/classify", b'{"input": "\xff\xfe"}', 400, "Invalid JSON: invalid unicode code point"),
        ("POST", "/classify", b'{"input": ["a", "\\ud800"]}', 400, "hex escape"),
        ("POST", "/classify", b"[" * 50_000, 400, ""),
        ("POST", "/classify", b'{"input": ' + b"9" * 6000 + b"}", 400, ""),
        ("POST", "/classify", {"input": 7}, 400, "input"),
        ("POST", "/classify", {"input": [1, 2]}, 400, "input"),
        ("POST", "/classify", {"input": [["a"]]}, 400, "input"),
        ("POST", "/classify", {"input": None}, 400, "input"),
        ("POST", "/classify", {"input": []}, 400, "at least 1 item"),
        ("POST", "/classify", {"input": "a", "model": "other"}, 404, "no model 'other'; there are: support"),
        ("POST", "/classify", {"input": "a", "use_activation": False}, 400, "use_activation: Input should be True"),
        ("POST", "/classify", {"input": ["a"] * 301}, 413, "301 texts are too many; send at most 300"),
        ("POST", "/classify", {"input": "a" * 20_001}, 413, "more than 20,000 characters"),
        ("POST", "/classify", {"input": "a" * 250_000}, 413, "larger than 200,000 bytes"),
        ("GET", "/classify", None, 405, "Method Not Allowed"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("GET", "/labelspace?model=x", None, 404, "no model 'x'"),
        ("DELETE", "/labelspace", None, 405, "Method Not Allowed"),
    ],
)
def test_what_is_refused_says_why(server: Any, method: str, path: str, body: Any, status: int, message: str) -> None:
    found, _, reply = call(server.port, method, path, body)
    assert found == status
    assert message in reply["error"]["message"] and reply["error"]["code"] == status
    assert call(server.port, "POST", "/classify", {"input": "a"})[0] == 200


def test_the_space_the_health_the_counts_and_the_page(server: Any, classifier: HeadClassifier) -> None:
    _, _, space = call(server.port, "GET", "/labelspace")
    assert (space["labels"], space["space_version"]) == (classifier.names, classifier.space.version)
    assert call(server.port, "GET", "/health")[2] == {"status": "ok"}
    assert call(server.port, "GET", "/v1/models")[2]["data"][0]["id"] == "support"
    before = counted(server.port)
    call(server.port, "POST", "/classify", {"input": ["Where is my parcel?", ""]})
    after = counted(server.port)
    [label] = classifier.head.predict(["Where is my parcel?"])  # type: ignore[attr-defined]
    for name in (f'labelspace_labels_total{{label="{label}"}}', "labelspace_confidence_count"):
        assert after[name] - before.get(name, 0) == 1
    assert after['labelspace_unlabelled_total{reason="empty text"}'] >= 1
    status, headers, page = call(server.port, "GET", "/docs")
    assert status == 200 and headers["content-type"].startswith("text/html") and "//" not in page.replace("://", "")
    assert set(call(server.port, "GET", "/openapi.json")[2]["paths"]) >= {"/classify", "/labelspace", "/health"}


def test_a_key(start: Any) -> None:
    with start(key="s3cret") as running:
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            for path in ("/labelspace", "/metrics", "/v1/models"):
                assert call(running.port, "GET", path, **headers)[0] == 401
            status, told, reply = call(running.port, "POST", "/classify", {"input": "a"}, **headers)
            assert (status, told["www-authenticate"]) == (401, "Bearer") and "key is missing" in str(reply)
        assert call(running.port, "POST", "/classify", {"input": "a"}, Authorization="Bearer s3cret")[0] == 200
        assert call(running.port, "GET", "/health")[0] == 200


# -- slow, broken and too many -----------------------------------------------------------------------


def converse(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts with pauses between them, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
            found = b""
            while piece := line.recv(65536):
                found += piece
        except ConnectionError:
            return b""
    return found


def test_a_head_that_comes_slowly_is_cut_off(impatient: Any) -> None:
    assert converse(impatient.port, b"POST /classify HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 40, pause=0.05) == b""
    assert converse(impatient.port) == b""  # says nothing at all


@pytest.mark.parametrize(
    "part", [b"X-A: " + b"a" * 100_000 + b"\r\n", b"a" * 100_000], ids=["many headers", "one header"]
)
def test_a_head_that_never_ends_is_cut_off(server: Any, part: bytes) -> None:
    assert converse(server.port, b"POST /classify HTTP/1.1\r\nX-B: b", *[part] * 50) == b""
    chunked = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert not converse(server.port, chunked + b"X-B: b", *[part] * 50).startswith(b"HTTP/1.1 200")
    assert call(server.port, "POST", "/classify", {"input": "a"})[0] == 200


def test_a_body_that_comes_slowly_is_refused(impatient: Any) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    found = converse(impatient.port, head, *[b"{"] * 12, pause=0.1)
    assert found == b"" or b" 408 " in found.splitlines()[0]
    assert b" 408 " in converse(impatient.port, head).splitlines()[0]


def test_a_body_of_unknown_length_is_bounded_too(server: Any) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
    found = converse(server.port, head, *[chunk] * 8)
    assert found == b"" or b" 413 " in found.splitlines()[0]


def test_no_http_at_all(server: Any) -> None:
    assert b" 400 " in converse(server.port, b"\x16\x03\x01 hello\r\n\r\n").splitlines()[0]
    assert call(server.port, "GET", "/health")[0] == 200


def test_too_many_wait_and_are_told_to_come_again(start: Any, classifier: HeadClassifier) -> None:
    go = threading.Event()

    def predict(asked: Any) -> Any:
        go.wait(60)
        return classifier.head.predict_proba(asked)

    with start(predict=predict, batch_size=2, most_waiting=4) as running, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(call, running.port, "POST", "/classify", {"input": "parcel"}) for _ in range(12)]
        while sum(one.done() for one in asked) < 12 - (2 + 4):  # two are in the model, four wait
            time.sleep(0.01)
        go.set()
        found = [one.result() for one in asked]
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 503} and statuses.count(200) >= 5
    assert all(headers["retry-after"] == "1" for status, headers, _ in found if status == 503)


def test_an_answer_that_takes_too_long(start: Any, classifier: HeadClassifier) -> None:
    go, done = threading.Event(), threading.Event()

    def predict(asked: Any) -> Any:
        go.wait(60)
        found = classifier.head.predict_proba(asked)
        done.set()
        return found

    with start(predict=predict, limits=Limits(answer_seconds=1.5)) as running:
        status, _, reply = call(running.port, "POST", "/classify", {"input": "a"})
        assert (status, reply["error"]["message"]) == (504, "there was no answer within 1.5 s")
        go.set()
        assert done.wait(60), "the late answer, before which no other begins"
        assert call(running.port, "POST", "/classify", {"input": "a"})[0] == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_breaks_the_model_spoils_no_other(start: Any, classifier: HeadClassifier) -> None:
    def predict(asked: Any) -> Any:
        time.sleep(0.05)
        if "poison" in asked:
            raise RuntimeError("boom")
        return classifier.head.predict_proba(asked)

    with start(predict=predict) as running, ThreadPoolExecutor(20) as pool:
        texts = ["poison" if n == 7 else f"parcel {n}" for n in range(20)]
        found = list(pool.map(lambda text: call(running.port, "POST", "/classify", {"input": text})[::2], texts))
    assert [status for status, _ in found] == [500 if text == "poison" else 200 for text in texts]
    assert found[7][1]["error"]["message"] == "the server failed at this request"


def test_a_stop_finishes_what_was_accepted(start: Any, classifier: HeadClassifier) -> None:
    go = threading.Event()

    def predict(asked: Any) -> Any:
        go.wait(60)
        return classifier.head.predict_proba(asked)

    with ThreadPoolExecutor(6) as pool, start(predict=predict, batch_size=2) as running:
        asked = [pool.submit(call, running.port, "POST", "/classify", {"input": ["a parcel"] * 2}) for _ in range(6)]
        running.has(6)
        running.server.should_exit = True
        time.sleep(0.2)  # it looks every tenth of a second
        go.set()
        assert [one.result()[0] for one in asked] == [200] * 6
        with pytest.raises(ConnectionError):
            call(running.port, "GET", "/health")
