"""Budgets that are never exceeded, rates that are kept, concurrency that finds its level."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import EXIT_PARTIAL, BudgetExceeded, ConfigError
from labelspace.llm import Engine, Outcome, Request, run
from labelspace.llm.budget import Cap
from labelspace.llm.limits import Concurrency
from labelspace.llm.prices import find_price


def ask_for(item: Any) -> Request:
    return Request([{"role": "user", "content": f"Label this: {item}"}], max_tokens=8)


def go(model: Any, rows: Any, **settings: Any) -> tuple[list[Outcome[Any, str]], dict[str, Any], Exception | None]:
    """What came out, the figures, and what stopped it."""
    outcomes: list[Outcome[Any, str]] = []
    settings.setdefault("concurrency", 16)

    async def work() -> tuple[dict[str, Any], Exception | None]:
        async with Engine(model, **settings) as engine:
            try:
                async for outcome in engine.map(rows, ask_for, lambda reply, item: reply.text):
                    outcomes.append(outcome)
            except BudgetExceeded as error:
                return engine.stats.to_data(), error
            return engine.stats.to_data(), None

    stats, error = run(work())
    return outcomes, stats, error


@pytest.fixture
def answers(server: Any) -> Any:
    return sys.modules[type(server).__module__]


BUDGETS = [
    ("300", None),
    ("5 USD", Cap(money=5)),
    ("$0.50", Cap(money=0.5)),
    ("200k tokens", Cap(tokens=200_000)),
    ("1_000 calls", Cap(calls=1000)),
    ("1,000 calls", Cap(calls=1000)),
    ("2 usd, 3M tokens", Cap(money=2, tokens=3e6)),
    ("lots", None),
    ("-5 USD", None),
]


@pytest.mark.parametrize(("text", "cap"), BUDGETS)
def test_how_budgets_are_written(text: str, cap: Cap | None) -> None:
    if cap is None:
        with pytest.raises(ConfigError, match="a budget is money, tokens or calls"):
            Cap.parse(text)
    else:
        assert Cap.parse(text) == cap


def test_calls_never_exceed_the_budget_and_the_run_goes_on(server: Any, answers: Any, tmp_path: Path) -> None:
    server.script = lambda body, count: answers.error(500) if count % 10 == 3 else answers.Answer(delay=0.002)
    path = tmp_path / "j.sqlite"
    outcomes, _, error = go(server.url, range(300), journal=path, budget="100 calls")
    assert error is not None
    assert "the budget of 100 calls is spent: 100 calls" in str(error)
    assert error.exit_code == EXIT_PARTIAL  # type: ignore[attr-defined]
    assert server.served == 100
    assert [outcome.item for outcome in outcomes] == list(range(len(outcomes)))
    # The same budget buys nothing more on this journal; a higher one goes on from there.
    _, stats, error = go(server.url, range(300), journal=path, budget="100 calls")
    assert error is not None
    assert (stats["calls"], server.served) == (0, 100)
    outcomes, _, error = go(server.url, range(300), journal=path, budget="300 calls")
    assert error is None
    assert (len(outcomes), server.served) == (300, 300)


@pytest.mark.parametrize("said", [True, False], ids=["usage said", "usage not said"])
def test_tokens_never_exceed_the_budget(server: Any, answers: Any, said: bool) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 8} if said else None
    server.script = lambda body, count: answers.Answer(delay=0.002, usage=usage)
    _, stats, error = go(server.url, range(1000), budget="10000 tokens")
    assert isinstance(error, BudgetExceeded)
    used = stats["prompt_tokens"] + stats["completion_tokens"]
    assert used <= 10_000
    if said:
        assert server.served * 38 == used
        assert used > 9_500, "calls in flight give back what they did not use"


def test_money_needs_a_price_and_is_kept(server: Any, answers: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the price of 'fake' is not known"):
        go(server.url, range(3), budget="1 USD")
    table = tmp_path / "prices.yaml"
    table.write_text("models: {fake: {input: 10.0, output: 20.0}}")
    server.script = lambda body, count: answers.Answer(usage={"prompt_tokens": 100, "completion_tokens": 8})
    _, stats, error = go(server.url, range(1000), budget="$0.10", prices=table)
    assert isinstance(error, BudgetExceeded)
    assert server.served * (100 * 10 + 8 * 20) / 1e6 == pytest.approx(stats["usd"])
    assert 0.09 < stats["usd"] <= 0.10


def test_a_reply_without_a_bound_gets_one_under_a_budget(server: Any) -> None:
    async def work(budget: str | None) -> None:
        async with Engine(server.url, budget=budget) as engine:
            await engine.ask(Request([{"role": "user", "content": "x"}]), lambda reply: reply.text)

    run(work("50k tokens"))
    run(work("5 calls"))
    assert [body.get("max_tokens") for body in server.bodies] == [2048, None]


def test_timeouts_may_have_been_charged(server: Any, answers: Any) -> None:
    from labelspace.llm.client import HTTPModel

    server.script = lambda body, count: answers.Answer(then="hang")
    base, _, name = server.url.partition("#")
    _, stats, error = go(HTTPModel(base, name, timeout=1.0), range(50), budget="10 calls", retries=50)
    assert isinstance(error, BudgetExceeded)
    assert len(server.bodies) == stats["calls"] == 10


PRICES = [
    ("gpt-4o-mini", 0.15),
    ("gpt-4o-mini-2024-07-18", 0.15),
    ("openai:gpt-4o-mini", 0.15),
    ("openai/gpt-4o-mini", 0.15),
    ("http://host/v1#gpt-4o-mini", 0.15),
    ("gpt-4o-minimal", None),
    ("my-own", None),
    ("hf:/models/m", 0.0),
]


@pytest.mark.parametrize(("name", "dollars"), PRICES)
def test_prices(name: str, dollars: float | None) -> None:
    price = find_price(name)
    assert (None if price is None else price.prompt) == dollars


def test_a_users_price_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text("models: {gpt-4o-mini: {input: 1, output: 2}}")
    monkeypatch.setenv("LABELSPACE_PRICES", str(table))
    price = find_price("gpt-4o-mini")
    assert price is not None
    assert price.of(1_000_000, 500_000) == 2.0
    table.write_text("models: {gpt-4o-mini: cheap}")
    with pytest.raises(ConfigError, match=r"mine.yaml is no table of prices"):
        find_price("gpt-4o-mini")


def test_requests_a_minute(server: Any) -> None:
    start = time.monotonic()
    go(server.url, range(20), rpm=1200)
    # A request may come later than at its turn, where the machine is busy, but never before it.
    for turn, came in enumerate(server.times):
        assert came - start > turn * 0.05 * 0.95


def test_tokens_a_minute(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.Answer(usage={"prompt_tokens": 90, "completion_tokens": 10})
    start = time.monotonic()
    go(server.url, range(11), tpm=60_000, concurrency=1)
    assert time.monotonic() - start > 0.9


def test_auto_climbs_while_the_server_gains(server: Any, answers: Any) -> None:
    server.script = lambda body, count: answers.Answer(delay=0.05)
    _, stats, _ = go(server.url, range(3000), concurrency="auto")
    assert stats["most_in_flight"] >= 32


def test_auto_halves_on_pushback(server: Any, answers: Any) -> None:
    def script(body: Any, count: int) -> Any:
        return answers.error(429) if server.in_flight > 8 else answers.Answer(delay=0.02)

    server.script = script
    outcomes, stats, _ = go(server.url, range(400), concurrency="auto")
    assert len(outcomes) == 400
    assert all(outcome.status == "ok" for outcome in outcomes)
    late = stats["faults"]["busy"]
    assert late < 200


def test_auto_settles_near_the_knee() -> None:
    """A server that gains up to 64 calls in flight and not beyond, in simulated time."""
    concurrency = Concurrency("auto")
    clock = [0.0]
    import labelspace.llm.limits as limits

    original = limits.time.monotonic
    limits.time.monotonic = lambda: clock[0]  # type: ignore[assignment]
    try:
        concurrency._since = 0.0
        for _ in range(60_000):
            clock[0] += 1 / (min(concurrency.limit, 64) / 0.05)
            concurrency.finished(concurrency.limit - 1)
    finally:
        limits.time.monotonic = original
    assert 56 <= concurrency.limit <= 128


@pytest.mark.parametrize("wrong", [0, -1, "fast", 1.5])
def test_concurrency_is_a_number_or_auto(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="concurrency is a number from 1 or 'auto'"):
        Concurrency(wrong)
