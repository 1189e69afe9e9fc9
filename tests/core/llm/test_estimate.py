"""A dry run tells what would be asked and what it costs, and sends nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from labelspace.llm import Engine, Estimate, Reply, Request, run
from labelspace.llm.tokens import token_counter

TABLE = "models: {fake: {input: 10.0, output: 100.0}}"


def ask_for(item: Any) -> Request:
    return Request([{"role": "user", "content": f"Label this: {item}"}], choices=("billing", "refund"), max_tokens=8)


def look(server: Any, rows: Any, journal: Path, *, prices: Path | None = None) -> Estimate:
    async def work() -> Estimate:
        async with Engine(server.url, journal=journal, prices=prices) as engine:
            return engine.estimate(rows, ask_for)

    return run(work())


def test_a_dry_run_sends_nothing_and_counts_what_is_left(server: Any, tmp_path: Path) -> None:
    path, table = tmp_path / "j.sqlite", tmp_path / "prices.yaml"
    table.write_text(TABLE)
    found = look(server, [*range(100), 5, 6], path, prices=table)
    assert (found.rows, found.calls, found.reused, server.bodies) == (102, 100, 2, [])
    assert found.examples[0] == ask_for(0)
    assert found.most_completion_tokens == 800
    assert found.money == pytest.approx((found.prompt_tokens * 10 + found.completion_tokens * 100) / 1e6)
    assert "102 rows, 100 calls" in found.lines()[0]
    assert "at most $" in found.lines()[2]

    async def label() -> None:
        async with Engine(server.url, journal=path) as engine:
            async for _ in engine.map(range(60), ask_for, lambda reply, item: reply.text):
                pass

    run(label())
    left = look(server, range(100), path)
    assert (left.calls, left.reused) == (40, 60)
    assert left.completion_tokens == 80, "two tokens each, as the replies so far"
    assert left.money is None
    assert "the price of fake is not known" in left.lines()[2]
    assert left.to_data()["usd"] is None
    assert len(server.bodies) == 60


def test_how_tokens_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    count, how = token_counter("gpt-4o-mini")
    assert how == "estimated at four bytes a token"
    assert [count(text) for text in ("", "abc", "abcde", "äöü")] == [0, 1, 2, 2]
    pytest.importorskip("tiktoken")
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_text("")
    assert token_counter("some-local-model")[1] == "estimated at four bytes a token"


def test_the_account_of_a_run(server: Any, tmp_path: Path) -> None:
    async def work() -> tuple[dict[str, Any], Reply]:
        async with Engine(server.url, journal=tmp_path / "j.sqlite", budget="10 calls") as engine:
            reply = await engine.ask(ask_for(1), lambda reply: reply)
            return engine.to_data(), reply

    data, _ = run(work())
    assert json.loads(json.dumps(data)) == data
    wanted = {"model": "fake", "server": "openai-compatible", "constraint": "json_schema", "budget": "10 calls"}
    assert {name: data[name] for name in wanted} == wanted
    assert data["journal"]["calls"] == data["calls"] == 1
    assert data["address"] == server.url.partition("#")[0]
