"""A whole agent loop over a large tool set, with retrieval before each call of the model, and replies that are kept.

    labelspace run tools_agent tools=metatool/tools.jsonl.gz usage=metatool/train.jsonl.gz model=openai:gpt-5-mini
    labelspace run tools_agent tools=metatool/tools.jsonl.gz replies=kept.jsonl        # replays, asks nothing

Each task is a conversation of one or more turns. The tools answer with a canned text: what is shown is which
tools the model saw, what it called, and the prompt tokens that were not spent on the others. Every reply of the
model is kept in `replies` under the hash of what it was asked; the same run again asks nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from labelspace.agents.tools.langchain import tool_middleware
from labelspace.agents.tools.retriever import Retriever
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.agents.tools.usage import read_usages
from labelspace.config import Config
from labelspace.embed import cache_folder, fit_embedder, load_embedder
from labelspace.errors import ConfigError

TASKS = (
    ("What will the air be like in Denver tomorrow?", "And is there a good trail nearby?"),
    ("Make a QR code for https://example.org and summarise that page for me.",),
)


class ToolsAgentConfig(Config):
    """What `labelspace run tools_agent` reads."""

    tools: Path = Path("tools.jsonl")
    """The tool set, as `labelspace tools import` writes it."""
    usage: Path | None = None
    """Usages for Tool2Vec; None finds tools by their descriptions."""
    embedder: str = "tfidf"
    """tfidf, a sentence-transformers model, or http://host/v1#model."""
    model: str | None = None
    """A chat model as LangChain names it, provider:name; None replays what is kept."""
    replies: Path = Path("runs/tools_agent/replies.jsonl")
    """Where replies are kept."""
    tasks: tuple[tuple[str, ...], ...] = TASKS
    """Conversations: what the user says, turn by turn."""
    k: int = 5
    """Tools shown to the model."""


def main(config: ToolsAgentConfig) -> list[list[str]]:
    """Run the tasks; returns the names of the tools called in each."""
    from langchain.agents import create_agent
    from langchain_core.messages import HumanMessage

    tools = ToolSet.load(config.tools)
    texts = [tool.text for tool in tools]
    embedder = fit_embedder(load_embedder(config.embedder, cache=cache_folder()), texts)
    retriever: Retriever = Descriptions(tools, embedder)
    if config.usage is not None:
        retriever = Tool2Vec.of(tools, read_usages(config.usage, tools.space), embedder)
    model = kept_model(config.model, config.replies)
    agent = create_agent(model, tools=[canned(t) for t in tools], middleware=[tool_middleware(retriever, k=config.k)])
    called = []
    for turns in config.tasks:
        messages: list[Any] = []
        for turn in turns:
            click.echo(f"> {turn}")
            messages = agent.invoke({"messages": [*messages, HumanMessage(turn)]})["messages"]
            click.echo(f"  {messages[-1].content}")
        names = [call["name"] for message in messages for call in getattr(message, "tool_calls", None) or ()]
        click.echo(f"  called: {', '.join(names) or 'nothing'}")
        called.append(names)
    shown = model.shown
    spent = sum(tools[name].tokens for names in shown for name in names)
    click.echo(
        f"{len(shown)} calls saw {sum(map(len, shown)) / max(len(shown), 1):.1f} of {len(tools)} tools; "
        f"{1 - spent / max(tools.tokens * len(shown), 1):.1%} of the prompt tokens for tools were not spent"
    )
    return called


def canned(tool: Tool) -> Any:
    """A LangChain tool that says it is done."""
    from langchain_core.tools import StructuredTool

    def run(request: str) -> str:
        return f"{tool.name}: done ({request})"

    return StructuredTool.from_function(run, name=tool.name, description=tool.description or tool.name)


def kept_model(name: str | None, path: Path, *, make: Callable[[], Any] | None = None) -> Any:
    """A chat model whose replies are kept in a file and played back from there.

    Args:
        name: The model that is asked for what is not kept; None for none.
        path: JSON lines of {"key", "reply"}.
        make: Makes the model, where it can't be had by its name.
    """
    from langchain.chat_models import init_chat_model
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.utils.function_calling import convert_to_openai_tool
    from pydantic import Field

    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = {row["key"]: row["reply"] for row in map(json.loads, filter(None, lines))}

    class Kept(BaseChatModel):
        """Plays back, or asks and keeps."""

        shown: list[list[str]] = Field(default_factory=list)

        @property
        def _llm_type(self) -> str:
            return "kept"

        def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
            return self.bind(offered=[convert_to_openai_tool(tool) for tool in tools])

        def _generate(
            self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> ChatResult:
            offered = kwargs.get("offered", [])
            self.shown.append([tool["function"]["name"] for tool in offered])
            said = [[message.type, message.content, getattr(message, "tool_calls", None)] for message in messages]
            canonical = json.dumps([_without_ids(said), offered], sort_keys=True, ensure_ascii=False)
            key = hashlib.sha256(canonical.encode()).hexdigest()[:24]
            if key not in kept:
                if name is None and make is None:
                    raise ConfigError(f"{path}: has no reply to {messages[-1].text!r}; name a model to ask")
                asked = make() if make is not None else init_chat_model(name)
                kept[key] = message_to_dict(asked.bind_tools(offered).invoke(messages))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "reply": kept[key]}, ensure_ascii=False, default=str) + "\n")
            return ChatResult(generations=[ChatGeneration(message=messages_from_dict([kept[key]])[0])])

    return Kept()


def _without_ids(said: Any) -> Any:
    """Messages without the ids of calls, which differ from run to run."""
    if isinstance(said, dict):
        return {key: _without_ids(value) for key, value in said.items() if key not in ("id", "tool_call_id")}
    return [_without_ids(item) for item in said] if isinstance(said, list) else said
