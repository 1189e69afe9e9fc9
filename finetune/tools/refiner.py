"""ToolRefiner: the query's tokens and the candidates' vectors through one small encoder (arXiv 2409.02141, 3.3).

The first stage gives N candidates; their vectors (Tool2Vec) are projected to the encoder's width, put behind the
query's token embeddings, and run through the encoder together, so that every candidate sees the query and
all others. A linear layer then scores each. Binary cross-entropy over the candidates.

Where we differ from the reference code, which never leaves evaluation mode and hands candidates over in the
order of their first-stage rank, which relative positions then give away: dropout works while training, and
candidates come in the order of the tool set. Encoders with absolute positions (BERT, MiniLM) give candidates no
position at all, so that their order has no effect whatever.

The paper's form learns from nothing what it means that a tool fits a query: after twenty rounds over 100 usages it
knew six of ten by heart, and others not. Where the tools' vectors come from the very encoder (Tool2Vec over a sentence
encoder), two settings start from what it knows: `alone`, the layers that read the query by itself before candidates
join it, and `cosine`, which adds the cosine of the query's pooled states and the tool to each logit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import load_backbone, pad_id
from labelspace.finetune.batches import Example, collate, cut
from labelspace.finetune.checkpoint import copy_into, trainable
from labelspace.finetune.tools.files import read_model, write_model
from labelspace.finetune.tools.refiner_model import RefinerModel
from labelspace.finetune.tools.steps import descend
from labelspace.finetune.train_settings import TrainSettings
from labelspace.progress import Progress

CANDIDATES = 64
DEFAULTS = TrainSettings(epochs=30, batch_size=32, learning_rate=8e-4, warmup=0.02, schedule="cosine")
"""As in the paper, whose encoder is deberta-v3-xsmall; a pre-trained MiniLM wants about a tenth of the rate."""
PART = 2048
"""Tokens that are read at once outside of training."""
_KEPT = ("candidates", "layers", "max_length", "freeze_tokens", "alone", "cosine")


class ToolRefiner:
    """Reranks the candidates of a first stage."""

    def __init__(
        self,
        base: str | Path,
        *,
        candidates: int = CANDIDATES,
        layers: int | None = None,
        max_length: int = 128,
        freeze_tokens: bool = False,
        alone: int = 0,
        cosine: bool = False,
        training: TrainSettings = DEFAULTS,
    ) -> None:
        """Set what to train and how; nothing is loaded before `fit`.

        Args:
            base: Folder or Hub name of a small encoder.
            candidates: Tools of the first stage that are looked at.
            layers: Take only so many of the encoder's first layers; None takes all.
            max_length: Tokens of a query that are read.
            freeze_tokens: Leave the token embeddings as they are: most of a small encoder's weights, and the slower
                half of a step.
            alone: Layers that read the query before candidates join it; they and the token embeddings stay as they
                are, so that they are computed once.
            cosine: Start from the cosine of query and tool, whose vectors must be of this encoder.
            training: Rates, epochs, seed.
        """
        self.base, self.candidates, self.layers = base, candidates, layers
        self.max_length, self.freeze_tokens, self.training = max_length, freeze_tokens, training
        self.alone, self.cosine = alone, cosine
        self.classes_: tuple[str, ...] = ()
        self.losses_: list[float] = []
        self._model: RefinerModel | None = None

    def fit(
        self,
        queries: Sequence[str],
        tools: Sequence[Iterable[str]],
        *,
        first: npt.NDArray[np.float32],
        vectors: npt.NDArray[np.float32],
        classes: Sequence[str],
    ) -> ToolRefiner:
        """Train on the candidates of a first stage.

        Args:
            queries: What was asked.
            tools: The tools that each needs.
            first: Scores of the first stage [n, k]. They should come from a stage that was not trained on these very
                queries, or the refiner sees easier candidates than it will be given.
            vectors: Vectors of the tools [k, d].
            classes: Names of the tools, in the order of the columns.

        Raises:
            DataError: The sizes don't match.
        """
        self.classes_ = tuple(classes)
        if not len(queries) == len(tools) == len(first) or not len(vectors) == len(classes) == first.shape[1]:
            raise DataError(
                f"{len(queries)} queries, {len(tools)} rows of tools, first-stage scores {first.shape} and "
                f"{len(vectors)} vectors of {len(classes)} tools don't fit together"
            )
        torch.manual_seed(self.training.seed)
        self._model = self._make(vectors.shape[1])
        self._vectors = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
        place = {name: i for i, name in enumerate(self.classes_)}
        needed = [[place[name] for name in names if name in place] for names in tools]
        chosen = candidates_of(first, self.candidates)
        encoded = self._encode(queries)
        targets = [np.isin(row, want).astype(np.float32) for row, want in zip(chosen, needed, strict=True)]
        # A query none of whose tools is a candidate teaches nothing about telling candidates apart.
        kept = [i for i, want in enumerate(targets) if want.any()]
        if not kept:
            raise DataError("the first stage finds no needed tool for any query, so there is nothing to refine")
        encoded = [encoded[i] for i in kept]
        read = self._read(encoded) if self.alone else encoded
        rows = [(words, chosen[i], targets[i]) for words, i in zip(read, kept, strict=True)]
        self.losses_ = descend(
            self._model,
            rows,
            self._loss,
            settings=self.training,
            title="training the refiner",
            lengths=[len(words) for words, _, _ in rows],
        )
        return self

    def refine(self, queries: Sequence[str], first: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of the candidates of a first stage [n, k]; minus infinity for all other tools.

        Args:
            queries: What was asked.
            first: Scores of the first stage [n, k].
        """
        if self._model is None:
            raise ConfigError("this refiner was not trained; call fit first")
        found = np.full(first.shape, -np.inf, np.float32)
        chosen = candidates_of(first, self.candidates)
        encoded = self._encode(queries)
        with torch.inference_mode():
            for part in cut(range(len(queries)), [len(ids) for ids in encoded], tokens=PART):
                logits = self._logits([encoded[i] for i in part], chosen[part])
                found[np.array(part)[:, None], chosen[part]] = logits.numpy()
        return found

    def save(self, folder: str | Path) -> None:
        """Write what was trained, tool vectors and settings, as safetensors and JSON; the base is named, not copied."""
        if self._model is None:
            raise ConfigError("this refiner was not trained; call fit first")
        settings = {name: getattr(self, name) for name in _KEPT}
        tensors = {**trainable(self._model), "vectors": self._vectors}
        write_model(folder, "refiner", tensors, self.training, base=str(self.base), classes=self.classes_, **settings)

    @classmethod
    def load(cls, folder: str | Path) -> ToolRefiner:
        """Read what `save` wrote.

        Raises:
            ConfigError: The folder holds no refiner, or its base is gone.
        """
        tensors, training, data = read_model(folder, "refiner")
        made = cls(data["base"], **{name: data[name] for name in _KEPT}, training=training)
        made.classes_ = tuple(data["classes"])
        made._vectors = tensors.pop("vectors")
        made._model = made._make(made._vectors.shape[1])
        copy_into(made._model, tensors)
        made._model.eval()
        return made

    def _make(self, tool_width: int) -> RefinerModel:
        backbone, self._tokenizer = load_backbone(self.base)
        if self.layers is not None:
            backbone.model.encoder.layer = backbone.model.encoder.layer[: self.layers]
        model = RefinerModel(backbone.model, tool_width=tool_width, alone=self.alone, cosine=self.cosine)
        if self.freeze_tokens:
            backbone.embedding.requires_grad_(False)
        model.eval()
        return model

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(self._tokenizer, texts, max_length=self.max_length)[0]

    def _read(self, encoded: Sequence[Sequence[int]]) -> list[Tensor]:
        """What the layers that read queries alone make of each [length, width], in half precision: there are many."""
        assert self._model is not None
        found: list[Tensor] = [torch.empty(0)] * len(encoded)
        with torch.no_grad(), Progress("reading queries", total=len(encoded), unit="queries") as bar:
            for part in cut(range(len(encoded)), [len(ids) for ids in encoded], tokens=PART):
                batch = collate([Example(encoded[i]) for i in part], pad=pad_id(self._tokenizer))
                for i, row in zip(part, self._model.read(batch.ids, batch.mask), strict=True):
                    found[i] = row[: len(encoded[i])].half()
                bar.advance(len(part))
        return found

    def _logits(self, read: Sequence[Any], chosen: npt.NDArray[np.intp]) -> Tensor:
        """Logits for token ids, or for what `_read` gave."""
        assert self._model is not None
        tools = self._vectors[torch.from_numpy(chosen)]
        offered = torch.ones(chosen.shape)
        if isinstance(read[0], Tensor):
            words = pad_sequence([row.float() for row in read], batch_first=True)
            mask = pad_sequence([torch.ones(len(row)) for row in read], batch_first=True)
            return self._model.judge(words, mask, tools, offered)
        batch = collate([Example(ids) for ids in read], pad=pad_id(self._tokenizer))
        found: Tensor = self._model(batch.ids, batch.mask, tools, offered)
        return found

    def _loss(self, rows: list[Any]) -> Tensor:
        logits = self._logits([words for words, _, _ in rows], np.stack([row for _, row, _ in rows]))
        wanted = torch.from_numpy(np.stack([want for _, _, want in rows]))
        return functional.binary_cross_entropy_with_logits(logits, wanted)


def candidates_of(first: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Columns of the highest scores of each row [n, count], in the order of the columns: the rank does not show."""
    count = min(count, first.shape[1])
    best = np.argsort(-first, axis=1, kind="stable")[:, :count]
    return np.sort(best, axis=1)
