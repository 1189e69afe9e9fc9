"""Every fault that a server can have, met over a real socket: no row lost, none doubled, in order."""

from __future__ import annotations

import asyncio
import email.utils
import json
import sys
import threading
import time
from typing import Any

import pytest

from labelspace.errors import EXIT_FAILED, ModelError
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request, iterate, run
from labelspace.llm.client import HTTPModel

LABELS = ("billing", "refund", "login")


def ask_for(item: Any) -> Request:
    return Request([{"role": "user", "content": f"Label this: {item}"}], max_tokens=8)


def read(reply: Reply, item: Any) -> str:
    text = reply.text.strip()
    if text not in LABELS:
        raise ReplyError("Answer with one of the labels.")
    return text


def label(server: Any, rows: Any, **settings: Any) -> tuple[list[Outcome[Any, str]], dict[str, Any]]:
    """All outcomes of a run over a server, and its figures."""
    timeout = settings.pop("timeout", 60.0)
    shorten = settings.pop("shorten", None)
    found: dict[str, Any] = {}

    async def go() -> list[Outcome[Any, str]]:
        base, _, name = server.url.partition("#")
        settings.setdefault("concurrency", 8)
        async with Engine(HTTPModel(base, name, timeout=timeout), **settings) as engine:
            try:
                return [outcome async for outcome in engine.map(rows, ask_for, read, shorten=shorten)]
            finally:
                found.update(engine.stats.to_data())

    return run(go()), found


def row_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"]).removeprefix("Label this: ")


class Once:
    """A script that fails each row the first times it is asked, then answers."""

    def __init__(self, fault: Any, good: Any, times: int = 1) -> None:
        self.fault, self.good, self.times = fault, good, times
        self.seen: dict[str, int] = {}

    def __call__(self, body: dict[str, Any], count: int) -> Any:
        row = row_of(body)
        self.seen[row] = self.seen.get(row, 0) + 1
        return self.fault if self.seen[row] <= self.times and int(row) % 3 == 0 else self.good


@pytest.fixture
def answers(server: Any) -> Any:
    """The two makers of answers that stand in conftest."""
    return sys.modules[type(server).__module__]


