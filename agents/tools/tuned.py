"""Training what `labelspace tools train` and the recipe `tools_table` fine-tune, with settings that learn in minutes.

Each is kept in a folder of its own: the same call finds it there. Triplets and refiner have settings for a small
encoder (MiniLM) on one thread: token embeddings and lower layers stay as they are, long queries are cut. They were
chosen to be quick, not searched for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from labelspace.agents.tools.compose import compose
from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.tool2vec import Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed.base import Embedder
from labelspace.errors import DataError
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.finetune.tools.mlc import ToolMLC
    from labelspace.finetune.tools.refiner import ToolRefiner
    from labelspace.finetune.tools.triplets import QueryEncoder
    from labelspace.finetune.train_settings import TrainSettings

LENGTH = 64
"""Tokens of a query that are read: few queries have more, and one such makes a whole batch long."""
FROZEN = 4
"""Of MiniLM's six layers, those that the triplets leave as they are."""


def tuned_mlc(
    base: str,
    tools: ToolSet,
    usages: Sequence[Usage],
    folder: Path,
    *,
    rounds: int = 6,
    share: float = 0.3,
    more: Sequence[Usage] = (),
    token_dropout: float = 0.0,
    training: TrainSettings | None = None,
    seed: int = 0,
) -> ToolMLC:
    """An encoder fine-tuned to score tools.

    Args:
        base: Folder or Hub name of a sentence-transformers model.
        tools: The tools.
        usages: Queries with their tools.
        folder: Where it is kept, and its state while it is trained.
        rounds: Times that each usage is seen.
        share: Of the usages that are joined with another each time.
        more: Further usages, not joined, each seen as often as it comes in them.
        token_dropout: Share of a query's tokens that are hidden while training.
        training: Settings of the loop; its epochs are not looked at, `rounds` are. None takes those of `ToolMLC`.
        seed: Of order, pairs and dropout.

    Raises:
        DataError: There is no usage.
    """
    from labelspace.finetune.tools.mlc import DEFAULTS, ToolMLC

    if (folder / "mlc.json").exists():
        note(f"{folder}: fine-tuned before, kept")
        return ToolMLC.load(folder)
    if not usages:
        raise DataError("there is no usage to fine-tune an encoder on")
    seen = compose(usages, rounds=rounds, share=share, seed=seed)
    if more:
        seen += more
        random.Random(seed).shuffle(seen)
    settings = (training or DEFAULTS).model_copy(update={"epochs": 1, "seed": seed})
    model = ToolMLC(base, token_dropout=token_dropout, training=settings)
    texts = [tool.text for tool in tools]
    model.fit([u.query for u in seen], [u.tools for u in seen], classes=tools.names, texts=texts, folder=folder)
    model.save(folder)
    return model


def tuned_triplets(base: str, usages: Sequence[Usage], folder: Path, *, seed: int = 0) -> QueryEncoder:
    """An encoder tuned with hard triplets, one a query.

    Raises:
        DataError: No usage has near it one that needs the same tool and one that does not.
    """
    from labelspace.finetune.tools.triplets import QueryEncoder
    from labelspace.finetune.train_settings import TrainSettings

    if (folder / "triplets.json").exists():
        note(f"{folder}: fine-tuned before, kept")
        return QueryEncoder.load(folder)
    settings = TrainSettings(
        epochs=1, batch_size=32, learning_rate=5e-5, warmup=0.05, schedule="linear", precision="bf16", seed=seed
    )
    encoder = QueryEncoder(base, freeze_layers=FROZEN, max_length=LENGTH, training=settings)
    encoder.fit([usage.query for usage in usages], [usage.tools for usage in usages], each=1)
    encoder.save(folder)
    return encoder


def unseen_scores(
    tools: ToolSet, train: Sequence[Usage], usages: Sequence[Usage], embedder: Embedder
) -> npt.NDArray[np.float32]:
    """Scores of usages by linear layers over half of `train` each, the half that the usage is not in [n, k]."""
    first = np.zeros((len(usages), len(tools)), np.float32)
    for half in (0, 1):
        layer = LinearMLC.of(tools, train[half::2], embedder)
        known = {usage.query for usage in train[half::2]}
        unseen = [i for i, usage in enumerate(usages) if usage.query not in known]
        first[unseen] = layer.scores([usages[i].query for i in unseen])
    return first


def tuned_refiner(
    base: str,
    usages: Sequence[Usage],
    first: npt.NDArray[np.float32],
    tool2vec: Tool2Vec,
    folder: Path,
    *,
    candidates: int = 16,
    seed: int = 0,
) -> ToolRefiner:
    """A refiner of a first stage's candidates.

    Args:
        base: Folder or Hub name of a small encoder. Where `tool2vec` embeds by the same, learning starts from what
            that knows: thousands of usages do, where they are far too few for the paper's form.
        usages: Queries with their tools.
        first: Scores that a first stage gives them [usages, tools] without having seen them: `unseen_scores`.
        tool2vec: Vectors of the tools.
        folder: Where it is kept.
        candidates: Tools that it looks at.
        seed: Of order and dropout.
    """
    from labelspace.finetune.tools.refiner import ToolRefiner
    from labelspace.finetune.tools.refiner_model import alone_of
    from labelspace.finetune.train_settings import TrainSettings

    if (folder / "refiner.json").exists():
        note(f"{folder}: fine-tuned before, kept")
        return ToolRefiner.load(folder)
    from_known = alone_of(base) if tool2vec.embedder.name.partition(":")[2] == str(base) else 0
    settings = TrainSettings(
        epochs=3 if from_known else 30,
        batch_size=32,
        learning_rate=2e-4 if from_known else 3e-4,
        warmup=0.1,
        schedule="linear",
        precision="bf16",
        seed=seed,
    )
    made = ToolRefiner(
        base,
        candidates=candidates,
        max_length=LENGTH,
        freeze_tokens=True,
        alone=from_known,
        cosine=from_known > 0,
        training=settings,
    )
    queries, needs = [usage.query for usage in usages], [usage.tools for usage in usages]
    made.fit(queries, needs, first=first, vectors=tool2vec.vectors, classes=tool2vec.tools)
    made.save(folder)
    return made
