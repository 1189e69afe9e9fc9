"""Stages of `tools_table` over a fine-tuned encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from labelspace.agents.tools.linear import LinearMLC
from labelspace.agents.tools.neighbours import Nearest
from labelspace.agents.tools.retriever import LastSeen, Retriever, Scored
from labelspace.agents.tools.toolset import ToolSet
from labelspace.agents.tools.tuned import tuned_mlc
from labelspace.agents.tools.usage import Usage
from labelspace.embed import cache_folder
from labelspace.embed.cache import CachedEmbedder
from labelspace.finetune.train_settings import TrainSettings
from labelspace.recipes._tools_rows import Head

COPIES = 2
"""Times that linear layers and encoders see each written request: there are few."""
TURNS = 80
"""Rounds of the linear layer over a tuned encoder, which has little to learn."""
HIDDEN = 0.1
"""Share of a query's tokens that are hidden while the encoder is tuned."""
LOOP = TrainSettings(
    batch_size=32, learning_rate=1e-4, head_learning_rate=1e-3, warmup=0.06, average=0.25, precision="bf16"
)
"""How it is tuned: the weights are the mean of those of the last quarter of the steps."""


class Tuning(NamedTuple):
    """What is tuned and how, and where it is kept."""

    base: str
    folder: Path
    rounds: int
    share: float
    seed: int


def tuned_stages(
    tuning: Tuning, tools: ToolSet, train: Sequence[Usage], written: list[Usage]
) -> dict[str, Callable[[], Retriever]]:
    """By name how stages are made: the head, its nearest usages, and a linear layer that sees written requests too.

    The encoder is tuned, or taken from its folder, when the first of them is made.
    """

    @cache
    def head() -> Head:
        encoder = tuned_mlc(
            tuning.base,
            tools,
            train,
            tuning.folder,
            rounds=tuning.rounds,
            share=tuning.share,
            more=written * COPIES,
            token_dropout=HIDDEN,
            training=LOOP,
            seed=tuning.seed,
        )
        return Head(encoder, LastSeen(CachedEmbedder(encoder, cache_folder())))

    made: dict[str, Callable[[], Retriever]] = {
        "tuned": lambda: Scored(tools.space, head(), name="tuned"),
        "tuned, nearest": lambda: Nearest(tools, [*train, *written], head().embedder),
    }
    if written:
        usages = [*train, *written * COPIES]
        made["tuned, mlc"] = lambda: LinearMLC.of(tools, usages, head().embedder, rounds=TURNS)
    return made
