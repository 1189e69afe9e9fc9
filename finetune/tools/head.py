"""The head and the losses of MLC: a logit for each tool from the cosine of query and tool."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

LossName = Literal["bce", "softmax"]
BIAS = -5.0
"""Logit of a tool that is at right angles to the query, at the start: most tools are not needed."""


def bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy summed over the tools, mean over the queries; [n, k] both."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1).mean()


def softmax_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Minus the log-softmax, summed over the needed tools, mean over the queries; [n, k] both.

    What `DebertaV2ForSequenceClassification` computes for integer multi-hot labels, and so what the
    reference code trains with. With several tools it can't reach zero.
    """
    return -(functional.log_softmax(logits, dim=1) * targets).sum(dim=1).mean()


LOSSES = {"bce": bce_loss, "softmax": softmax_loss}


class CosineHead(nn.Module):
    """Logits of tools: scale times the cosine of query and tool, plus a bias for each tool."""

    def __init__(self, vectors: Tensor, *, scale: float = 20.0, bias: float = BIAS) -> None:
        """Start from tool vectors [k, d]."""
        super().__init__()
        self.vectors = nn.Parameter(vectors.clone())
        self.bias = nn.Parameter(torch.full((len(vectors),), float(bias)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [n, d] to logits [n, k]."""
        cosines = functional.normalize(hidden, dim=-1) @ functional.normalize(self.vectors, dim=-1).T
        return self.scale * cosines + self.bias
