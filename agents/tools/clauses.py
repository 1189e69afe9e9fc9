"""One request for several things, looked up part by part: each part finds its own tool.

The vector of "book a table for Friday and tell Ann" lies between those of its parts, near neither tool. Here a query
is split into sentences and clauses, the whole and all parts are scored in one batch, and a tool counts for what the
parts say of it too. A query of one part is ranked as it would be without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from labelspace.agents.tools.choose import log_shares
from labelspace.agents.tools.fusion import fit_weights, wanted_tools
from labelspace.agents.tools.index import MANY
from labelspace.agents.tools.retriever import BATCH, Floats, Ranking, Retriever, by_turns
from labelspace.agents.tools.tool2vec import VectorRetriever
from labelspace.agents.tools.usage import Usage
from labelspace.errors import ConfigError

VIEWS = ("whole", "max", "mean")
EVEN: Mapping[str, float] = MappingProxyType({"whole": 1.0, "max": 1.0})
LEAST = 3
"""Words that a part must have: fewer mean nothing without what stands beside them."""
MOST = 8
"""Parts of a query that are looked up; the rest of a long text is read as part of the whole alone."""
LONGEST = 2_000
"""Characters in which parts are looked for: a pasted document is no list of needs, and cutting takes time."""
FLOOR = 1e-4
"""Share that every tool has in every part, so that what no part needs keeps a score."""

_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\s*\n+\s*|\s+[-–—]\s+")
_JOINT = re.compile(
    r",?\s+(?:and then|and also|as well as|and|then|also|plus|but|while|und|et|puis|y|e)\s+|,\s+", re.IGNORECASE
)


def clauses_of(query: str, *, least: int = LEAST, most: int = MOST) -> list[str]:
    """The parts of a query, in its order; [] if it has but one.

    Cut at the ends of sentences, at commas and at words that join ("and", "then", "as well as"), but only where both
    sides have enough words to mean something: "salt and pepper" stays together.

    Args:
        query: What was asked.
        least: Words that a part has at least.
        most: Parts at most; what follows them is left out.
    """
    parts: list[str] = []
    for sentence in _SENTENCE.split(query.strip()[:LONGEST]):
        pieces = _cut(sentence, least)
        if parts and len(pieces) == 1 and len(pieces[0].split()) < least:
            parts[-1] = f"{parts[-1]} {pieces[0]}"  # "Thanks a lot!" after a request is part of it
        else:
            parts += pieces
    if len(parts) > 1 and len(parts[0].split()) < least:
        parts[:2] = [f"{parts[0]} {parts[1]}"]
    return parts[:most] if len(parts) > 1 else []


def _cut(sentence: str, least: int) -> list[str]:
    """Cut a sentence at its joints, where what stands on both sides is long enough."""
    pieces: list[str] = []
    start = 0
    for joint in _JOINT.finditer(sentence):
        before, after = sentence[start : joint.start()], sentence[joint.end() :]
        if len(before.split()) >= least and len(after.split()) >= least:
            pieces.append(before.strip())
            start = joint.end()
    rest = sentence[start:].strip()
    return [*pieces, rest] if rest else pieces


class Clauses(Retriever):
    """Scores a query by its parts, and as a whole.

    The score is a weighted sum of logs of shares: `whole`, what the retriever says of the query as it is; `max`, the
    highest share that the query or any part of it gives a tool; `mean`, that of all of them.
    """

    def __init__(self, inner: Retriever, weights: Mapping[str, float] = EVEN) -> None:
        """Wrap a retriever; `of` finds the weights.

        Args:
            inner: What scores the parts.
            weights: By name of what is summed (`VIEWS`).

        Raises:
            ConfigError: A weight has an unknown name, or none is above 0.
        """
        if strange := sorted(set(weights) - set(VIEWS)):
            raise ConfigError(f"parts can't be weighed by {strange[0]!r}; there are: {', '.join(VIEWS)}")
        if not any(weight > 0 for weight in weights.values()):
            raise ConfigError("one of the weights of a query's parts must be above 0")
        super().__init__(inner.label_space)
        self.inner, self.weights = inner, {name: float(weights.get(name, 0)) for name in VIEWS}
        self.name = f"{inner.name}, by parts"

    @classmethod
    def of(cls, inner: Retriever, dev: Sequence[Usage]) -> Clauses:
        """Choose the weights on held-out usages, some of which should need several tools.

        Raises:
            DataError: No usage in `dev` needs any of the tools.
        """
        views = cls(inner).views([usage.query for usage in dev])
        found = fit_weights(list(views.values()), wanted_tools(inner.tools, dev))
        return cls(inner, dict(zip(views, found, strict=True)))

    def scores(self, queries: Sequence[str]) -> Floats:
        """The weighted sum [n, k]; one batch goes through the inner retriever."""
        total: Floats = np.zeros((len(queries), len(self.tools)), np.float32)
        for name, view in self.views(queries).items():
            total += np.float32(self.weights[name]) * view
        return total

    def search(self, queries: Sequence[str], k: int = 5) -> list[Ranking]:
        """The best k tools; among very many tools the query and its parts take turns, each through the index."""
        if not isinstance(self.inner, VectorRetriever) or len(self.tools) < MANY:
            return super().search(queries, k)
        groups = [[query, *clauses_of(query)] for query in queries]
        found = iter(self.inner.search([text for group in groups for text in group], k))
        rankings = []
        for group in groups:
            ranked = [next(found) for _ in group]
            best: dict[str, float] = {}
            for name, score in (pair for ranking in ranked for pair in ranking):
                best[name] = max(score, best.get(name, score))
            names = by_turns([[name for name, _ in ranking] for ranking in ranked], k)
            rankings.append([(name, best[name]) for name in names])
        return rankings

    def views(self, queries: Sequence[str]) -> dict[str, Floats]:
        """What is summed, by name, each [n, k]."""
        batches = [self._views(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)]
        if not batches:
            return {name: np.zeros((0, len(self.tools)), np.float32) for name in VIEWS}
        return {name: np.concatenate([batch[at] for batch in batches]) for at, name in enumerate(VIEWS)}

    def _views(self, queries: Sequence[str]) -> list[Floats]:
        groups = [[query, *clauses_of(query)] for query in queries]
        counts = np.array([len(group) for group in groups])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        shares = np.exp(log_shares(self.inner.scores([text for group in groups for text in group])))
        mean = np.add.reduceat(shares, starts, axis=0) / counts[:, None].astype(np.float32)
        return [
            np.log(view + np.float32(FLOOR)) for view in (shares[starts], np.maximum.reduceat(shares, starts), mean)
        ]
