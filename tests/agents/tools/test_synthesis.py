"""Synthetic usage: what the model writes is kept only where it is sound, balanced, and replayed for nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from labelspace.agents.tools import Tool, ToolSet
from labelspace.agents.tools.synthesis import UsageWriter, leaks
from labelspace.llm import Request, ScriptedLLM

WORDS = [
    "rain",
    "parcel",
    "refund",
    "invoice",
    "meeting",
    "letter",
    "shares",
    "soup",
    "song",
    "phrase",
    "train",
    "loan",
]
TOOLS = ToolSet([Tool(f"do_{word}", f"Handles every {word}.") for word in WORDS])


class Author:
    """Writes what is asked for; now and then it makes one of the mistakes that models make."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, request: Request) -> str:
        system, said = request.messages[0]["content"], request.messages[-1]["content"]
        listed = dict(re.findall(r"^(\d+): do_(\w+):", request.messages[1]["content"], re.MULTILINE))
        if system.startswith("You write"):
            self.calls["write"] += 1
            if len(request.messages) > 2:
                return self.instruction(listed, request, 0)
            match self.calls["write"] % 7:
                case 1:
                    return '{"tools": [99], "instruction": "x"}'
                case 2:
                    return self.instruction(listed, request, 0).replace("my ", f"the do_{listed['2']} my ", 1)
                case mistake:
                    return self.instruction(listed, request, mistake)
        if system.startswith("You edit"):
            self.calls["polish"] += 1
            body = said.split(">\n", 1)[1].split("\n</", 1)[0]
            return json.dumps({"instruction": body.replace("retrieve", "get")})
        self.calls["judge"] += 1
        body = said.split("<document", 1)[1]
        needed = [int(number) for number, word in listed.items() if f"my {word}" in body]
        return json.dumps({"needed": needed, "sufficient": "nonsense" not in body})

    def instruction(self, listed: dict[str, str], request: Request, mistake: int) -> str:
        told = request.messages[1]["content"]
        count = int(re.search(r"exactly (\d+) of these tools", told).group(1))
        wanted = re.search(r"tool (\d+) among them", told).group(1)
        numbers = [wanted, *[number for number in listed if number != wanted]][:count]
        text = f"retrieve {' and '.join('my ' + listed[n] for n in numbers)} " + str(request.seed)
        text += " nonsense" if mistake == 3 else ""
        return json.dumps({"tools": [int(n) for n in numbers], "instruction": text})


def test_every_tool_gets_enough_and_mistakes_are_dropped(tmp_path: Path) -> None:
    author = Author()
    journal = tmp_path / "journal.sqlite"
    writer = UsageWriter(TOOLS, ScriptedLLM(author), shown=5, batch=6, journal=journal)
    usages = list(writer.write(each=3))
    counts = Counter(name for usage in usages for name in usage.tools)
    assert set(counts) == set(TOOLS.names)
    assert min(counts.values()) >= 3
    assert max(counts.values()) <= 7, "the tools with the fewest usages come first"
    for usage in usages:
        assert "retrieve" not in usage.query
        assert "nonsense" not in usage.query
        assert "do_" not in usage.query
        assert {f"my {name[3:]}" in usage.query for name in usage.tools} == {True}
    tally = writer.tally
    assert tally.accepted == len(usages)
    assert tally.written == tally.accepted + sum(tally.dropped.values())
    assert {"leaks a name", "judged otherwise"} <= set(tally.dropped)
    assert tally.lacking == {}

    again = UsageWriter(TOOLS, ScriptedLLM([]), shown=5, batch=6, journal=journal)
    assert list(again.write(each=3)) == usages, "the journal replays it all"
    assert again.tally.engine["reused_replies"] > 0


