"""A whole agent loop over a large tool set: retrieval before each call of the model, on recorded replies.

    labelspace run tools_agent data=metatool replies=tests/cassettes/tools_agent.jsonl     # replays, asks nothing
    labelspace run tools_agent data=metatool model=http://127.0.0.1:8000/v1#name           # asks a model

LangChain's `create_agent` with all tools registered, `tool_middleware` that shows the model the k that the conversation
needs now, and a model that is told of them in its prompt (`acting_model`). Tools are found by BM25 over
descriptions and past queries, so that no encoder is needed. The tools themselves are stand-ins, which say that they
have done what they were asked. `data` holds `tools.jsonl.gz` and `train.jsonl.gz`.

The recorded run over MetaTool: 12 conversations of ours, 35 calls of the model, 18 of tools; each call of the model saw
8.6 of 199 tools on average, which saved 95.5 % of the prompt tokens for tools.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from labelspace.agents.tools.act import acting_model
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.langchain import tool_middleware
from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.agents.tools.usage import read_usages
from labelspace.config import Config
from labelspace.errors import ConfigError
from labelspace.llm import ChatModel, Engine
from labelspace.llm.recorded import RecordedModel

TASKS = (
    ("What will the air be like in Denver tomorrow? I have asthma.", "And can I wear shorts?"),
    ("Make a QR code that leads to https://example.org/menu for our tables.",),
    ("We need a two-bedroom flat to rent in Leeds, up to 1200 a month.", "Hm, what would buying one cost us there?"),
    ("Turn 350 dollars into euros for me, and roll two dice to see who pays.",),
    ("What can I cook tonight with chickpeas and spinach?", "Book us a table somewhere Italian instead, 7 pm for two."),
    ("My houseplant drops its leaves although I water it every day. What does it want?",),
    ("Did the ground shake anywhere near Tokyo this week?",),
    ("I fly to Lisbon in May for four days; plan something with music and little walking.", "Any podcast on Portugal?"),
    ("Draw me a tarot card, I have a decision to make about my job.", "Then look for nursing jobs in Toronto."),
    ("Put this into Japanese, please: the train leaves at nine.",),
    ("Which of these is the better phone, Pixel 8 or iPhone 15? And is there a coupon for the cheaper one?",),
    ("Thanks, that was all for today!",),
)


class ToolsAgentConfig(Config):
    """What `labelspace run tools_agent` reads."""

    data: Path = Path("metatool")
    """Folder with the tools and usage."""
    model: str | None = None
    """A model that is asked; None replays `replies`."""
    replies: Path = Path("tests/cassettes/tools_agent.jsonl")
    """Recorded replies."""
    journal: Path | None = None
    """Keeps the replies of a model that is asked."""
    tasks: tuple[tuple[str, ...], ...] = TASKS
    """Conversations: what the user says, turn by turn."""
    k: int = 8
    """Tools shown to the model."""


def main(config: ToolsAgentConfig) -> list[list[str]]:
    """Run the tasks; returns the names of the tools called in each."""
    return asyncio.run(run(config))


async def run(config: ToolsAgentConfig, model: ChatModel | None = None) -> list[list[str]]:
    """As `main`, also with a model that is no string."""
    from langchain.agents import create_agent
    from langchain_core.messages import HumanMessage

    tools = ToolSet.load(config.data / "tools.jsonl.gz")
    finder = BM25(tools, read_usages(config.data / "train.jsonl.gz", tools.space))
    asked = model or config.model or RecordedModel(config.replies)
    async with Engine(asked, journal=config.journal) as engine:
        acting = acting_model(engine)
        stand_ins = [stand_in(tool) for tool in tools]
        agent = create_agent(acting, tools=stand_ins, middleware=[tool_middleware(finder, k=config.k)])

        async def converse(turns: tuple[str, ...]) -> list[Any]:
            messages: list[Any] = []
            for turn in turns:
                messages = (await agent.ainvoke({"messages": [*messages, HumanMessage(turn)]}))["messages"]
            return messages

        conversations = await asyncio.gather(*map(converse, config.tasks))
    called = []
    for messages in conversations:
        called.append([call["name"] for message in messages for call in getattr(message, "tool_calls", None) or ()])
        for message in messages:
            if message.type == "human":
                click.echo(f"> {message.text}")
            elif message.type == "ai" and message.text:
                click.echo(f"  {message.text}")
            for call in getattr(message, "tool_calls", None) or ():
                click.echo(f"  [{call['name']}] {call['args']}")
    shown = acting.shown
    if not shown:
        raise ConfigError("there are no tasks")
    spent = sum(tools[name].tokens for names in shown for name in names)
    click.echo(
        f"{len(config.tasks)} conversations, {len(shown)} calls of the model, {sum(map(len, called))} of tools; each "
        f"saw {sum(map(len, shown)) / len(shown):.1f} of {len(tools)} tools: "
        f"{1 - spent / (tools.tokens * len(shown)):.1%} of the prompt tokens for tools were not spent"
    )
    return called


def stand_in(tool: Tool) -> Any:
    """A LangChain tool that says it is done."""
    from langchain_core.tools import StructuredTool

    def run(request: str) -> str:
        return f"done: {request}"

    return StructuredTool.from_function(run, name=tool.name, description=tool.description or tool.name)
