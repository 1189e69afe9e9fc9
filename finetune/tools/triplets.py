"""Query-to-query fine-tuning: an encoder learns that queries that need the same tools lie together.

Tool2Vec (arXiv 2409.02141, section 3.1): for each query, hard triplets from its nearest neighbours among the
training queries: positives share a tool with it, negatives share none. Triplet margin loss with margin 1 on
Euclidean distances of the pooled vectors as they are, not scaled to length 1. Where we differ from the
reference code: a query is not its own positive (there it always is the first, which teaches nothing;
`with_itself=True` does the same).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import load_backbone, pad_id
from labelspace.finetune.batches import Example, collate, cut
from labelspace.finetune.checkpoint import copy_into, trainable
from labelspace.finetune.label_model import LabelModel, logits_of
from labelspace.finetune.tools.files import read_model, version_of, write_model
from labelspace.finetune.tools.steps import descend
from labelspace.finetune.train_settings import TrainSettings

DEFAULTS = TrainSettings(epochs=1, batch_size=32, learning_rate=2e-5, warmup=0.05, schedule="linear")


PART = 1024
"""Tokens that go through the encoder at once."""
_KEPT = ("max_length", "freeze_tokens", "freeze_layers")


class Triplet(NamedTuple):
    """Numbers of three queries."""

    anchor: int
    positive: int
    negative: int


def mine_triplets(
    vectors: npt.NDArray[np.float32],
    needs: Sequence[Iterable[str]],
    *,
    near: int = 100,
    each: int = 5,
    with_itself: bool = False,
) -> list[Triplet]:
    """Pair each query with its nearest positives and negatives.

    Args:
        vectors: Unit rows [n, d].
        needs: The tools of each query.
        near: Neighbours that are looked at.
        each: At most so many triplets of a query: its first positive with its first negative, and so on.
        with_itself: Count the query as its own first positive, as the reference code does.
    """
    sets = [frozenset(names) for names in needs]
    found = []
    for start in range(0, len(vectors), 512):
        similar = vectors[start : start + 512] @ vectors.T
        for offset, row in enumerate(similar):
            anchor = start + offset
            order = np.argsort(-row, kind="stable")[: near + 1]
            others = [int(i) for i in order if i != anchor][:near]
            positives = [i for i in others if sets[i] & sets[anchor]]
            positives = ([anchor] if with_itself else []) + positives
            negatives = [i for i in others if not sets[i] & sets[anchor]]
            found += [Triplet(anchor, p, n) for p, n in list(zip(positives, negatives, strict=False))[:each]]
    return found


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean of max(|a - p| - |a - n| + margin, 0) over the rows [n, d]."""
    near = torch.linalg.vector_norm(anchor - positive + 1e-6, dim=1)
    far = torch.linalg.vector_norm(anchor - negative + 1e-6, dim=1)
    return (near - far + margin).clamp(min=0).mean()


def freeze_first(model: Any, count: int) -> None:
    """Leave the embeddings and the first layers of an encoder as they are, but for its last.

    Raises:
        ConfigError: Its layers are not where BERT has them.
    """
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    if layers is None:
        raise ConfigError(f"the layers of a {model.config.model_type!r} model can't be found; freeze none of them")
    model.embeddings.requires_grad_(False)
    for layer in layers[: min(count, len(layers) - 1)]:
        layer.requires_grad_(False)


class QueryEncoder:
    """An encoder of queries, fine-tuned with hard triplets. An `Embedder`."""

    def __init__(
        self,
        base: str | Path,
        *,
        max_length: int = 128,
        freeze_tokens: bool = False,
        freeze_layers: int = 0,
        training: TrainSettings = DEFAULTS,
    ) -> None:
        """Load an encoder whose token vectors are averaged.

        Args:
            base: Folder or Hub name.
            max_length: Tokens that are read.
            freeze_tokens: Leave the token embeddings as they are.
            freeze_layers: Leave so many of the first layers, never the last, and the embeddings as they are.
            training: Rates, epochs, seed; the defaults are the paper's.
        """
        self.base, self.max_length, self.training = base, max_length, training
        self.freeze_tokens, self.freeze_layers = freeze_tokens or freeze_layers > 0, freeze_layers
        torch.manual_seed(training.seed)
        backbone, self._tokenizer = load_backbone(base)
        if self.freeze_tokens:
            backbone.embedding.requires_grad_(False)
        if freeze_layers:
            freeze_first(backbone.model, freeze_layers)
        self._model = LabelModel(backbone, nn.Identity(), pooling="mean")
        self._model.eval()
        self.losses_: list[float] = []

    @property
    def name(self) -> str:
        """What it is called as an embedder."""
        return f"triplets:{self.base}"

    @cached_property
    def version(self) -> str:
        """Hash of the weights; ask after training."""
        return f"triplets:{version_of(self.base, self._model)}"

    def save(self, folder: str | Path) -> None:
        """Write what was trained, as safetensors and JSON; the base is named, not copied."""
        settings = {name: getattr(self, name) for name in _KEPT}
        write_model(folder, "triplets", trainable(self._model), self.training, base=str(self.base), **settings)

    @classmethod
    def load(cls, folder: str | Path) -> QueryEncoder:
        """Read what `save` wrote; the base must be where it was.

        Raises:
            ConfigError: The folder holds no such encoder, or its base is gone.
        """
        tensors, training, data = read_model(folder, "triplets")
        made = cls(data["base"], **{name: data[name] for name in _KEPT}, training=training)
        copy_into(made._model, tensors)
        return made

    def fit(
        self, queries: Sequence[str], needs: Sequence[Iterable[str]], *, near: int = 100, each: int = 5
    ) -> QueryEncoder:
        """Train on triplets mined with the encoder as it is.

        Raises:
            DataError: No query has both a positive and a negative near it.
        """
        wanted = [tuple(names) for names in needs]
        triplets = mine_triplets(self.embed(queries), wanted, near=near, each=each)
        if not triplets:
            raise DataError("no query has near it one that needs the same tool and one that does not")
        encoded = self._encode(queries)

        def loss_of(batch: list[Any]) -> Tensor:
            vectors = self._vectors([encoded[i] for role in zip(*batch, strict=True) for i in role])
            return triplet_loss(*vectors.chunk(3))

        self.losses_ = descend(self._model, triplets, loss_of, settings=self.training, title="training on triplets")
        return self

    def _vectors(self, encoded: Sequence[Sequence[int]]) -> Tensor:
        """Pooled vectors [n, d], texts of similar length side by side: most of a batch would be padding."""
        parts = cut(range(len(encoded)), [len(ids) for ids in encoded], tokens=PART)
        pad = pad_id(self._tokenizer)
        vectors = torch.cat(
            [self._model(collate([Example(encoded[i]) for i in part], pad=pad)) for part in parts]
        ).float()
        place = np.argsort([i for part in parts for i in part])
        found: Tensor = vectors[torch.from_numpy(place)]
        return found

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts as rows of length 1 [n, d]."""
        if not len(texts):
            return np.zeros((0, self._model.backbone.width), np.float32)
        found = logits_of(self._model, [Example(ids) for ids in self._encode(texts)], pad=pad_id(self._tokenizer))
        rows = np.stack(found)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9), dtype=np.float32)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(self._tokenizer, texts, max_length=self.max_length)[0]
