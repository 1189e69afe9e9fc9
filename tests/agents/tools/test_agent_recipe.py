"""The agent recipe: a loop over 199 tools on recorded replies, and the model that acts in text."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from labelspace.agents.tools.act import acting_model, steps_of
from labelspace.errors import ConfigError, ModelError
from labelspace.llm import Engine, Request, ScriptedLLM
from labelspace.recipes.tools_agent import ToolsAgentConfig, main, run

CASSETTE = Path(__file__).resolve().parents[2] / "cassettes" / "tools_agent.jsonl"


@pytest.mark.data
def test_a_loop_over_199_tools_on_recorded_replies(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called = main(ToolsAgentConfig(data=data_dir / "metatool", replies=CASSETTE))
    assert called == [
        ["airqualityforeast", "WeatherTool"],
        ["create_qr_code"],
        ["HouseRentingTool", "HousePurchasingTool"],
        ["ExchangeTool", "diceroller"],
        ["recipe_retrieval", "RestaurantBookingTool"],
        ["IndoorPlants"],
        ["EarthquakeTool"],
        ["TripAdviceTool", "PodcastTool"],
        ["Dr_Thoths_Tarot", "JobTool"],
        ["MixerBox_Translate_AI_language_tutor"],
        ["ProductComparison", "Discount"],
        [],
    ]
    said = capsys.readouterr().out
    assert "12 conversations, 35 calls of the model, 18 of tools; each saw 8.6 of 199 tools: 95.5%" in said


def small(folder: Path) -> ToolsAgentConfig:
    """A folder of 199 tools, of which two matter."""
    topics = [*(f"topic{i}" for i in range(197)), "weather", "refund"]
    tools = [{"name": f"get_{topic}", "description": f"Everything about {topic}."} for topic in topics]
    usage = [{"query": "will it rain", "tools": ["get_weather"]}, {"query": "money back", "tools": ["get_refund"]}]
    for name, rows in (("tools", tools), ("train", usage)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return ToolsAgentConfig(data=folder, tasks=(("will it rain?", "and my money back"), ("a refund",)), k=3)


class Model:
    """Calls the tool that is meant, if it is shown, then answers; the first time it names one that is not shown."""

    def __init__(self) -> None:
        self.mistaken = False

    def __call__(self, request: Request) -> str:
        tools, conversation = request.messages[1]["content"].split("<conversation", 1)
        if "returned" in conversation.split("user: ")[-1]:
            return '{"answer": "Done."}'
        if not self.mistaken:
            self.mistaken = True
            return '{"tool": "get_lost", "arguments": {}}'
        shown = [json.loads(line.partition(": ")[2])["name"] for line in tools.splitlines()[1:] if "{" in line]
        name = "get_weather" if "rain" in conversation.split("user: ")[-1] else "get_refund"
        assert name in shown and len(shown) <= 4
        return json.dumps({"tool": name, "arguments": {"request": "go"}})


def test_a_conversation_goes_on_and_a_tool_that_is_not_shown_is_refused(tmp_path: Path, capsys: Any) -> None:
    model = ScriptedLLM(Model())
    called = asyncio.run(run(small(tmp_path), model))
    assert called == [["get_weather", "get_refund"], ["get_refund"]]
    assert "There is no tool 'get_lost'; the tools are: get_" in str([r.messages for r in model.requests])
    assert "6 calls of the model, 3 of tools" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ('{"tool": "get_weather", "arguments": [1]}', '"arguments" must be an object'),
        ('{"answer": " "}', 'Give {"tool", "arguments"} or {"answer"}'),
        ("hello", "there is no JSON object in it"),
    ],
)
def test_a_reply_that_is_no_step_is_said_to_be_none(tmp_path: Path, reply: str, problem: str) -> None:
    model = ScriptedLLM(lambda _: reply)
    with pytest.raises(ModelError, match="scripted"):
        asyncio.run(run(small(tmp_path), model))
    assert any(problem in message["content"] for request in model.requests for message in request.messages)


def test_recorded_replies_must_be_there(tmp_path: Path) -> None:
    config = small(tmp_path)
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ModelError, match="the cassette has no reply for request"):
        main(config.model_copy(update={"replies": tmp_path / "none.jsonl"}))


def test_a_conversation_is_told_in_lines() -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("Rain?"),
        AIMessage("I look.", tool_calls=[{"name": "get_weather", "args": {"city": "Rome"}, "id": "1"}]),
        ToolMessage("sun", name="get_weather", tool_call_id="1"),
        AIMessage("No."),
    ]
    assert steps_of(messages) == [
        "instructions: Be brief.",
        "user: Rain?",
        "you: I look.",
        'you called get_weather with {"city": "Rome"}',
        "get_weather returned: sun",
        "you: No.",
    ]


def test_an_acting_model_is_asynchronous() -> None:
    async def ask() -> None:
        async with Engine(ScriptedLLM([])) as engine:
            acting_model(engine).invoke([HumanMessage("Hello")])

    with pytest.raises(ConfigError, match="an acting model is asynchronous; use ainvoke"):
        asyncio.run(ask())


def test_an_acting_model_heeds_a_forced_tool() -> None:
    replies = iter(['{"answer": "Sunny."}', '{"tool": "refund", "arguments": {}}', '{"tool": "weather"}'])
    scripted = ScriptedLLM(lambda _: next(replies))
    tools = [{"name": name, "description": name, "parameters": {}} for name in ("weather", "refund")]

    async def ask() -> Any:
        async with Engine(scripted) as engine:
            model = acting_model(engine)
            said = await model.bind_tools(tools, tool_choice="weather").ainvoke("rain?")
            assert model.shown == [["weather"]]
            return said

    assert asyncio.run(ask()).tool_calls[0]["name"] == "weather"
    assert scripted.requests[1].messages[-1]["content"].startswith("Call a tool now: weather.")
