"""Tools in an agent: a real `create_agent` loop whose chat model is scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, PrivateAttr

from labelspace.agents.tools import Tool, ToolChooser, ToolSet, Usage
from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.langchain import as_retriever, search_function, tool_middleware
from labelspace.agents.tools.need import choose_tools, current_needs, tools_in_use
from labelspace.agents.tools.train import make_stage
from labelspace.embed import fit_embedder, load_embedder
from labelspace.errors import ConfigError

TOPICS = ["weather", "parcel", "refund", "invoice", "calendar", "email", "stocks", "recipe", "music", "translation"]
TOOLS = ToolSet([Tool(f"get_{topic}", f"Everything about {topic}.") for topic in TOPICS])
RETRIEVER = BM25(TOOLS)
TOOL2VEC = make_stage(
    "tool2vec",
    TOOLS,
    [Usage(f"tell me about {topic}", (f"get_{topic}",)) for topic in TOPICS],
    fit_embedder(load_embedder("tfidf"), TOPICS),
)


class Scripted(BaseChatModel):
    """Plays back messages; keeps the names of the tools that it was shown each time."""

    script: list[AIMessage]
    _shown: list[list[str]] = PrivateAttr(default_factory=list)
    _choices: list[Any] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        given = [tool.get("function", tool) if isinstance(tool, dict) else {"name": tool.name} for tool in tools]
        self._choices.append(kwargs.get("tool_choice"))
        return self.bind(shown=[tool.get("name", tool.get("type")) for tool in given])

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self._shown.append(kwargs.get("shown", []))
        return ChatResult(generations=[ChatGeneration(message=self.script[len(self._shown) - 1])])


def call(name: str, text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=[{"name": name, "args": {"about": "x"}, "id": f"id_{name}"}])


def tools_of(names: Sequence[str]) -> list[StructuredTool]:
    def made(name: str) -> StructuredTool:
        def run(about: str) -> str:
            return f"{name} says yes"

        return StructuredTool.from_function(run, name=name, description=f"Everything about {name}.")

    return [made(name) for name in names]


def test_the_model_sees_the_tools_that_it_needs_now() -> None:
    model = Scripted(script=[
        call("get_weather"),
        call("get_email", "Now I send it by email."),
        AIMessage("Sent."),
        call("get_weather"),
        AIMessage("Sunny."),
    ])  # fmt: skip
    agent = create_agent(model, tools=tools_of(TOOLS.names), middleware=[tool_middleware(RETRIEVER, k=2)])
    state = agent.invoke({"messages": [HumanMessage("What is the weather? Then send it to Ann.")]})
    assert [m.content for m in state["messages"] if m.type == "tool"] == ["get_weather says yes", "get_email says yes"]
    first, second, third = model._shown
    assert len(first) == 2 and "get_weather" in first
    assert len(second) == 3 and "get_weather" in second, "a tool that was called stays in view"
    assert {"get_weather", "get_email"} <= set(third), "what the model announced is needed"
    agent.invoke({"messages": [*state["messages"], HumanMessage("And tomorrow?")]})
    assert "get_weather" in model._shown[3], "a short question is read with the one before it"


def test_the_loop_runs_asynchronously() -> None:
    model = Scripted(script=[call("get_music"), AIMessage("Done.")])
    agent = create_agent(model, tools=tools_of(TOOLS.names), middleware=[tool_middleware(RETRIEVER, k=1)])
    state = asyncio.run(agent.ainvoke({"messages": [HumanMessage("Play some music.")]}))
    assert state["messages"][-1].content == "Done."
    assert model._shown[0] == ["get_music"]


def test_some_tools_are_always_shown() -> None:
    model = Scripted(script=[AIMessage("Hi.")])
    tools = tools_of([*TOOLS.names, "not_known"])
    middleware = tool_middleware(RETRIEVER, k=1, always=["get_invoice"])
    create_agent(model, tools=tools, middleware=[middleware]).invoke({"messages": [HumanMessage("stocks")]})
    assert sorted(model._shown[0]) == ["get_invoice", "get_stocks", "not_known"]


def test_a_name_that_the_agent_lacks_is_refused() -> None:
    agent = create_agent(
        Scripted(script=[AIMessage("Hi.")]),
        tools=tools_of(TOOLS.names),
        middleware=[tool_middleware(RETRIEVER, always=["get_wether"])],
    )
    with pytest.raises(ConfigError, match="the agent has no tool 'get_wether', which is always to be shown"):
        agent.invoke({"messages": [HumanMessage("stocks")]})


def test_a_chooser_can_show_no_tool() -> None:
    usages = [Usage(f"tell me about {topic}", (f"get_{topic}",)) for topic in TOPICS]
    chooser = ToolChooser.of(RETRIEVER, usages, coverage=0.8, false_alarms=0.1)
    model = Scripted(script=[AIMessage("Hi."), AIMessage("Hi.")])
    agent = create_agent(model, tools=tools_of(TOOLS.names), middleware=[tool_middleware(chooser)])
    agent.invoke({"messages": [HumanMessage("hello there")]})
    agent.invoke({"messages": [HumanMessage("tell me about stocks")]})
    assert model._shown == [[], ["get_stocks"]]


class Choosing(AgentMiddleware):
    """Sets what the agent's factory leaves open."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(**self.settings))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(**self.settings))


