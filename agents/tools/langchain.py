"""Tool retrieval in LangChain: a retriever, a middleware for `create_agent`, a search function for langgraph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.need import choose_tools, tools_in_use
from labelspace.agents.tools.retriever import Retriever
from labelspace.agents.tools.toolset import ToolSet
from labelspace.errors import ConfigError, MissingExtra


def tool_middleware(finder: Retriever | ToolChooser, *, k: int = 5, always: Sequence[str] = ()) -> Any:
    """A middleware for LangChain's `create_agent` that shows the model only the tools it needs now.

        agent = create_agent(model, tools=all_tools, middleware=[tool_middleware(retriever, k=5)])

    All tools stay registered, so whatever the model calls is run. Before each call of the model the tools are
    chosen anew, from what the conversation needs at that point. Always kept: tools named in
    `always`, those called since the user last spoke, those that the retriever does not know, and
    provider tools.

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
            names = [None if isinstance(tool, dict) else tool.name for tool in request.tools]
            if missing := [name for name in always if name not in names]:
                raise ConfigError(f"the agent has no tool {missing[0]!r}, which is always to be shown")
            kept = {*always, *tools_in_use(request.messages)}
            offered = [name for name in names if name in known and name not in kept]
            kept |= set(choose_tools(finder, request.messages, k=k, available=offered))
            shown = [
                tool
                for tool, name in zip(request.tools, names, strict=True)
                if name is None or name in kept or name not in known
            ]
            return request.override(tools=shown)

    return ToolRetrieval()


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
