"""Tool retrieval: the right few tools out of thousands. A tool set is a label space, a retriever a `Classifier`.

tools = ToolSet.load("tools.jsonl")
retriever = train_retriever(tools, usages, dev, load_embedder("tfidf"))
retriever.search(["What will the weather be like?"], 5)
"""

from __future__ import annotations

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.clauses import Clauses
from labelspace.agents.tools.measures import evaluate_retriever
from labelspace.agents.tools.retriever import Retriever, Scored
from labelspace.agents.tools.sources import from_data, from_functions, from_langchain, from_openai
from labelspace.agents.tools.store import load_retriever, save_retriever
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.agents.tools.train import train_retriever
from labelspace.agents.tools.usage import Usage, read_usages, write_usages

__all__ = [
    "Clauses",
    "Descriptions",
    "Retriever",
    "Scored",
    "Tool",
    "Tool2Vec",
    "ToolChooser",
    "ToolSet",
    "Usage",
    "evaluate_retriever",
    "from_data",
    "from_functions",
    "from_langchain",
    "from_openai",
    "load_retriever",
    "read_usages",
    "save_retriever",
    "train_retriever",
    "write_usages",
]
