"""ToolRefiner: the query's tokens and the candidates' vectors through one small encoder (arXiv 2409.02141, 3.3).

The first stage gives N candidates; their vectors (Tool2Vec) are projected to the encoder's width, put behind the
query's token embeddings, and run through the encoder together, so that every candidate sees the query and
all others. A linear layer then scores each. Binary cross-entropy over the candidates.

Where we differ from the reference code, which never leaves evaluation mode and hands candidates over in the
order of their first-stage rank, which relative positions then give away: dropout works while training, and
candidates come in the order of the tool set. Encoders with absolute positions (BERT, MiniLM) give candidates no
position at all, so that their order has no effect whatever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import load_backbone, pad_id
from labelspace.finetune.batches import Example, collate, cut
from labelspace.finetune.tools.files import read_model, write_model
from labelspace.finetune.tools.steps import descend
from labelspace.finetune.train_settings import TrainSettings

CANDIDATES = 64
DEFAULTS = TrainSettings(epochs=30, batch_size=32, learning_rate=8e-4, warmup=0.02, schedule="cosine")
"""As in the paper, whose encoder is deberta-v3-xsmall; a pre-trained MiniLM wants about a tenth of the rate."""


class RefinerModel(nn.Module):
    """An encoder that scores candidate vectors for a query."""

    def __init__(self, encoder: Any, *, tool_width: int) -> None:
        """Put projection and scorer around an encoder.

        Args:
            encoder: A BERT-like model of transformers, with `embeddings` and `encoder`.
            tool_width: Size of a tool's vector.

        Raises:
            ConfigError: The model is built in another way.
        """
        super().__init__()
        if not hasattr(encoder, "embeddings") or not hasattr(encoder, "encoder"):
            raise ConfigError(f"a {encoder.config.model_type!r} model can't take tool vectors; give a BERT or DeBERTa")
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.project = nn.Linear(tool_width, width)
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.project.weight, std=0.2)
        nn.init.zeros_(self.project.bias)

    def forward(self, ids: Tensor, mask: Tensor, tools: Tensor, offered: Tensor) -> Tensor:
        """Score candidates.

        Args:
            ids: [n, length] tokens of the queries, padded on the right.
            mask: [n, length], 1 at real tokens.
            tools: [n, N, d] vectors of the candidates.
            offered: [n, N], 1 at real candidates.

        Returns:
            [n, N] logits; what stands at places without a candidate has no meaning.
        """
        if self.encoder.config.model_type.startswith("deberta"):
            words = self.encoder.embeddings(input_ids=ids, mask=mask)
        else:
            words = self.encoder.embeddings(input_ids=ids)
        together = torch.cat([words, self.project(tools)], dim=1)
        seen = torch.cat([mask, offered.to(mask.dtype)], dim=1)
        if not self.encoder.config.model_type.startswith("deberta"):
            seen = torch.zeros_like(seen, dtype=together.dtype).masked_fill(seen == 0, torch.finfo(together.dtype).min)
            seen = seen[:, None, None, :]
        hidden = self.encoder.encoder(together, attention_mask=seen)[0]
        found: Tensor = self.score(hidden[:, ids.shape[1] :]).squeeze(-1)
        return found


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
            training: Rates, epochs, seed.
        """
        self.base, self.candidates, self.layers = base, candidates, layers
        self.max_length, self.freeze_tokens, self.training = max_length, freeze_tokens, training
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
        rows = [(ids, row, want) for ids, row, want in zip(encoded, chosen, targets, strict=True) if want.any()]
        if not rows:
            raise DataError("the first stage finds no needed tool for any query, so there is nothing to refine")
        self.losses_ = descend(
            self._model,
            rows,
            self._loss,
            settings=self.training,
            title="training the refiner",
            lengths=[len(ids) for ids, _, _ in rows],
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
            for part in cut(range(len(queries)), [len(ids) for ids in encoded], tokens=2048):
                logits = self._logits([encoded[i] for i in part], chosen[part]).numpy()
                found[np.array(part)[:, None], chosen[part]] = logits
        return found

    def save(self, folder: str | Path) -> None:
        """Write weights, tool vectors and settings, as safetensors and JSON."""
        if self._model is None:
            raise ConfigError("this refiner was not trained; call fit first")
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        write_model(
            folder,
            "refiner",
            {**tensors, "vectors": self._vectors},
            self.training,
            base=str(self.base),
            candidates=self.candidates,
            layers=self.layers,
            max_length=self.max_length,
            freeze_tokens=self.freeze_tokens,
            classes=self.classes_,
        )

    @classmethod
    def load(cls, folder: str | Path) -> ToolRefiner:
        """Read what `save` wrote.

        Raises:
            ConfigError: The folder holds no refiner, or its base is gone.
        """
        tensors, training, data = read_model(folder, "refiner")
        settings = {name: data[name] for name in ("candidates", "layers", "max_length", "freeze_tokens")}
        made = cls(data["base"], **settings, training=training)
        made.classes_ = tuple(data["classes"])
        made._vectors = tensors.pop("vectors")
        made._model = made._make(made._vectors.shape[1])
        made._model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
        made._model.eval()
        return made

    def _make(self, tool_width: int) -> RefinerModel:
        backbone, self._tokenizer = load_backbone(self.base)
        model = RefinerModel(backbone.model, tool_width=tool_width)
        if self.freeze_tokens:
            backbone.embedding.requires_grad_(False)
        if self.layers is not None:
            model.encoder.encoder.layer = model.encoder.encoder.layer[: self.layers]
        return model

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(self._tokenizer, texts, max_length=self.max_length)[0]

    def _logits(self, encoded: Sequence[Sequence[int]], chosen: npt.NDArray[np.intp]) -> Tensor:
        assert self._model is not None
        batch = collate([Example(ids) for ids in encoded], pad=pad_id(self._tokenizer))
        tools = self._vectors[torch.from_numpy(chosen)]
        found: Tensor = self._model(batch.ids, batch.mask, tools, torch.ones(chosen.shape))
        return found

    def _loss(self, rows: list[Any]) -> Tensor:
        logits = self._logits([ids for ids, _, _ in rows], np.stack([row for _, row, _ in rows]))
        wanted = torch.from_numpy(np.stack([want for _, _, want in rows]))
        return functional.binary_cross_entropy_with_logits(logits.float(), wanted)


def candidates_of(first: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Columns of the highest scores of each row [n, count], in the order of the columns: the rank does not show."""
    count = min(count, first.shape[1])
    best = np.argsort(-first, axis=1, kind="stable")[:, :count]
    return np.sort(best, axis=1)
