"""Rows of `tools_table` of an encoder tuned with hard triplets, and of a refiner of the linear layer's candidates.

    labelspace run tools_table data=toolbank dev=null tests=[test] replies=null composed=0 seeds=[] taught_seeds=[0]
        taught=null    # on the same line

all-MiniLM-L6-v2, seed 0, 16 candidates, three rounds; a minute or two of one core. ToolBank NumPy (`taught=null`):
802 usages, 197 held out (dev), 999 test queries, 513 tools. MetaTool (`data=metatool taught=1000`): 2,054 dev, 4,109
test and 497 test_multi queries, 199 tools:

                          toolbank  dev: R@1    R@5  NDCG@5   test: R@1    R@5  NDCG@5
    mlc (first stage)              0.205  0.426   0.427       0.194  0.437   0.436
    mlc, refined                   0.190  0.444   0.437       0.213  0.466   0.472
    mlc, refined, weighed          0.194  0.453   0.445       0.218  0.470   0.476

                          metatool  dev: R@1    R@5  NDCG@5   test_multi: R@1    R@5  NDCG@5
    mlc, joined (first stage)      0.824  0.964   0.904             0.354  0.775   0.712
    mlc, refined                   0.791  0.946   0.879             0.397  0.830   0.775
    mlc, refined, weighed          0.831  0.959   0.905             0.382  0.823   0.760

                         metatool  test: R@1    R@5  NDCG@5
    mlc, joined (first stage)      0.827  0.957   0.902
    mlc, refined                   0.785  0.941   0.873
    mlc, refined, weighed          0.829  0.958   0.903

On ToolBank's test the weighed refiner betters its first stage by .023 in recall@1 (95 % interval .013 to .034), .033 in
recall@5 (.021 to .044) and .040 in NDCG@5 (.030 to .051). Rates, rounds and layers were set on 300 queries of
MetaTool's dev, after 300 usages.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from labelspace.agents.tools.neighbours import Nearest
from labelspace.agents.tools.refine import Refined, Refiner
from labelspace.agents.tools.retriever import LastSeen, Retriever
from labelspace.agents.tools.tool2vec import Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.tuned import tuned_refiner, tuned_triplets, unseen_scores
from labelspace.agents.tools.usage import Usage
from labelspace.embed import cache_folder
from labelspace.embed.cache import CachedEmbedder

Measure = Callable[[str, Retriever], None]


class Once:
    """A refiner that scores each query once: alone and weighed it is asked for the same."""

    def __init__(self, refiner: Refiner) -> None:
        """Wrap a refiner; it must be given the same first stage each time."""
        self.refiner, self.classes_ = refiner, refiner.classes_
        self._rows: dict[str, np.ndarray] = {}

    def refine(self, queries: Sequence[str], first: np.ndarray) -> np.ndarray:
        """The refiner's scores [n, k]."""
        fresh = [i for i, query in enumerate(queries) if query not in self._rows]
        if fresh:
            found = self.refiner.refine([queries[i] for i in fresh], first[fresh])
            self._rows.update(zip([queries[i] for i in fresh], found, strict=True))
        return np.stack([self._rows[query] for query in queries])


def measure_taught(
    measure: Measure,
    tools: ToolSet,
    *,
    train: Sequence[Usage],
    dev: Sequence[Usage],
    first: Retriever,
    embedder: LastSeen,
    base: str,
    out: Path,
    count: int | None,
    candidates: int,
    seeds: Sequence[int],
) -> None:
    """Train and measure; what was trained before is taken from `out`.

    Args:
        measure: Told each retriever with its name.
        tools: The tools.
        train: Usages; `count` of them, drawn once, teach.
        dev: Held-out usages, by which the refiner is weighed against its first stage.
        first: Finds the candidates.
        embedder: The frozen encoder.
        base: What the encoder and the refiner start from.
        out: Where they are kept.
        count: Usages that teach; None for all.
        candidates: Tools that the refiner looks at.
        seeds: One of each is trained with each seed.
    """
    some = list(train)
    random.Random(0).shuffle(some)
    some = some[:count]
    measure(f"tool2vec, {len(some):,} usages", Tool2Vec.of(tools, some, embedder))
    measure(f"nearest, {len(some):,} usages", Nearest(tools, some, embedder))
    unseen, tool2vec = unseen_scores(tools, train, some, embedder), Tool2Vec.of(tools, train, embedder)
    for seed in seeds:
        folder = out / f"refiner-{seed}"
        refiner = Once(tuned_refiner(base, some, unseen, tool2vec, folder, candidates=candidates, seed=seed))
        measure("mlc, refined", Refined(first, refiner))
        measure("mlc, refined, weighed", Refined.of(first, refiner, dev))
        asked = LastSeen(
            CachedEmbedder(tuned_triplets(base, some, out / f"triplets-{seed}", seed=seed), cache_folder())
        )
        measure("tool2vec, triplets", Tool2Vec.of(tools, some, asked))
        measure("nearest, triplets", Nearest(tools, some, asked))