NAMED = {"type": "function", "function": {"name": "get_email"}}
NONE_FITS = "hello there"


@pytest.mark.parametrize(
    ("said", "choice", "shown"),
    [
        ("tell me about stocks", None, {"get_stocks"}),
        ("tell me about stocks", "auto", {"get_stocks"}),
        ("tell me about stocks", "get_email", {"get_stocks", "get_email"}),
        ("tell me about stocks", NAMED, {"get_stocks", "get_email"}),
        ("tell me about stocks", {"type": "tool", "name": "get_email"}, {"get_stocks", "get_email"}),
        (NONE_FITS, "get_email", {"get_email"}),
        (NONE_FITS, "none", set()),
        (NONE_FITS, "any", {"get_weather"}),
        (NONE_FITS, {"type": "any"}, {"get_weather"}),
    ],
)
def test_a_tool_that_is_forced_is_shown(said: str, choice: Any, shown: set[str]) -> None:
    usages = [Usage(f"tell me about {topic}", (f"get_{topic}",)) for topic in TOPICS]
    chooser = ToolChooser.of(RETRIEVER, usages, coverage=0.8, false_alarms=0.1)
    model = Scripted(script=[AIMessage("Hi.")])
    middleware = [Choosing(tool_choice=choice), tool_middleware(chooser, k=1)]
    agent = create_agent(model, tools=tools_of(TOOLS.names), middleware=middleware)
    agent.invoke({"messages": [HumanMessage(said)]})
    assert set(model._shown[0]) == shown
    assert model._choices == [choice] * bool(shown)


class Answer(BaseModel):
    """The final answer."""

    text: str


def test_what_the_provider_runs_and_structured_output_pass() -> None:
    """A search of the provider, and the tool that the agent adds for its answer, which is forced."""
    schema = {"type": "object", "properties": {"about": {"type": "string"}}}
    given = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "file_search"},
             {"type": "function", "function": {"name": "get_music", "parameters": schema}},
             {"name": "get_stocks", "input_schema": schema}]  # fmt: skip
    answer = AIMessage("", tool_calls=[{"name": "Answer", "args": {"text": "up"}, "id": "1"}])
    model = Scripted(script=[call("get_email"), answer])
    middleware = [
        Choosing(tools=[*tools_of(TOOLS.names[:6]), *given]),
        tool_middleware(RETRIEVER, k=1, always=["web_search"]),
    ]
    agent = create_agent(
        model, tools=tools_of(TOOLS.names[:6]), middleware=middleware, response_format=ToolStrategy(Answer)
    )
    state = asyncio.run(agent.ainvoke({"messages": [HumanMessage("the stocks")]}))
    assert state["structured_response"] == Answer(text="up")
    assert model._shown == [
        ["web_search", "file_search", "get_stocks", "Answer"],
        ["get_email", "web_search", "file_search", "get_stocks", "Answer"],
    ]
    assert model._choices == ["any", "any"]


def test_names_that_repeat_come_and_go_together() -> None:
    model = Scripted(script=[AIMessage("Hi.")])
    twice = [*tools_of(TOOLS.names), *tools_of(["get_stocks"])]
    middleware = [Choosing(tools=twice), tool_middleware(RETRIEVER, k=2)]
    create_agent(model, tools=tools_of(TOOLS.names), middleware=middleware).invoke(
        {"messages": [HumanMessage("stocks, or an email")]}
    )
    assert sorted(model._shown[0]) == ["get_email", "get_stocks", "get_stocks"]


