"""LangChain's models get the same guarantees: journal, budget, resume, faults, constraints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from labelspace.errors import ConfigError, ModelError
from labelspace.llm import Engine, Outcome, Reply, ReplyError, Request, connect, run
from labelspace.llm.langchain import LangChainModel

CHOICES = ("billing", "refund")


def ask_for(item: Any) -> Request:
    return Request([{"role": "user", "content": f"Label this: {item}"}], choices=CHOICES, max_tokens=8)


def read(reply: Reply, item: Any) -> str:
    if reply.text not in CHOICES:
        raise ReplyError("Answer with one of the labels.")
    return reply.text


def go(model: Any, rows: Any, **settings: Any) -> tuple[list[Outcome[Any, str]], dict[str, Any]]:
    async def work() -> tuple[list[Outcome[Any, str]], dict[str, Any]]:
        async with Engine(model, concurrency=8, **settings) as engine:
            return [outcome async for outcome in engine.map(rows, ask_for, read)], engine.stats.to_data()

    return run(work())


@pytest.fixture
def answers(server: Any) -> Any:
    return sys.modules[type(server).__module__]


def openai(server: Any, timeout: float = 60.0) -> Any:
    base = server.url.partition("#")[0]
    return connect("openai:fake", api_key="sk-secret", timeout=timeout, parameters={"base_url": base})


def messages(*texts: str) -> Iterator[AIMessage]:
    return iter([AIMessage(text) for text in texts])


def test_a_fake_chat_model_with_journal_and_repairs(tmp_path: Path) -> None:
    model = LangChainModel(GenericFakeChatModel(messages=messages("hm", "refund")))
    outcomes, stats = go(model, ["x"], journal=tmp_path / "j.sqlite")
    assert (outcomes[0].value, stats["repairs"]) == ("refund", 1)
    assert outcomes[0].reply is not None
    assert outcomes[0].reply.constraint == "prompt", "it cannot be held to anything, and that is said"
    again, stats = go(LangChainModel(GenericFakeChatModel(messages=messages())), ["x"], journal=tmp_path / "j.sqlite")
    assert (again[0].value, stats["calls"]) == ("refund", 0)


def test_langchain_openai_over_a_real_socket(server: Any, answers: Any, tmp_path: Path) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        if count % 5 == 2:
            return answers.error(429, retry_after="0.05")
        if count % 5 == 4:
            return answers.Answer(then="reset")
        return answers.Answer(text='{"choice": "billing"}')

    server.script = script
    path = tmp_path / "j.sqlite"
    outcomes, stats = go(openai(server), range(40), journal=path)
    assert [outcome.value for outcome in outcomes] == ["billing"] * 40
    assert stats["constraints"] == {"json_schema": 40}
    assert stats["prompt_tokens"] >= 40 * 20
    body = server.bodies[0]
    assert body["temperature"] == 0.0
    assert body["response_format"]["json_schema"]["schema"]["properties"]["choice"]["enum"] == list(CHOICES)
    before = len(server.bodies)
    _, stats = go(openai(server), range(40), journal=path)
    assert (stats["calls"], len(server.bodies)) == (0, before)
    for file in tmp_path.iterdir():
        assert b"secret" not in file.read_bytes()


FAULTS = [
    ("500", lambda a: a.error(500)),
    ("hung", lambda a: a.Answer(then="hang")),
    ("cut", lambda a: a.Answer(then="cut")),
    ("no JSON", lambda a: a.Answer(body=b"fine", content_type="text/plain")),
]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_passing_faults(server: Any, answers: Any, name: str, fault: Any) -> None:
    server.script = lambda body, count: fault(answers) if count == 2 else answers.Answer(text='{"choice": "refund"}')
    outcomes, _ = go(openai(server, 1.0 if name == "hung" else 60.0), range(6))
    assert [outcome.value for outcome in outcomes] == ["refund"] * 6


def test_a_bad_key_stops_at_once(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.error(401, "Incorrect API key provided")
    with pytest.raises(ModelError, match="refuses the key"):
        go(openai(server), range(100))
    assert len(server.bodies) <= 8


def test_context_length_and_filter(server: Any, answers: Any) -> None:
    def script(body: dict[str, Any], count: int) -> Any:
        text = json.dumps(body["messages"])
        if "long" in text:
            return answers.error(400, "maximum context length is 10", "context_length_exceeded")
        return answers.error(400, "filtered", "content_filter")

    server.script = script
    outcomes, _ = go(openai(server), ["long", "bad"])
    assert [outcome.code for outcome in outcomes] == ["context_length", "content_filter"]


def test_budget(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.Answer(text='{"choice": "refund"}')
    with pytest.raises(ModelError, match="the budget of 10 calls is spent"):
        go(openai(server), range(100), budget="10 calls")
    assert len(server.bodies) == 10


def test_what_langchain_does_not_know() -> None:
    with pytest.raises(ConfigError, match="'nobody:gpt' is no model that LangChain knows"):
        connect("nobody:gpt")
    with pytest.raises(ConfigError, match="pip install langchain-anthropic"):
        connect("anthropic:claude")
    with pytest.raises(ModelError, match="'openai:gpt-4o' cannot be set up"):
        connect("openai:gpt-4o")


def test_it_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; import labelspace.llm; from labelspace.llm import connect; connect('http://127.0.0.1:1/v1#m'); "
        "print([name for name in ('langchain', 'torch', 'transformers', 'vllm', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
