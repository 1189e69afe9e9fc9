"""What `tools_table` fine-tunes: each in a folder of its own, and kept there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.retriever import LastSeen
from labelspace.agents.tools.tool2vec import Tool2Vec
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.usage import Usage
from labelspace.embed.base import Embedder
from labelspace.progress import note

if TYPE_CHECKING:
    from labelspace.finetune.tools_mlc import ToolMLC
    from labelspace.finetune.tools_refiner import ToolRefiner
    from labelspace.finetune.tools_triplets import QueryEncoder


class Head:
    """The tuned encoder's head over vectors that are kept."""

    def __init__(self, tuned: ToolMLC, embedder: LastSeen) -> None:
        """Take the encoder, and what keeps its vectors."""
        self.tuned, self.embedder, self.classes_ = tuned, embedder, tuned.classes_

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """Log-odds [n, k]."""
        return self.tuned.scores_of(self.embedder.embed(queries))


def tuned(base: str, tools: ToolSet, usages: Sequence[Usage], folder: Path, *, seed: int) -> ToolMLC:
    """The encoder fine-tuned with one seed, from its folder if it is there."""
    from labelspace.finetune.tools_mlc import DEFAULTS, ToolMLC

    if (folder / "mlc.json").exists():
        note(f"{folder}: fine-tuned before, kept")
        return ToolMLC.load(folder)
    model = ToolMLC(base, training=DEFAULTS.model_copy(update={"epochs": 1, "seed": seed}))
    model.fit(
        [usage.query for usage in usages],
        [usage.tools for usage in usages],
        classes=tools.names,
        texts=[tool.text for tool in tools],
        folder=folder,
    )
    model.save(folder)
    return model


def taught(base: str, usages: Sequence[Usage], folder: Path, *, seed: int) -> QueryEncoder:
    """The encoder tuned with triplets, from its folder if it is there."""
    from labelspace.finetune.tools_triplets import DEFAULTS, QueryEncoder

    if (folder / "triplets.json").exists():
        return QueryEncoder.load(folder)
    settings = DEFAULTS.model_copy(update={"seed": seed})
    encoder = QueryEncoder(base, freeze_tokens=True, training=settings)
    encoder.fit([usage.query for usage in usages], [usage.tools for usage in usages], each=1)
    encoder.save(folder)
    return encoder


def unseen_scores(tools: ToolSet, train: Sequence[Usage], usages: Sequence[Usage], embedder: Embedder) -> np.ndarray:
    """Scores of usages by linear layers over half of train each, the half that the usage is not in."""
    first = np.zeros((len(usages), len(tools)), np.float32)
    for half in (0, 1):
        layer = LinearMLC.of(tools, train[half::2], embedder)
        known = {usage.query for usage in train[half::2]}
        unseen = [i for i, usage in enumerate(usages) if usage.query not in known]
        first[unseen] = layer.scores([usages[i].query for i in unseen])
    return first


def refiner(
    base: str,
    usages: Sequence[Usage],
    first: np.ndarray,
    tool2vec: Tool2Vec,
    folder: Path,
    *,
    candidates: int,
    layers: int | None,
    seed: int,
) -> ToolRefiner:
    """A refiner of the candidates that a first stage scores so [usages, tools], from its folder if it is there."""
    from labelspace.finetune.tools_refiner import ToolRefiner
    from labelspace.finetune.train_settings import TrainSettings

    if (folder / "refiner.json").exists():
        return ToolRefiner.load(folder)
    settings = TrainSettings(epochs=3, batch_size=32, learning_rate=1e-4, warmup=0.1, schedule="linear", seed=seed)
    made = ToolRefiner(base, candidates=candidates, layers=layers, training=settings)
    queries, needs = [usage.query for usage in usages], [usage.tools for usage in usages]
    made.fit(queries, needs, first=first, vectors=tool2vec.vectors, classes=tool2vec.tools)
    made.save(folder)
    return made
