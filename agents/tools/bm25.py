"""BM25 over names, descriptions and arguments of tools: no model, no training, exact words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.agents.tools.toolset import ToolSet, spoken
from labelspace.agents.tools.usage import Usage

_WORD = re.compile(r"\w+")
_ENDINGS = ("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")


def words(text: str) -> list[str]:
    """Words in lower case without their commonest English endings."""
    return [_stem(word) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]


def _stem(word: str) -> str:
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word.endswith("ss")):
            return word[: -len(ending)] + instead
    return word


class BM25(Retriever):
    """Okapi BM25 with the usual parameters (Robertson and Zaragoza, 2009, eq. 3.15; idf as in Lucene)."""

    name = "bm25"

    def __init__(self, tools: ToolSet, usages: Sequence[Usage] = (), *, k1: float = 1.2, b: float = 0.75) -> None:
        """Index the tools.

        Args:
            tools: The tools.
            usages: Queries whose words count as words of their tools.
            k1: How soon a repeated word stops counting.
            b: How much long texts are held back, 0 to 1.
        """
        from scipy.sparse import csr_matrix

        super().__init__(tools.space)
        self.usages, self.k1, self.b = tuple(usages), k1, b
        texts = {tool.name: [spoken(tool.name), tool.description, *map(spoken, _arguments(tool.parameters))]
                 for tool in tools}  # fmt: skip
        for usage in usages:
            for name in usage.tools:
                if name in texts:
                    texts[name].append(usage.query)
        counts = [Counter(words(" ".join(parts))) for parts in texts.values()]
        self._terms = {term: i for i, term in enumerate(sorted(set().union(*counts)))}
        lengths = np.array([max(sum(count.values()), 1) for count in counts], dtype=np.float64)
        rows = np.array([self._terms[term] for count in counts for term in count], dtype=np.int64)
        columns = np.repeat(np.arange(len(counts)), [len(count) for count in counts])
        often = np.array([times for count in counts for times in count.values()], dtype=np.float64)
        having = np.bincount(rows, minlength=len(self._terms))
        idf = np.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
        held = k1 * (1 - b + b * lengths / lengths.mean())
        weights = idf[rows] * often * (k1 + 1) / (often + held[columns])
        self._weights = csr_matrix((weights, (rows, columns)), shape=(len(self._terms), len(counts)))

    def scores(self, queries: Sequence[str]) -> Floats:
        """Sum of the weights of the query's words in each tool; a word asked twice counts twice."""
        from scipy.sparse import csr_matrix

        known = [[self._terms[word] for word in words(query) if word in self._terms] for query in queries]
        at = np.concatenate([[0], np.cumsum([len(row) for row in known])])
        indices = np.array([term for row in known for term in row], dtype=np.int64)
        asked = csr_matrix((np.ones(len(indices)), indices, at), shape=(len(queries), len(self._terms)))
        found: Floats = np.asarray((asked @ self._weights).toarray(), dtype=np.float32)
        return found


def _arguments(schema: object) -> list[str]:
    properties = schema.get("properties") if hasattr(schema, "get") else None
    return list(properties) if isinstance(properties, dict) else []
