"""Tools as vectors: of their descriptions, or the mean of the queries that use them (Tool2Vec).

Tool2Vec (arXiv 2409.02141): the vector of a tool is the mean of the embeddings of the queries that use
it. The reference code ranks by the dot product with that mean as it is, so that a tool whose queries are
alike has a longer vector and comes first more often; `normalise=False` does the same. We compare
directions by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from labelspace.agents.tools.index import Index, make_index
from labelspace.agents.tools.retriever import Floats, Ranking, Retriever
from labelspace.agents.tools.toolset import Tool, ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed.base import Embedder, Vectors, unit_rows
from labelspace.errors import ConfigError, SpaceError


class VectorRetriever(Retriever):
    """Ranks by the dot product of the query's vector with one vector for each tool."""

    name = "vectors"

    def __init__(self, tools: ToolSet, vectors: Vectors, embedder: Embedder, *, index: str = "exact") -> None:
        """Take the vectors.

        Args:
            tools: The tools.
            vectors: One row for each [k, d].
            embedder: For the queries.
            index: `exact`, or `approximate` for a graph index (usearch) over very many tools.

        Raises:
            ConfigError: There are not as many vectors as tools.
        """
        super().__init__(tools.space)
        if len(vectors) != len(tools):
            raise ConfigError(f"there are {len(vectors):,} vectors for {len(tools):,} tools")
        self.toolset, self.vectors, self.embedder, self.kind = tools, vectors, embedder, index
        self._index: Index | None = None

    def scores(self, queries: Sequence[str]) -> Floats:
        """Dot products with the vectors of all tools; for tools as such, `search` is faster."""
        found: Floats = self.embedder.embed(queries) @ self.vectors.T
        return found

    def search(self, queries: Sequence[str], k: int = 5) -> list[Ranking]:
        """The best k tools, through the index."""
        if self._index is None:
            self._index = make_index(self.vectors, self.kind)
        found = []
        for query in self.embedder.embed(queries):
            places, scores = self._index.search(query, k)
            found.append([(self.tools[i], float(score)) for i, score in zip(places, scores, strict=True)])
        return found


class Descriptions(VectorRetriever):
    """Ranks by similarity to names and descriptions: what there is before anybody has used a tool."""

    name = "descriptions"

    def __init__(
        self, tools: ToolSet, embedder: Embedder, *, vectors: Vectors | None = None, index: str = "exact"
    ) -> None:
        """Embed the descriptions, if their vectors [k, d] are not given."""
        if vectors is None:
            vectors = embedder.embed([tool.text for tool in tools])
        super().__init__(tools, vectors, embedder, index=index)


class Tool2Vec(VectorRetriever):
    """Ranks by similarity to the mean of the queries that use a tool."""

    name = "tool2vec"

    def __init__(
        self,
        tools: ToolSet,
        embedder: Embedder,
        *,
        sums: Vectors,
        counts: Sequence[int],
        plain: Vectors | None = None,
        normalise: bool = True,
        index: str = "exact",
    ) -> None:
        """Take sums of query embeddings [k, d] and how many queries each is of; `of` computes them.

        `plain` [c, d] are the vectors of the descriptions of the c tools that no query tells of; None embeds them.
        """
        self.sums, self.counts = np.asarray(sums, dtype=np.float32), np.asarray(counts, dtype=np.int64)
        self.normalise, self.plain = normalise, plain
        super().__init__(tools, self._vectors(tools, embedder), embedder, index=index)

    @classmethod
    def of(
        cls,
        tools: ToolSet,
        usages: Sequence[Usage],
        embedder: Embedder,
        *,
        normalise: bool = True,
        index: str = "exact",
    ) -> Tool2Vec:
        """Average the embeddings of the queries that use each tool.

        Args:
            tools: The tools; one that no query uses gets the vector of its description.
            usages: Queries with their tools; tools that are not in the set are passed over.
            embedder: For queries and descriptions.
            normalise: Compare directions; False ranks by the plain dot product, as the reference code does.
            index: See `VectorRetriever`.
        """
        place = {name: i for i, name in enumerate(tools.names)}
        pairs = [(i, place[name]) for i, usage in enumerate(usages) for name in usage.tools if name in place]
        width = embedder.embed(["a"]).shape[1]
        sums, counts = np.zeros((len(tools), width), np.float32), np.zeros(len(tools), np.int64)
        if pairs:
            rows, columns = np.array(pairs).T
            np.add.at(sums, columns, embedder.embed([usage.query for usage in usages])[rows])
            np.add.at(counts, columns, 1)
        return cls(tools, embedder, sums=sums, counts=counts.tolist(), normalise=normalise, index=index)

    def _vectors(self, tools: ToolSet, embedder: Embedder) -> Vectors:
        means: Vectors = self.sums / np.maximum(self.counts, 1).astype(np.float32)[:, None]
        vectors = unit_rows(means) if self.normalise else means
        lengths = np.linalg.norm(means, axis=1)
        cold = np.flatnonzero(lengths == 0)  # no query uses it, or only such as the embedder knows no word of
        if len(cold):
            if self.plain is None:
                self.plain = embedder.embed([tools.tools[i].text for i in cold])
            # A mean is shorter than a unit vector: at full length, tools nobody uses would come first.
            usual = 1.0 if self.normalise or len(cold) == len(tools) else float(np.median(lengths[lengths > 0]))
            vectors[cold] = self.plain * usual
        return vectors

    def with_tool(self, tool: Tool, queries: Iterable[str] = ()) -> Tool2Vec:
        """The same retriever with one more tool, known by its description or by some queries.

        Raises:
            SpaceError: There is a tool of that name.
        """
        tools = ToolSet((*self.toolset, tool), name=self.toolset.name)
        asked = list(queries)
        total = self.embedder.embed(asked).sum(axis=0) if asked else np.zeros(self.sums.shape[1], np.float32)
        return self._with(tools, np.vstack([self.sums, total[None]]), [*self.counts.tolist(), len(asked)])

    def without_tool(self, name: str) -> Tool2Vec:
        """The same retriever with one tool less.

        Raises:
            SpaceError: There is no such tool.
        """
        if name not in self.toolset:
            raise SpaceError(self._space.unknown(name))
        kept = [i for i, tool in enumerate(self.toolset) if tool.name != name]
        tools = ToolSet([self.toolset.tools[i] for i in kept], name=self.toolset.name)
        return self._with(tools, self.sums[kept], self.counts[kept].tolist())

    def _with(self, tools: ToolSet, sums: Vectors, counts: Sequence[int]) -> Tool2Vec:
        """The same retriever over other tools."""
        made = Tool2Vec(tools, self.embedder, sums=sums, counts=counts, normalise=self.normalise, index=self.kind)
        made.name = self.name
        return made

    def known(self) -> Mapping[str, int]:
        """How many queries each tool is known by."""
        return dict(zip(self.tools, self.counts.tolist(), strict=True))