def test_several_are_written_polished_and_judged_in_one_call() -> None:
    calls: Counter[str] = Counter()

    def answer(request: Request) -> str:
        system, said = request.messages[0]["content"], request.messages[-1]["content"]
        listed = dict(re.findall(r"^(\d+): do_(\w+):", request.messages[1]["content"], re.MULTILINE))
        if system.startswith("You write"):
            calls["write"] += 1
            assert said.split("\n")[-1].startswith("3 requests that need exactly 2 of these tools each, tool ")
            pairs = [["1", "2"], ["2", "3"], ["4"]]
            rows = [{"tools": [int(n) for n in pair], "instruction": " and ".join(f"my {listed[n]}" for n in pair)}
                    for pair in pairs]  # fmt: skip
            return json.dumps({"requests": rows})
        lines = re.findall(r"^\d+: (my .*)$", said, re.MULTILINE)
        if system.startswith("You edit"):
            calls["polish"] += 1
            return json.dumps({"instructions": [f"please take care of {line}" for line in lines]})
        calls["judge"] += 1
        asked = re.findall(r"^\d+: (please .*)$", said, re.MULTILINE)
        needed = [[int(n) for n, word in listed.items() if f"my {word}" in line] for line in asked]
        return json.dumps({"verdicts": [{"needed": row, "sufficient": at == 0} for at, row in enumerate(needed)]})

    writer = UsageWriter(TOOLS, ScriptedLLM(answer), shown=4, counts=(2,), together=3, batch=1, patience=1)
    usages = list(writer.write(each=1))
    for usage in usages:
        assert usage.query.startswith("please take care of my ")
        assert {f"my {name[3:]}" in usage.query for name in usage.tools} == {True}
        assert len(usage.tools) == 2, "a request for another number of tools is left out"
    assert calls["write"] == calls["polish"] == calls["judge"] > 1
    assert writer.tally.written == 2 * calls["write"]
    assert set(writer.tally.dropped) <= {"judged otherwise", "a copy"}
    assert writer.tally.dropped["judged otherwise"] == calls["write"], "the second is said not to suffice"
    assert len(usages) == writer.tally.accepted > 1


def test_requests_may_be_left_as_they_were_written() -> None:
    reply = (
        '{"requests": [{"tools": [1, 2], "instruction": "two things"}, {"tools": [3, 4], "instruction": "and more"}]}'
    )
    model = ScriptedLLM(lambda _: reply)
    writer = UsageWriter(TOOLS, model, shown=4, counts=(2,), together=2, batch=12, patience=1, checked=False)
    assert [usage.query for usage in writer.write(each=1)][:2] == ["two things", "and more"]
    assert {request.messages[0]["content"][:9] for request in model.requests} == {"You write"}


@pytest.mark.parametrize(
    "reply",
    ['{"requests": []}', '{"requests": [{"tools": [1]}]}', '{"requests": [{"tools": [1], "instruction": "x y"}]}'],
)
def test_replies_that_hold_no_request_are_counted(reply: str) -> None:
    writer = UsageWriter(TOOLS, ScriptedLLM(lambda _: reply), shown=4, counts=(2,), together=2, batch=12, patience=1)
    assert list(writer.write(each=1)) == []
    assert writer.tally.dropped == {"unreadable": 12}


def test_copies_are_dropped_and_a_tool_that_nothing_is_written_for_is_given_up() -> None:
    def same(request: Request) -> str:
        system = request.messages[0]["content"]
        if system.startswith("You write"):
            return json.dumps({"tools": [1], "instruction": "Help me with this thing today"})
        if system.startswith("You edit"):
            return json.dumps({"instruction": "Help me with this thing today"})
        return json.dumps({"needed": [1], "sufficient": True})

    tools = ToolSet([Tool("only_one", "Does it.")])
    writer = UsageWriter(tools, ScriptedLLM(same), counts=(1,))
    assert [usage.query for usage in writer.write(each=2)] == ["Help me with this thing today"]
    assert writer.tally.dropped == {"a copy": 9}
    assert writer.tally.lacking == {"only_one": 1}


@pytest.mark.parametrize(
    ("query", "name", "expected"),
    [
        ("What will the weather be", "weather", False),
        ("Call getWeather for Rome", "getWeather", True),
        ("use the get weather thing", "getWeather", True),
        ("use get_weather", "get_weather", True),
        ("get the weather", "get_weather", False),
        ("ask the researchfinder", "ResearchFinder", True),
        ("is C3 there", "c3", True),
    ],
)
def test_leaks_of_names(query: str, name: str, expected: bool) -> None:
    assert leaks(query, name) is expected
