"""Tool retrieval in LangChain: a retriever, a middleware for `create_agent`, a search function for langgraph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.forced import must_call, named_in
from labelspace.agents.tools.need import choose_tools, tools_in_use
from labelspace.agents.tools.retriever import Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.errors import ConfigError, MissingExtra


def tool_middleware(finder: Retriever | ToolChooser, *, k: int = 5, always: Sequence[str] = ()) -> Any:
    """A middleware for LangChain's `create_agent` that shows the model only the tools it needs now.

        agent = create_agent(model, tools=all_tools, middleware=[tool_middleware(retriever, k=5)])

    All tools stay registered, so whatever the model calls is run. Before each call of the model the tools are
    chosen anew, from what the conversation needs at that point. Always kept: tools named in `always`, those that
    `tool_choice` of the request names, those called since the user last spoke, those that the retriever does not
    know, and what a provider runs itself. A tool for structured output is added by the agent afterwards.

    Args:
        finder: A retriever, of which k tools are taken; or a chooser, which takes as many as are needed.
        k: Tools shown beside those that are always kept.
        always: Names.

    Raises:
        MissingExtra: LangChain is not installed.
    """
    try:
        from langchain.agents.middleware import AgentMiddleware, ModelRequest
    except ImportError as error:
        raise MissingExtra("langchain", "llm") from error
    known = frozenset(finder.label_space.leaves)

    class ToolRetrieval(AgentMiddleware):  # type: ignore[misc]
        """Shows the model the retrieved tools only."""

        def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
            """Choose the tools, then call the model."""
            return handler(self.narrowed(request))

        async def awrap_model_call(
            self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[Any]]
        ) -> Any:
            """As `wrap_model_call`; the tools are chosen in a thread, since encoders compute for a while."""
            import asyncio

            return await handler(await asyncio.to_thread(self.narrowed, request))

        def narrowed(self, request: ModelRequest) -> ModelRequest:
            """The request with the tools that are needed now, the rest as it was."""
            names = [_name_of(tool) for tool in request.tools]
            there = {name for name in names if name} | {
                str(tool.get("name") or tool.get("type")) for tool in request.tools if isinstance(tool, dict)
            }
            if missing := [name for name in always if name not in there]:
                raise ConfigError(f"the agent has no tool {missing[0]!r}, which is always to be shown")
            forced = named_in(request.tool_choice, there)
            kept = {*always, *forced, *tools_in_use(request.messages)}
            offered = [name for name in names if name in known and name not in kept]
            kept |= set(choose_tools(finder, request.messages, k=k, available=offered))
            found = {name for name in names if name is not None and (name in kept or name not in known)}
            if not found and must_call(request.tool_choice, there):
                # Some tool is to be called, and the chooser says that none fits: then what comes nearest.
                best = finder.retriever if isinstance(finder, ToolChooser) else finder
                found = set(choose_tools(best, request.messages, k=k, available=offered)) or set(offered)
            if not found:
                # Providers refuse messages with calls where no tool is given at all.
                found = {call["name"] for message in request.messages for call in getattr(message, "tool_calls", ())}
            shown = [tool for tool, name in zip(request.tools, names, strict=True) if name is None or name in found]
            return request.override(tools=shown)

    return ToolRetrieval()


def _name_of(tool: Any) -> str | None:
    """Name of a tool that the agent runs; None for what a provider runs itself, such as its search of the web."""
    if not isinstance(tool, dict):
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    elif isinstance(inner := tool.get("function"), dict):
        name = inner.get("name")
    else:
        name = tool.get("name") if tool.get("type", "function") in ("function", "custom") else None
    return None if name is None else str(name)


def as_retriever(retriever: Retriever, tools: ToolSet, *, k: int = 5) -> Any:
    """A LangChain retriever whose documents are tools: the description, with name, score and parameters.

    Raises:
        MissingExtra: LangChain is not installed.
    """
    try:
        from langchain_core.callbacks import CallbackManagerForRetrieverRun
        from langchain_core.documents import Document
        from langchain_core.retrievers import BaseRetriever
    except ImportError as error:
        raise MissingExtra("langchain", "llm") from error

    class ToolDocuments(BaseRetriever):
        """Finds tools as documents."""

        k: int = 5

        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return [
                Document(
                    id=name,
                    page_content=tools[name].text,
                    metadata={"name": name, "score": score, "parameters": dict(tools[name].parameters)},
                )
                for name, score in retriever.search([query], self.k)[0]
            ]

    return ToolDocuments(k=k)


def search_function(finder: Retriever | ToolChooser, *, k: int = 5) -> Callable[[str], list[str]]:
    """A function from a query to names of tools, for agents that look tools up themselves.

    Fits `retrieve_tools_function` of langgraph-bigtool, and any graph that keeps a registry of tools by name.
    """

    def retrieve_tools(query: str) -> list[str]:
        """Find the tools that fit what is to be done.

        Args:
            query: What is to be done, in a sentence.
        """
        if not query.strip():
            return []
        if isinstance(finder, ToolChooser):
            return list(finder.choose([query])[0])
        return [name for name, _ in finder.search([query], k)[0]]

    return retrieve_tools
