"""MLC: an encoder fine-tuned to say of each tool whether a query needs it (Tool2Vec, arXiv 2409.02141, section 3.2).

Where we differ from the reference code: the head compares directions (cosine) and starts at the Tool2Vec
vectors, so that the first step already ranks well; the mean of the token vectors is pooled, as the encoders
that we start from were trained; padding is left out; dropout is off while evaluating. The loss is binary
cross-entropy summed over the tools (what the paper says); `softmax` is what the reference code computes
through a fallback of transformers: minus the log-softmax summed over the needed tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import load_backbone, pad_id
from labelspace.finetune.batches import Example
from labelspace.finetune.checkpoint import trainable
from labelspace.finetune.label_model import LabelModel, TokenDropout, logits_of
from labelspace.finetune.tools.files import read_model, version_of, write_model
from labelspace.finetune.tools.head import LOSSES, CosineHead, LossName
from labelspace.finetune.train_settings import History, TrainSettings
from labelspace.finetune.training import train

DEFAULTS = TrainSettings(
    epochs=6, batch_size=32, learning_rate=1e-4, head_learning_rate=1e-3, warmup=0.06, schedule="linear"
)


class ToolMLC:
    """A fine-tuned encoder that scores every tool for a query."""

    def __init__(
        self,
        base: str | Path,
        *,
        loss: LossName = "bce",
        max_length: int = 128,
        freeze_tokens: bool = True,
        token_dropout: float = 0.0,
        training: TrainSettings = DEFAULTS,
    ) -> None:
        """Set what to train and how; nothing is loaded before `fit`.

        Args:
            base: Folder or Hub name of an encoder whose token vectors are averaged (sentence-transformers).
            loss: `bce`, or `softmax` as in the reference code.
            max_length: Tokens of a query that are read.
            freeze_tokens: Leave the token embeddings as they are: half of a small encoder's weights, which
                little usage can't teach.
            token_dropout: Share of a query's tokens that are hidden behind the mask token while training.
            training: Rates, epochs, seed.
        """
        if loss not in LOSSES:
            raise ConfigError(f"there is no loss {loss!r}; there are: {', '.join(LOSSES)}")
        self.base, self.max_length, self.freeze_tokens, self.training = base, max_length, freeze_tokens, training
        self.token_dropout = token_dropout
        self.loss: LossName = loss
        self.classes_: tuple[str, ...] = ()
        self.history_ = History()
        self._model: LabelModel | None = None

    def fit(
        self,
        queries: Sequence[str],
        tools: Sequence[Iterable[str]],
        *,
        classes: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        folder: str | Path | None = None,
    ) -> ToolMLC:
        """Train.

        Args:
            queries: What was asked; give each as often, and joined with others, as it is to be seen.
            tools: The tools that each needs.
            classes: All tools; None takes those that occur.
            texts: Descriptions, one a class: where the head starts for a tool that no query has.
            folder: Where the state of the run is kept, so that the same call goes on after a stop.

        Raises:
            DataError: There is nothing to learn, or a tool that is not in `classes`.
        """
        needed = [tuple(names) for names in tools]
        if not queries or len(queries) != len(needed):
            raise DataError(f"there are {len(queries)} queries but tools for {len(needed)}")
        self.classes_ = tuple(classes) if classes is not None else tuple(sorted({n for row in needed for n in row}))
        place = {name: i for i, name in enumerate(self.classes_)}
        if strange := next((name for row in needed for name in row if name not in place), None):
            raise DataError(f"{strange!r} is not among the {len(self.classes_)} tools")
        torch.manual_seed(self.training.seed)
        backbone, self._tokenizer = load_backbone(self.base)
        if self.freeze_tokens:
            backbone.embedding.requires_grad_(False)
        hidden = TokenDropout.of(self.token_dropout, self._tokenizer, self.base)
        self._model = LabelModel(backbone, nn.Identity(), pooling="mean", token_dropout=hidden)
        if self.training.device == "auto" and torch.cuda.is_available():
            self._model.to("cuda")
        encoded = self._encode(queries)
        rows = [[place[name] for name in row] for row in needed]
        start = self._start(encoded, rows, None if texts is None else self._encode(texts))
        self._model.head = CosineHead(start)
        examples = [Example(ids, _multi_hot(row, len(place))) for ids, row in zip(encoded, rows, strict=True)]
        self.history_ = train(
            self._model,
            examples,
            loss=LOSSES[self.loss],
            settings=self.training,
            pad=pad_id(self._tokenizer),
            folder=None if folder is None else Path(folder),
            title="fine-tuning",
        )
        return self

    def scores(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Log-odds that a query needs a tool [n, k], columns as in `classes_`."""
        return self.scores_of(self.embed(queries))

    def scores_of(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Log-odds from vectors that `embed` gave."""
        head = self._trained.head
        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(vectors)).to(head.bias.device)
            return np.asarray(head(rows).float().cpu().numpy(), dtype=np.float32)

    @property
    def name(self) -> str:
        """What it is called as an embedder."""
        return f"tuned:{self.base}"

    @cached_property
    def version(self) -> str:
        """Hash of the trained weights, so that vectors can be kept on disk."""
        return f"tuned:{version_of(self.base, self._trained)}"

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the tuned encoder [n, d], rows of length 1: queries that need the same tools lie together."""
        # A tower of its own, not the model with its head taken off: other threads may be scoring.
        tower = LabelModel(self._trained.backbone, nn.Identity(), pooling="mean").eval()
        return np.asarray(self._pooled(self._encode(texts), tower).numpy(), dtype=np.float32)

    @property
    def _trained(self) -> LabelModel:
        if self._model is None:
            raise ConfigError("this classifier of tools was not trained; call fit first")
        return self._model

    def save(self, folder: str | Path) -> None:
        """Write what was trained, as safetensors and JSON; the base is named, not copied."""
        write_model(
            folder,
            "mlc",
            trainable(self._trained),
            self.training,
            base=str(self.base),
            loss=self.loss,
            max_length=self.max_length,
            freeze_tokens=self.freeze_tokens,
            token_dropout=self.token_dropout,
            classes=self.classes_,
        )

    @classmethod
    def load(cls, folder: str | Path) -> ToolMLC:
        """Read what `save` wrote; the base must be where it was.

        Raises:
            ConfigError: The folder holds no such classifier, or its base is gone.
        """
        tensors, training, data = read_model(folder, "mlc")
        made = cls(
            data["base"],
            loss=data["loss"],
            max_length=data["max_length"],
            freeze_tokens=data["freeze_tokens"],
            token_dropout=data.get("token_dropout", 0.0),
            training=training,
        )
        made.classes_ = tuple(data["classes"])
        backbone, made._tokenizer = load_backbone(made.base)
        made._model = LabelModel(backbone, CosineHead(tensors["head.vectors"]), pooling="mean")
        if made.freeze_tokens:
            backbone.embedding.requires_grad_(False)
        made._model.load_state_dict(tensors, strict=False)
        made._model.eval()
        return made

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(self._tokenizer, texts, max_length=self.max_length)[0]

    def _start(
        self, encoded: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], texts: Sequence[Sequence[int]] | None
    ) -> Tensor:
        """Tool2Vec of the untrained encoder [k, d], from the queries with the fewest tools for each tool."""
        assert self._model is not None
        fewest = [min((len(row) for row in rows if i in row), default=0) for i in range(len(self.classes_))]
        taken = list({tuple(ids): row for ids, row in zip(encoded, rows, strict=True)}.items())
        taken = [(ids, row) for ids, row in taken if any(len(row) == fewest[i] for i in row)]
        vectors = self._pooled([ids for ids, _ in taken])
        sums = torch.zeros(len(self.classes_), vectors.shape[1])
        for (_, row), vector in zip(taken, vectors, strict=True):
            for i in row:
                if len(row) == fewest[i]:
                    sums[i] += vector
        lacking = [i for i, least in enumerate(fewest) if not least]
        if lacking and texts is not None:
            sums[lacking] = self._pooled([texts[i] for i in lacking])
        elif lacking:
            sums[lacking] = torch.randn(len(lacking), vectors.shape[1])
        return functional.normalize(sums, dim=-1)

    def _pooled(self, encoded: Sequence[Sequence[int]], tower: LabelModel | None = None) -> Tensor:
        model = self._trained if tower is None else tower
        found = logits_of(model, [Example(ids) for ids in encoded], pad=pad_id(self._tokenizer))
        width = model.backbone.width
        return functional.normalize(torch.from_numpy(np.stack(found) if found else np.zeros((0, width))), dim=-1)


def _multi_hot(row: Sequence[int], width: int) -> npt.NDArray[np.bool_]:
    hot = np.zeros(width, dtype=np.bool_)
    hot[list(row)] = True
    return hot
