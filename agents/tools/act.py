"""A chat model for LangChain agents that calls tools without the server's help.

Many servers and small models have no tool calls. Here the tools are told in the prompt, and the model takes its next
step as a JSON object: the name of a tool with arguments, or an answer. Calls go through an `Engine`: a reply that
can't be read is shown to the model with what is wrong, and every reply is kept in its journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from labelspace.agents.replies import read_object
from labelspace.agents.tools.forced import must_call, named_in
from labelspace.agents.tools.need import text_of
from labelspace.errors import ConfigError, MissingExtra
from labelspace.llm import Engine, Reply, ReplyError, Request
from labelspace.prompts import load_prompt

LONGEST = 500
"""Tokens of a reply."""


def acting_model(engine: Engine) -> Any:
    """A LangChain chat model that asks through an open engine, one tool call at a time; asynchronous only.

    async with Engine("http://127.0.0.1:8000/v1#name") as engine:
        agent = create_agent(acting_model(engine), tools=tools)
        await agent.ainvoke({"messages": [...]})

    Its `shown` lists the names of the tools that each call was told of.

    Raises:
        MissingExtra: LangChain is not installed.
    """
    try:
        from langchain_core.language_models.chat_models import BaseChatModel
        from langchain_core.messages import AIMessage, BaseMessage
        from langchain_core.outputs import ChatGeneration, ChatResult
        from langchain_core.utils.function_calling import convert_to_openai_tool
        from pydantic import Field
    except ImportError as error:
        raise MissingExtra("langchain", "llm") from error
    prompt = load_prompt("tools_act")

    class ActingModel(BaseChatModel):
        """Takes the next step as a JSON object."""

        shown: list[list[str]] = Field(default_factory=list)

        @property
        def _llm_type(self) -> str:
            return "acting"

        def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
            """The model with these tools; of `tool_choice` the tools that it names, if any."""
            offered = [convert_to_openai_tool(tool)["function"] for tool in tools]
            names, choice = [tool["name"] for tool in offered], kwargs.get("tool_choice")
            forced = named_in(choice, names)
            left = [tool for tool in offered if not forced or tool["name"] in forced]
            return self.bind(offered=[] if choice == "none" else left, must=must_call(choice, names))

        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            raise ConfigError("an acting model is asynchronous; use ainvoke")

        async def _agenerate(
            self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> ChatResult:
            offered = kwargs.get("offered", [])
            names = [tool["name"] for tool in offered]
            self.shown.append(names)
            texts = [json.dumps(tool, ensure_ascii=False) for tool in offered]
            asked = Request(prompt.render(tools=texts, documents=steps_of(messages)), max_tokens=LONGEST)
            must = bool(kwargs.get("must"))
            name, value = await engine.ask(
                asked, lambda reply: read_step(reply, names, must=must), purpose="act", version=prompt.hash
            )
            if name is None:
                return ChatResult(generations=[ChatGeneration(message=AIMessage(value))])
            call = {"name": name, "args": value, "id": f"call_{len(messages)}"}
            return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])

    return ActingModel()


def steps_of(messages: Sequence[Any]) -> list[str]:
    """The conversation as lines: who said what, what was called, what came back."""
    said = {"human": "user", "ai": "you", "system": "instructions"}
    found = []
    for message in messages:
        if message.type == "tool":
            found.append(f"{message.name} returned: {text_of(message)}")
            continue
        if text := text_of(message):
            found.append(f"{said.get(message.type, message.type)}: {text}")
        for call in getattr(message, "tool_calls", None) or ():
            found.append(f"you called {call['name']} with {json.dumps(call['args'], ensure_ascii=False)}")
    return found


def read_step(reply: Reply, names: Sequence[str], *, must: bool = False) -> tuple[str | None, Any]:
    """The tool that is called and its arguments, or None and an answer.

    Args:
        reply: What the model said.
        names: Of the tools that it was told of.
        must: Whether only a call will do.

    Raises:
        ReplyError: It is neither, or the tool is not one of `names`, or an answer where a tool must be called.
    """
    data = read_object(reply.text, ())
    if name := data.get("tool"):
        if name not in names:
            raise ReplyError(f"There is no tool {name!r}; the tools are: {', '.join(names)}.")
        given = data.get("arguments")
        if not isinstance(given, Mapping | None):
            raise ReplyError('"arguments" must be an object.')
        return str(name), dict(given or {})
    if must:
        raise ReplyError(f"Call a tool now: {', '.join(names)}.")
    answer = data.get("answer")
    if not isinstance(answer, str) or not answer.strip():
        raise ReplyError('Give {"tool", "arguments"} or {"answer"}.')
    return None, answer.strip()