TRANSIENT = {
    "429 without Retry-After": lambda a: a.error(429),
    "429 with Retry-After in seconds": lambda a: a.error(429, retry_after="0.2"),
    "429 with Retry-After as a date": lambda a: a.error(
        429, retry_after=email.utils.formatdate(time.time() + 1, usegmt=True)
    ),
    "500": lambda a: a.error(500),
    "502 as a page": lambda a: a.Answer(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"),
    "503": lambda a: a.error(503),
    "503 with Retry-After": lambda a: a.error(503, retry_after="0.1"),
    "a passing 400": lambda a: a.error(400),
    "reset": lambda a: a.Answer(then="reset"),
    "reset in the body": lambda a: a.Answer(then="cut"),
    "truncated JSON": lambda a: a.Answer(body=b'{"choices": [{"message": {"content": "bil'),
    "no JSON": lambda a: a.Answer(body=b"Service is fine", content_type="text/plain"),
    "another JSON": lambda a: a.Answer(body=b'{"detail": "warming up"}'),
    "null content": lambda a: a.Answer(body=b'{"choices": [{"message": {"content": null}}]}'),
    "wrong content type": lambda a: a.Answer(content_type="text/html"),
    "empty reply": lambda a: a.Answer(text=""),
    "white reply": lambda a: a.Answer(text=" \n"),
    "1 MB reply": lambda a: a.Answer(text="x" * (1 << 20)),
    "endless reply": lambda a: a.Answer(then="flood"),
    "label outside the space": lambda a: a.Answer(text="not_a_label"),
    "hung": lambda a: a.Answer(then="hang"),
}


@pytest.mark.parametrize("fault", list(TRANSIENT))
def test_passing_faults_lose_no_row(server: Any, answers: Any, fault: str) -> None:
    server.script = Once(TRANSIENT[fault](answers), answers.Answer())
    # An answer that is late would be asked for again, and counted: only what hangs may time out.
    outcomes, stats = label(server, range(20), timeout=2.0 if fault == "hung" else 60.0)
    assert [outcome.item for outcome in outcomes] == list(range(20))
    assert [outcome.value for outcome in outcomes] == ["billing"] * 20
    assert all(outcome.status == "ok" for outcome in outcomes)
    extra = 0 if fault == "wrong content type" else 7
    assert len(server.bodies) == stats["calls"] == 20 + extra


def test_a_slow_row_does_not_hold_up_those_after_it(server: Any, answers: Any) -> None:
    """The first row is answered only when all others have been asked."""
    others: set[str] = set()  # a row that a paused machine sends again is one of them still

    def script(body: dict[str, Any], count: int) -> Any:
        if row_of(body) == "0":
            return answers.Answer(until=lambda: len(others) == 899)
        others.add(row_of(body))
        return answers.Answer()

    server.script = script
    outcomes, stats = label(server, range(900), timeout=100.0)
    assert [outcome.value for outcome in outcomes] == ["billing"] * 900
    assert len(server.bodies) == stats["calls"]


def test_retry_after_is_obeyed_by_everybody(server: Any, answers: Any) -> None:
    asked_at: list[float] = []

    def script(body: dict[str, Any], count: int) -> Any:
        if count == 4:
            asked_at.append(time.monotonic())
            return answers.error(429, retry_after="0.6")
        return answers.Answer(delay=0.02)

    server.script = script
    outcomes, _ = label(server, range(40), concurrency=4)
    assert len(outcomes) == 40
    # The other three may be under way when it is said, and be followed by three before it is read.
    early = [came for came in server.times[4:] if came < asked_at[0] + 0.6]
    assert len(early) <= 6, "nobody sends while the server asked to wait"


def test_pushback_from_the_start_is_waited_out(server: Any, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute of a rate limit may have been used up before this run began."""
    monkeypatch.setattr("labelspace.llm.calls._FIRST_PATIENCE", 0.05)
    server.script = Once(answers.error(429, retry_after="0.1"), answers.Answer(), times=3)
    outcomes, _ = label(server, ["0"])
    assert [outcome.value for outcome in outcomes] == ["billing"]


def test_a_server_that_dies_and_returns(server: Any, answers: Any) -> None:
    down = threading.Event()
    # From the 40th on none is answered before the server has died: four are in flight when it does.
    server.script = lambda body, count: answers.Answer(until=lambda: count < 40 or down.is_set())

    def outage() -> None:
        while len(server.bodies) < 43:
            time.sleep(0.01)
        server.stop()
        down.set()
        time.sleep(0.7)
        server.start()

    thread = threading.Thread(target=outage, daemon=True)
    thread.start()
    outcomes, stats = label(server, range(300), concurrency=4)
    thread.join(60)
    assert [outcome.value for outcome in outcomes] == ["billing"] * 300
    assert stats["faults"]


def test_no_server_is_said_soon_and_once(server: Any) -> None:
    server.stop()
    start = time.monotonic()
    with pytest.raises(ModelError, match="no connection to http://127.0.0.1") as caught:
        label(server, range(300), patience=0.5)
    assert time.monotonic() - start < 9  # by itself it would try for 10 s
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_FAILED


STOPPING = [
    (lambda a: a.error(401, "Incorrect API key provided: sk-abcdefgh1234"), r"refuses the key.*LABELSPACE_API_KEY"),
    (lambda a: a.error(403, "no access"), "refuses the key"),
    (lambda a: a.error(404, "The model `fake` does not exist", "model_not_found"), "does not know the model 'fake'"),
    (lambda a: a.error(404, "Not Found"), "does not know the model"),
    (lambda a: a.error(402, "pay"), "no credit"),
    (lambda a: a.error(429, "You exceeded your current quota", "insufficient_quota"), "no credit"),
    (lambda a: a.Answer(status=307, headers={"location": "http://127.0.0.1:1/v1"}), "redirects"),
    (lambda a: a.error(429, "daily limit", retry_after="86400"), "asks to wait 86400 s"),
]


@pytest.mark.parametrize(("answer", "line"), STOPPING)
def test_what_no_row_can_pass_stops_at_once(server: Any, answers: Any, answer: Any, line: str) -> None:
    server.script = lambda body, count: answer(answers)
    with pytest.raises(ModelError, match=line) as caught:
        label(server, range(1000), concurrency=4)
    assert len(server.bodies) <= 4
    assert "\n" not in str(caught.value)
    assert "abcdefgh" not in str(caught.value)


def test_a_row_that_is_refused_fails_alone(server: Any, answers: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        return answers.error(400, "bad row") if row_of(body) == "7" else answers.Answer()

    server.script = script
    outcomes, stats = label(server, range(30))
    assert [outcome.status for outcome in outcomes] == ["ok"] * 7 + ["failed"] + ["ok"] * 22
    assert (outcomes[7].code, outcomes[7].reason) == ("rejected", "HTTP 400: bad row")
    assert stats["failures"] == {"rejected": 1}


def test_a_row_that_stays_unreadable_keeps_its_raw_reply(server: Any, answers: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        return answers.Answer(text="no idea") if row_of(body) == "1" else answers.Answer()

    server.script = script
    outcomes, _ = label(server, range(3), repairs=2)
    assert (outcomes[1].status, outcomes[1].code, outcomes[1].raw) == ("failed", "unreadable", "no idea")
    assert outcomes[1].reason == "Answer with one of the labels."
    last = server.bodies[-1]["messages"]
    asked = [body for body in server.bodies if row_of(body) == "1"]
    assert len(asked) == 3
    assert last == asked[-1]["messages"] or len(asked[-1]["messages"]) == 3
    assert asked[-1]["messages"][1:] == [
        {"role": "assistant", "content": "no idea"},
        {"role": "user", "content": "Answer with one of the labels."},
    ]


def test_refusals_of_a_content_filter(server: Any, answers: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        kinds = {
            "0": answers.Answer(text="", finish="content_filter"),
            "1": answers.error(400, "The response was filtered", "content_filter"),
            "2": answers.Answer(
                body=json.dumps({"choices": [{"message": {"content": None, "refusal": "I can't"}}]}).encode()
            ),
        }
        return kinds.get(row_of(body), answers.Answer())

    server.script = script
    outcomes, stats = label(server, range(5))
    assert [outcome.code for outcome in outcomes] == ["content_filter"] * 3 + [None] * 2
    assert stats["calls"] == 5


TOO_LONG = [
    (400, "This model's maximum context length is 4096 tokens. However, you requested 5000", "context_length_exceeded"),
    (400, "The decoder prompt (length 90) is longer than the maximum model length of 64.", None),
    (413, "payload", None),
]


@pytest.mark.parametrize("refusal", TOO_LONG)
def test_documents_that_are_too_long_are_shortened(server: Any, answers: Any, refusal: Any, tmp_path: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        return answers.error(*refusal) if len(row_of(body)) > 40 else answers.Answer()

    server.script = script
    texts = ["short", "x" * 100, "y" * 30]
    cut: list[int] = []

    def shorten(item: str, step: int) -> Request:
        cut.append(step)
        return ask_for(item[: len(item) >> step])

    outcomes, stats = label(server, texts, shorten=shorten, journal=tmp_path / "j.sqlite")
    assert [outcome.value for outcome in outcomes] == ["billing"] * 3
    assert [outcome.reason for outcome in outcomes] == [None, "the text was shortened to fit the model's context", None]
    assert cut == [1, 2]
    assert (stats["calls"], stats["shortened"]) == (5, 1)
    again, replayed = label(server, texts, shorten=shorten, journal=tmp_path / "j.sqlite")
    assert [outcome.reason for outcome in again] == [outcome.reason for outcome in outcomes]
    assert replayed["calls"] == 0
    alone, _ = label(server, texts)
    assert [outcome.code for outcome in alone] == [None, "context_length", None]


def test_systematic_failure_at_the_start_stops_early(server: Any, answers: Any, tmp_path: Any) -> None:
    server.script = lambda body, count: answers.Answer(text="gibberish")
    with pytest.raises(ModelError, match="the first 20 rows all failed; the last one: Answer with"):
        label(server, range(1000), concurrency=2, journal=tmp_path / "j.sqlite")
    assert len(server.bodies) <= 3 * 22


def test_max_errors(server: Any, answers: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        return answers.Answer(text="gibberish" if int(row_of(body)) % 2 else "login")

    server.script = script
    with pytest.raises(ModelError, match="more than 5 rows failed"):
        label(server, range(1000), max_errors=5, concurrency=2)
    outcomes, _ = label(server, range(10), max_errors=5)
    assert sum(outcome.status == "failed" for outcome in outcomes) == 5


def test_a_bad_source_raises_after_what_came_before(server: Any) -> None:
    def rows() -> Any:
        yield from range(5)
        raise ValueError("row 6 is broken")

    seen: list[int] = []

    async def go() -> None:
        async with Engine(server.url, concurrency=4) as engine:
            async for outcome in engine.map(rows(), ask_for, read):
                seen.append(outcome.item)

    with pytest.raises(ValueError, match="row 6"):
        run(go())
    assert seen == list(range(5))


def test_a_bug_in_a_parser_is_not_hidden(server: Any) -> None:
    async def go() -> None:
        async with Engine(server.url, concurrency=4) as engine:
            async for _ in engine.map(range(5), ask_for, lambda reply, item: {}["missing"]):
                pass

    with pytest.raises(KeyError, match="missing"):
        run(go())


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(server: Any) -> None:
    outcomes, _ = label(server, ["a\ud800b"])
    assert outcomes[0].status == "ok"
    assert row_of(server.bodies[0]) == "a?b"


def test_a_slow_source_does_not_hold_up_calls(server: Any, answers: Any) -> None:
    """The source gives no third row before the first is answered."""
    first = threading.Event()

    def rows() -> Any:
        yield 0
        time.sleep(0.1)  # longer than more is waited for
        yield 1
        assert first.wait(60)
        yield 2

    seen: list[int] = []

    async def stream() -> Any:
        async with Engine(server.url) as engine:
            async for outcome in engine.map(rows(), ask_for, read):
                yield outcome

    for outcome in iterate(stream):
        seen.append(outcome.item)
        first.set()
    assert seen == [0, 1, 2]


def test_leaving_a_stream_early_keeps_what_is_in_flight(server: Any, answers: Any, tmp_path: Any) -> None:
    leaving = threading.Event()

    def script(body: dict[str, Any], count: int) -> Any:
        return (
            answers.Answer() if row_of(body) == "0" else answers.Answer(delay=0.1 * server.slow, until=leaving.is_set)
        )

    server.script = script

    async def stream() -> Any:
        async with Engine(server.url, concurrency=8, journal=tmp_path / "j.sqlite") as engine:
            async for outcome in engine.map(range(100), ask_for, read):
                yield outcome

    def leave() -> None:
        while len(server.bodies) < 9:  # the first row, and eight in flight after it
            time.sleep(0.01)
        time.sleep(0.2)  # `close` is under way
        leaving.set()

    server.slow = True
    rows = iterate(stream)
    assert next(rows).item == 0
    threading.Thread(target=leave, daemon=True).start()
    rows.close()
    asked = len(server.bodies)
    server.slow = False
    assert asked < 100
    outcomes, stats = label(server, range(100), journal=tmp_path / "j.sqlite")
    assert len(outcomes) == 100
    assert stats["reused"] == asked, "everything sent was paid, and is in the journal"
    assert len(server.bodies) == 100


def test_works_from_inside_a_running_loop(server: Any) -> None:
    async def notebook() -> int:
        return len(label(server, range(5))[0])

    assert asyncio.run(notebook()) == 5
