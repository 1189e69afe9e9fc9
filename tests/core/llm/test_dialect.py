"""How replies are held to their form on servers that differ, and that it is never silently not done."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import ConfigError, ModelError
from labelspace.llm import Engine, Reply, Request, TokenLogprob, connect, run
from labelspace.llm.client import HTTPModel
from labelspace.llm.refusals import retry_after
from labelspace.llm.scores import choice_distribution

ASK = [{"role": "user", "content": "Which?"}]
CHOICES = Request(ASK, choices=("A", "B"), max_tokens=4)
SCHEMA = Request(ASK, schema={"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]})


def one(server: Any, request: Request, *, journal: Path | None = None, model: Any = None) -> Reply:
    async def go() -> Reply:
        async with Engine(model or server.url, journal=journal) as engine:
            return await engine.ask(request, lambda reply: reply)

    return run(go())


@pytest.fixture
def answers(server: Any) -> Any:
    return sys.modules[type(server).__module__]


SERVERS = [
    ("vllm", "0.32.0", "structured_outputs"),
    ("vllm", "0.12.0rc1", "structured_outputs"),
    ("vllm", "0.11.2", "guided"),
    ("vllm", "0.8.5.post1", "guided"),
    ("vllm", "1.0.0", "structured_outputs"),
    ("vllm", "0.1.dev1+g12345", "json_schema"),
    ("vllm", None, "json_schema"),
    ("openai", "0.32.0", "json_schema"),
]


@pytest.mark.parametrize(("owner", "version", "way"), SERVERS)
def test_the_way_fits_the_server(server: Any, answers: Any, owner: str, version: str | None, way: str) -> None:
    server.owned_by, server.version = owner, version
    wrapped = way == "json_schema"
    server.script = lambda body, count: answers.Answer(text='{"choice": "A"}' if wrapped else "A")
    reply = one(server, CHOICES)
    assert (reply.text, reply.constraint) == ("A", way)
    body = server.bodies[0]
    sent = {
        "structured_outputs": body.get("structured_outputs") == {"choice": ["A", "B"]},
        "guided": body.get("guided_choice") == ["A", "B"],
        "json_schema": body.get("response_format", {}).get("json_schema", {}).get("strict") is True,
    }
    assert sent == {name: name == way for name in sent}
    assert body["max_tokens"] == (20 if wrapped else 4)
    server.script = lambda body, count: answers.Answer(text='{"label": "x"}')
    assert one(server, SCHEMA).constraint == way
    body = server.bodies[-1]
    if way == "structured_outputs":
        assert body["structured_outputs"] == {"json": dict(SCHEMA.schema or {})}
    elif way == "guided":
        assert body["guided_json"] == dict(SCHEMA.schema or {})
    else:
        assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False


def picky(answers: Any, *, refused: tuple[str, ...]) -> Any:
    """A server that answers 400 to parameters it does not know, and each form with its own shape."""

    def script(body: dict[str, Any], count: int) -> Any:
        for name in refused:
            if name in body:
                return answers.error(400, f"Unrecognized request argument supplied: {name}")
        if "tools" in body:
            return answers.Answer(tool='{"choice": "B"}')
        return answers.Answer(text='{"choice": "B"}' if "response_format" in body else "B")

    return script


FALLBACKS = [
    ((), "json_schema", 1),
    (("response_format",), "tool", 2),
    (("response_format", "tools"), "prompt", 3),
]


@pytest.mark.parametrize(("refused", "way", "calls"), FALLBACKS)
def test_a_refused_way_is_replaced_and_said(
    server: Any, answers: Any, refused: Any, way: str, calls: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = picky(answers, refused=refused)
    path = tmp_path / "j.sqlite"
    reply = one(server, CHOICES, journal=path)
    assert (reply.text, reply.constraint, len(server.bodies)) == ("B", way, calls)
    said = capsys.readouterr().err
    assert ("in words only" in said) == (way == "prompt")
    # The next run remembers, asks nothing, and says the same.
    again = one(server, CHOICES, journal=path)
    assert (again.text, again.constraint, again.reused, len(server.bodies)) == ("B", way, True, calls)
    # Also with the server away.
    server.stop()
    assert one(server, CHOICES, journal=path).text == "B"
    server.start()


def test_many_rows_in_flight_fall_back_together(server: Any, answers: Any, tmp_path: Path) -> None:
    server.script = picky(answers, refused=("response_format",))
    rows = [Request([{"role": "user", "content": f"Which? {n}"}], choices=("A", "B")) for n in range(100)]

    async def go() -> tuple[list[str | None], dict[str, Any]]:
        async with Engine(server.url, journal=tmp_path / "j.sqlite", concurrency=16) as engine:
            values = [o.value async for o in engine.map(rows, lambda row: row, lambda reply, row: reply.text)]
            return values, engine.stats.to_data()

    values, stats = run(go())
    assert values == ["B"] * 100
    assert len(server.bodies) <= 100 + 16
    assert stats["constraints"] == {"tool": 100}
    before = len(server.bodies)
    values, stats = run(go())
    assert (values, stats["calls"], len(server.bodies)) == (["B"] * 100, 0, before)


PARAMETERS = [
    (
        "max_tokens",
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "max_completion_tokens",
    ),
    ("temperature", "Unsupported value: 'temperature' does not support 0.0 with this model.", None),
    ("logprobs", "logprobs are not supported by this model", None),
    ("seed", "Unknown parameter: 'seed'", None),
]


@pytest.mark.parametrize(("name", "message", "instead"), PARAMETERS)
def test_a_parameter_that_is_refused_is_left_out(
    server: Any, answers: Any, name: str, message: str, instead: str | None
) -> None:
    server.script = lambda body, count: answers.error(400, message) if name in body else answers.Answer(text="fine")
    reply = one(server, Request(ASK, max_tokens=5, seed=1, logprobs=3))
    assert reply.text == "fine"
    assert len(server.bodies) == 2
    assert name not in server.bodies[1]
    assert instead is None or server.bodies[1][instead] == 5


def test_a_way_can_be_forced(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.Answer(tool='{"choice": "A"}')
    reply = one(server, CHOICES, model=connect(server.url, constraint="tool"))
    assert (reply.text, reply.constraint) == ("A", "tool")
    assert server.gets == []
    with pytest.raises(ConfigError, match="no way to constrain replies is named 'magic'"):
        connect(server.url, constraint="magic")


def test_further_parameters_are_sent_and_part_of_the_key(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    for top_k in (1, 1, 2):
        one(server, Request(ASK), journal=path, model=connect(server.url, parameters={"top_k": top_k}))
    assert [body["top_k"] for body in server.bodies] == [1, 2]


def test_the_only_model_of_a_server_needs_no_name(server: Any) -> None:
    bare = server.url.partition("#")[0]

    async def name() -> str:
        async with Engine(bare) as engine:
            return engine.model.name

    assert run(name()) == "fake"
    server.models = ["one", "two"]
    with pytest.raises(ModelError, match=r"has 2 models; name one: http://127.0.0.1:\d+/v1#one or #two"):
        run(name())
    server.stop()
    with pytest.raises(ModelError, match="is the server up"):
        run(name())


@pytest.mark.parametrize("wrong", ["gpt", "http://", "ftp://x/v1#m", ":x", "http:"])
def test_a_string_that_names_no_model(wrong: str) -> None:
    with pytest.raises(ConfigError, match="write http://host"):
        connect(wrong)


LOGPROBS = {
    "content": [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": other, "logprob": value} for other, value in top],
        }
        for token, logprob, top in [
            ('{"', -0.0, []),
            ("choice", -0.0, []),
            ('":', -0.0, []),
            (' "', -0.0, []),
            ("B", math.log(0.6), [("B", math.log(0.6)), ("A", math.log(0.3)), (" B", math.log(0.05)), ("C", -3)]),
            ('"}', -0.0, []),
        ]
    ]
}


def test_log_probabilities_become_a_distribution(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.Answer(text='{"choice": "B"}', logprobs=LOGPROBS)
    reply = one(server, Request(ASK, choices=("A", "B"), logprobs=5))
    assert server.bodies[0]["logprobs"] is True
    assert server.bodies[0]["top_logprobs"] == 5
    assert reply.logprobs is not None
    assert reply.logprobs[0].token == "B"
    scores = choice_distribution(reply, ("A", "B"))
    assert scores == pytest.approx({"A": 0.3 / 0.95, "B": 0.65 / 0.95})


def test_distributions_without_enough_to_tell() -> None:
    assert choice_distribution(Reply("A"), ("A", "B")) is None
    none = (TokenLogprob("x", -1.0, (("x", -1.0),)),)
    assert choice_distribution(Reply("x", logprobs=none), ("A", "B")) is None
    exact = choice_distribution(Reply("A", choice_logprobs={"A": math.log(0.02), "B": math.log(0.06)}), ("A", "B"))
    assert exact == pytest.approx({"A": 0.25, "B": 0.75})


def test_log_probabilities_survive_the_journal(server: Any, answers: Any, tmp_path: Path) -> None:
    server.script = lambda body, count: answers.Answer(text="B", logprobs=LOGPROBS)
    path = tmp_path / "j.sqlite"
    request = Request(ASK, logprobs=5)
    first, again = one(server, request, journal=path), one(server, request, journal=path)
    assert again.reused
    assert again.logprobs == first.logprobs
    assert again.completion_tokens == first.completion_tokens == 2


def test_retry_after_forms() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [retry_after(value) for value in (None, "", "soon", "-3")] == [None, None, None, 0.0]


def test_a_password_in_an_address_is_not_shown() -> None:
    model = HTTPModel("http://user:secret@127.0.0.1:9/v1", "m")
    assert "secret" not in model.address
    assert json.loads(model.encode(Request(ASK)))["model"] == "m"
