"""The agent recipe: a loop over 199 tools runs on kept replies alone, and asks nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from labelspace.agents.tools import Tool, ToolSet
from labelspace.errors import ConfigError
from labelspace.recipes import tools_agent
from labelspace.recipes.tools_agent import ToolsAgentConfig, kept_model, main


class CallsTheFirst(BaseChatModel):
    """Calls the first tool that it is shown, then says so."""

    @property
    def _llm_type(self) -> str:
        return "first"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(names=[tool["function"]["name"] for tool in tools])

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        if messages[-1].type == "human":
            call = {"name": kwargs["names"][0], "args": {"request": messages[-1].text}, "id": "1"}
            reply = AIMessage("", tool_calls=[call])
        else:
            reply = AIMessage(f"Done: {messages[-1].text}")
        return ChatResult(generations=[ChatGeneration(message=reply)])


def test_a_loop_over_199_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    topics = [f"topic{i}" for i in range(197)] + ["weather", "refund"]
    tools = ToolSet([Tool(f"get_{topic}", f"Everything about {topic}.") for topic in topics])
    tools.save(tmp_path / "tools.jsonl")
    config = ToolsAgentConfig(
        tools=tmp_path / "tools.jsonl",
        replies=tmp_path / "kept.jsonl",
        tasks=(("weather in Rome", "and a refund"), ("a refund please",)),
        k=3,
    )
    with pytest.raises(ConfigError, match="has no reply to 'weather in Rome'; name a model to ask"):
        main(config)
    asked = kept_model(None, config.replies, make=CallsTheFirst)
    with monkeypatch.context() as patched:
        patched.setattr(tools_agent, "kept_model", lambda name, path: asked)
        first = main(config)
    assert len(config.replies.read_text().splitlines()) == 6
    assert main(config) == first
    assert len(config.replies.read_text().splitlines()) == 6
    said = capsys.readouterr().out
    assert "6 calls saw" in said
    assert "of 199 tools; 98." in said
    assert [len(names) for names in first] == [2, 1]