def test_messages_with_calls_are_never_sent_without_a_tool() -> None:
    usages = [Usage(f"tell me about {topic}", (f"get_{topic}",)) for topic in TOPICS]
    chooser = ToolChooser.of(RETRIEVER, usages, coverage=0.8, false_alarms=0.1)
    model = Scripted(script=[call("get_music"), AIMessage("Done."), AIMessage("You are welcome.")])
    agent = create_agent(model, tools=tools_of(TOOLS.names), middleware=[tool_middleware(chooser)])
    state = agent.invoke({"messages": [HumanMessage("tell me about music")]})
    agent.invoke({"messages": [*state["messages"], HumanMessage("I thank you very much for all of that")]})
    assert model._shown[2] == ["get_music"]


def test_conversations_side_by_side_see_their_own_tools() -> None:
    class Echo(Scripted):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(" ".join(kwargs["shown"])))])

    agent = create_agent(Echo(script=[]), tools=tools_of(TOOLS.names), middleware=[tool_middleware(TOOL2VEC, k=1)])
    asked = [{"messages": [HumanMessage(f"tell me about {topic}")]} for topic in TOPICS * 3]
    expected = [f"get_{topic}" for topic in TOPICS * 3]
    assert [state["messages"][-1].content for state in agent.batch(asked)] == expected
    states = asyncio.run(agent.abatch(asked))
    assert [state["messages"][-1].content for state in states] == expected


CONVERSATIONS: list[tuple[list[BaseMessage], list[str], list[str]]] = [
    ([], [], []),
    ([AIMessage("How can I help?")], [], []),
    ([HumanMessage("weather in Oslo please")], ["weather in Oslo please"], []),
    ([HumanMessage("weather in Oslo please"), AIMessage("Cold."), HumanMessage("And in Rome?")],
     ["weather in Oslo please\nAnd in Rome?", "And in Rome?"], []),
    ([HumanMessage("weather in Oslo, then a mail to Ann"), call("get_weather"), ToolMessage("cold", tool_call_id="1"),
      AIMessage("Now the mail.")],
     ["weather in Oslo, then a mail to Ann", "Now the mail."], ["get_weather"]),
    ([HumanMessage("what will the weather be in Oslo"), AIMessage("Cold."), HumanMessage("And in Rome?"),
      AIMessage("Warm."), HumanMessage("And in Paris?")],
     ["what will the weather be in Oslo\nAnd in Rome?\nAnd in Paris?", "And in Paris?"], []),
    ([HumanMessage("what will the weather be in Oslo"), AIMessage("Cold. Shall I send an email to Ann?"),
      HumanMessage("Yes, please")],
     ["what will the weather be in Oslo\nYes, please", "Yes, please", "Shall I send an email to Ann?"], []),
    ([HumanMessage([{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "x"}}])],
     ["what is this"], []),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "needs", "used"), CONVERSATIONS)
def test_what_a_conversation_needs(messages: list[BaseMessage], needs: list[str], used: list[str]) -> None:
    assert current_needs(messages) == needs
    assert tools_in_use(messages) == used
    assert (choose_tools(RETRIEVER, messages, k=3) == []) == (not needs)


def test_a_langchain_retriever_gives_tools_as_documents() -> None:
    documents = as_retriever(RETRIEVER, TOOLS, k=2).invoke("a refund please")
    assert next(document.metadata["name"] for document in documents) == "get_refund"
    assert documents[0].page_content == "get refund: Everything about refund."
    assert len(documents) == 2


def test_a_search_function_gives_names() -> None:
    assert search_function(RETRIEVER, k=1)("translation of a word") == ["get_translation"]
    assert search_function(RETRIEVER, k=1)(" ") == []


def test_where_no_tool_is_left_none_is_chosen() -> None:
    usages = [Usage(f"tell me about {topic}", (f"get_{topic}",)) for topic in TOPICS]
    chooser = ToolChooser.of(RETRIEVER, usages, coverage=0.8, false_alarms=0)
    assert chooser.choose(["the weather"], available=["get_music"]) == [("get_music",)]
    assert chooser.choose(["the weather"], available=[]) == [()]
    assert chooser.choose(["the weather"], available=["not_known"]) == [()]
