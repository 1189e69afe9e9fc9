"""From tools and usage to a fused retriever: the stages by name, and their weights from held-out usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from labelspace.agents.tools.bm25 import BM25
from labelspace.agents.tools.cold import ColdStart
from labelspace.agents.tools.fusion import Fusion
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.neighbours import Nearest, Neighbours, Wording
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored, Scorer
from labelspace.agents.tools.tool2vec import Descriptions, Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.agents.tools.wording_mlc import WordingMLC
from labelspace.embed.base import Embedder
from labelspace.errors import ConfigError, DataError

Stage = Literal[
    "bm25",
    "bm25-usage",
    "descriptions",
    "tool2vec",
    "tool2vec-dot",
    "neighbours",
    "nearest",
    "wording",
    "wording-mlc",
    "mlc",
    "mlc-bce",
]
STAGES: tuple[str, ...] = get_args(Stage)
PLAIN = frozenset({"bm25", "descriptions"})
"""What needs no usage."""
NEEDS_USAGE = frozenset(STAGES) - PLAIN
BEST: tuple[str, ...] = ("bm25", "descriptions", "tool2vec", "neighbours", "nearest", "wording", "mlc")
"""What is fused where nothing is asked for."""


def check_stage(name: str, usages: Sequence[Usage]) -> None:
    """Say what is wrong with a stage before anything is embedded.

    Raises:
        ConfigError: There is no such stage.
        DataError: It needs usage, and there is none.
    """
    if name not in STAGES:
        raise ConfigError(f"there is no stage {name!r}; there are: {', '.join(STAGES)}")
    if name in NEEDS_USAGE and not any(usage.tools for usage in usages):
        raise DataError(
            f"the stage {name!r} learns from usage, and there is none",
            advice="make some with `labelspace tools generate`, or use bm25 or descriptions",
        )


def make_stage(
    name: str, tools: ToolSet, usages: Sequence[Usage], embedder: Embedder, *, index: str = "exact"
) -> Retriever:
    """Make and train one stage.

    Args:
        name: One of `STAGES`.
        tools: The tools.
        usages: Queries with their tools; may be empty for `bm25` and `descriptions`.
        embedder: For all that don't go by words.
        index: How vectors of tools are searched: `exact` or `approximate`, see `VectorRetriever`.

    Raises:
        ConfigError: There is no such stage.
        DataError: It needs usage, and there is none.
    """
    check_stage(name, usages)
    made: Retriever
    if name in ("bm25", "bm25-usage"):
        made = BM25(tools, usages if name == "bm25-usage" else ())
    elif name == "descriptions":
        made = Descriptions(tools, embedder, index=index)
    elif name in ("tool2vec", "tool2vec-dot"):
        made = Tool2Vec.of(tools, usages, embedder, normalise=name == "tool2vec", index=index)
    elif name == "neighbours":
        made = Neighbours(tools, usages, embedder)
    elif name == "nearest":
        made = Nearest(tools, usages, embedder)
    elif name == "wording":
        made = Wording(tools, usages)
    elif name == "wording-mlc":
        made = WordingMLC.of(tools, usages)
    else:
        made = LinearMLC.of(tools, usages, embedder, loss="bce" if name == "mlc-bce" else "softmax")
    made.name = name
    return made


def train_retriever(
    tools: ToolSet,
    usages: Sequence[Usage],
    dev: Sequence[Usage],
    embedder: Embedder,
    *,
    stages: Sequence[str] = BEST,
    scorers: Mapping[str, Scorer] | None = None,
    index: str = "exact",
) -> Retriever:
    """Train stages and fuse them; in the fusion, tools that no usage needs are ranked by what they are said to do.

    Args:
        tools: The tools.
        usages: What to learn from.
        dev: Held-out usages, by which the stages are weighted; not needed for a single stage.
        embedder: Shared by the stages.
        stages: Names of stages (`STAGES`).
        scorers: Further stages that were trained elsewhere, such as a fine-tuned encoder.
        index: How a single stage of vectors is searched: `exact` or `approximate`.

    Raises:
        ConfigError: A stage is not known, or there is none.
        DataError: There is no usage to learn from, or none to choose the weights by.
    """
    shared = LastSeen(embedder)
    made: list[Retriever] = [make_stage(name, tools, usages, shared, index=index) for name in stages]
    made += [Scored(tools.space, scorer, name=name) for name, scorer in (scorers or {}).items()]
    if len(made) == 1:
        return made[0]
    fused = Fusion.of(made, dev)
    used = {name for usage in usages for name in usage.tools}
    cold = [name for name in tools.names if name not in used]
    if not cold or len(cold) == len(tools) or all(stage.name in PLAIN for stage in made):
        return fused
    plain = [stage for stage in made if stage.name in PLAIN] or [make_stage("descriptions", tools, (), shared)]
    return ColdStart(fused, Fusion.of(plain, dev), cold)


def split_usages(usages: Sequence[Usage], *, share: float = 0.2) -> tuple[list[Usage], list[Usage]]:
    """Usages to train on and usages to hold out; the text decides, so that copies stay on one side."""
    from labelspace.records import derive_id

    held = [int(derive_id(" ".join(usage.query.casefold().split())), 16) < share * 16**16 for usage in usages]
    return (
        [usage for usage, out in zip(usages, held, strict=True) if not out],
        [usage for usage, out in zip(usages, held, strict=True) if out],
    )
