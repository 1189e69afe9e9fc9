"""A backbone, a pooling and a head as one module: batches in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import Backbone
from labelspace.finetune.batches import Batch, Example, collate, cut, lengths_of
from labelspace.finetune.pooling import Pooling, check_pooling, pool, pools_logits


@dataclass(frozen=True, slots=True)
class TokenDropout:
    """Hides some tokens behind the mask token, so that a model does not lean on a single word of a text."""

    share: float
    mask: int
    """Id of the mask token."""
    spared: tuple[int, ...] = ()
    """Ids that are never hidden, such as those that begin and end a text."""

    @classmethod
    def of(cls, share: float, tokenizer: Any, base: str | Path) -> TokenDropout | None:
        """Hide a share of what a tokenizer makes of texts, but what begins and ends them; None for a share of 0.

        Raises:
            ConfigError: The tokenizer has no mask token.
        """
        if not share:
            return None
        mask = tokenizer.mask_token_id
        if mask is None:
            raise ConfigError(f"{base} has no mask token to hide others behind; leave out token_dropout")
        return cls(share, mask, tuple({*tokenizer.all_special_ids} - {mask}))

    def hide(self, ids: Tensor) -> Tensor:
        """Token ids [n, length] with some of them replaced."""
        hidden = (torch.rand(ids.shape) < self.share).to(ids.device)
        for spared in self.spared:
            hidden &= ids != spared
        return ids.masked_fill(hidden, self.mask)


class LabelModel(nn.Module):
    """Logits of texts, or of tokens where a batch names some."""

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        pooling: Pooling = "last",
        dropout: float = 0.0,
        prompt: Tensor | None = None,
        legacy_pad: int | None = None,
        token_dropout: TokenDropout | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: The stack.
            head: Maps [..., d] to [..., k].
            pooling: How the vectors of a text become one; does not matter where tokens are labelled.
            dropout: Before the head, while training.
            prompt: [p, d] vectors that stand before every text and are trained.
            legacy_pad: With a backbone of `legacy_padding`, the id by which the reference code finds
                the last token of a text: the one before the first such id, wherever that is.
            token_dropout: Hides tokens while training.
        """
        super().__init__()
        check_pooling(pooling)
        self.backbone, self.head, self.pooling = backbone, head, pooling
        self.dropout = nn.Dropout(dropout)
        self.prompt = None if prompt is None else nn.Parameter(prompt)
        self.legacy_pad, self.token_dropout = legacy_pad, token_dropout
        # Kinds of layers that FSDP spreads as one each, where accelerate is not told others.
        present = {type(module).__name__ for module in backbone.modules()}
        self._no_split_modules = [
            name for name in getattr(backbone.model, "_no_split_modules", None) or () if name in present
        ]

    def forward(self, batch: Batch) -> Tensor:
        """Logits: [n, k] for texts, [words, k] for tokens."""
        ids = batch.ids
        if self.training and self.token_dropout is not None:
            ids = self.token_dropout.hide(ids)
        hidden = self.backbone(ids, batch.mask, self.prompt)
        before = hidden.shape[1] - batch.ids.shape[1]
        # The head computes in its own precision, which is that of its weights, whatever the stack runs in.
        weight = next(self.head.parameters(), hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = self.dropout(hidden.to(weight.dtype))
            if batch.words is not None:
                rows, positions = batch.words
                return self.head(hidden[rows, positions + before])
            mask = torch.cat([batch.mask.new_ones(batch.mask.shape[0], before), batch.mask], dim=1)
            if self.backbone.legacy_padding:
                return self._pool_as_the_reference(hidden, batch.ids)
            if pools_logits(self.pooling):
                return pool(self.head(hidden), mask, self.pooling)
            return self.head(pool(hidden, mask, self.pooling))

    def _pool_as_the_reference(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Pool over padding too, and find the last token by the padding id (4AI/LS-LLaMA)."""
        logits = self.head(hidden)
        if self.pooling == "last" and self.legacy_pad is not None:
            before_padding = (ids == self.legacy_pad).long().argmax(dim=1) - 1
            return logits[torch.arange(len(ids), device=ids.device), before_padding]
        return pool(logits, torch.ones_like(ids), self.pooling)


def logits_of(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    pad: int = 0,
    tokens: int = 16384,
    precision: str = "no",
    advance: Callable[[int], Any] | None = None,
) -> list[npt.NDArray[np.float32]]:
    """Run a model without training it; texts of one length go together, the order stays.

    Args:
        model: As `train` takes it.
        examples: Targets are not looked at.
        pad: Id to pad with.
        tokens: At most so many at once, padding counted.
        precision: `bf16` or `fp16` for mixed precision.
        advance: Told how many examples were done.

    Returns:
        One array for each example: [k], or [words, k] where it has words.
    """
    device = next(model.parameters()).device
    found: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(examples)
    was_training = model.training
    model.eval()
    mixed = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.inference_mode(), torch.autocast(device.type, dtype=mixed, enabled=precision != "no"):
        waiting: list[tuple[list[int], Tensor]] = []
        for part in cut(range(len(examples)), [int(n) for n in lengths_of(examples)], tokens=tokens):
            batch = collate([Example(examples[i].ids, words=examples[i].words) for i in part], pad=pad)
            waiting.append((part, model(batch.to(device)).float()))
            if advance is not None:
                advance(len(part))
        for part, logits in waiting:  # fetched only now, so that the device never waits
            rows = logits.cpu().numpy()
            if examples[part[0]].words is None:
                for i, row in zip(part, rows, strict=True):
                    found[i] = row
            else:
                ends = np.cumsum([examples[i].units for i in part])
                for i, block in zip(part, np.split(rows, ends[:-1]), strict=True):
                    found[i] = block
    model.train(was_training)
    return found
