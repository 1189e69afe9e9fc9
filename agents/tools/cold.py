"""Tools that nobody has used yet, in a retriever that learned from usage: ranked by their descriptions.

What learns from usage has learned of such a tool that it is never needed, and holds it back the more, the more it is
trusted. Here a second, plain retriever, which knows names and descriptions alone, says how likely each tool is; a tool
without usage gets the share that it gives, against the shares that the trained one gives to all others. Descriptions
are a weaker sign than usage, and their shares, fitted on the same held-out usages, are lower for it.

Measured once on MetaTool's dev queries, all-MiniLM-L6-v2, the usage of 20 tools drawn at random left out of training
and weighing: of the 215 queries that need one of these R@1 / R@5 are .437 / .758, where the fusion alone has 0 / 0 and
descriptions alone .540 / .702; of 921 others .875 / .974, the fusion alone .877 / .975.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from labelspace.agents.tools.choose import log_shares
from labelspace.agents.tools.retriever import Floats, Retriever
from labelspace.errors import ConfigError


class ColdStart(Retriever):
    """A trained retriever for the tools that it has learned of, a plain one for the rest."""

    def __init__(self, trained: Retriever, plain: Retriever, cold: Iterable[str]) -> None:
        """Put them beside each other.

        Args:
            trained: Its scores are logits: their softmax is how likely a tool is, as for a `Fusion`.
            plain: Needs no usage; its scores are logits too.
            cold: Names of the tools that no usage needs.

        Raises:
            ConfigError: They rank different tools, or no tool is left that `trained` has learned of.
        """
        super().__init__(trained.label_space)
        self.trained, self.plain, self.name = trained, plain, trained.name
        if trained.tools != plain.tools:
            raise ConfigError(f"{trained.name!r} and {plain.name!r} rank different tools")
        unused = set(cold)
        self.cold = np.array([name in unused for name in self.tools])
        if self.cold.all():
            raise ConfigError("no tool has any usage, so there is nothing to learn from it")

    def scores(self, queries: Sequence[str]) -> Floats:
        """The trained retriever's scores; for cold tools, logits that give them the plain one's shares [n, k]."""
        found = self.trained.scores(queries).astype(np.float32)
        if not len(found) or not self.cold.any():
            return found
        warm = found[:, ~self.cold]
        highest = warm.max(axis=1, keepdims=True)
        total = highest + np.log(np.exp(warm - highest).sum(axis=1, keepdims=True))
        found[:, self.cold] = total + log_shares(self.plain.scores(queries))[:, self.cold]
        return found
