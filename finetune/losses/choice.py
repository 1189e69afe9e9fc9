"""A loss by its name, with what it needs to know of the training set filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from labelspace.errors import ConfigError
from labelspace.finetune.losses.basic import (
    asymmetric,
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    distillation,
    focal,
    positive_weight,
)
from labelspace.finetune.losses.longtail import Comic, head_tail_factor, logit_adjusted, multi_focal
from labelspace.finetune.losses.noise import EarlyLearning, symmetric_cross_entropy
from labelspace.finetune.losses.partial import candidates, positive_unlabelled

SingleLoss = Literal[
    "cross-entropy", "balanced", "smoothed", "focal", "symmetric", "early-learning", "logit-adjusted", "distillation",
    "candidates",
]  # fmt: skip
"""For one label a text."""
MultiLoss = Literal[
    "bce", "pos-weight", "asymmetric", "focal", "positive-unlabelled", "multi-focal", "comic", "distillation"
]
"""For any number of labels a text."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [n, k] and targets to the mean loss."""


def loss_of(name: str, counts: Sequence[int], *, multi_label: bool, warmup: int = 0) -> Loss:
    """Make a loss, with the defaults of its paper.

    Targets of early-learning carry the number of their row besides that of the label: see `EarlyLearning`.

    Args:
        name: Of `MultiLoss` if multi-label, else of `SingleLoss`.
        counts: [k] training rows of each label.
        multi_label: Whether a text can have several labels.
        warmup: Rows in which comic corrects nothing: those of one epoch.

    Raises:
        ConfigError: There is no such loss for this kind of labels.
    """
    known = get_args(MultiLoss if multi_label else SingleLoss)
    if name not in known:
        kind = "several labels" if multi_label else "one label"
        raise ConfigError(f"there is no loss {name!r} for {kind} a text; there are: {', '.join(known)}")
    if multi_label:
        several: dict[str, Callable[[], Loss]] = {
            "bce": lambda: binary_cross_entropy,
            "pos-weight": lambda: partial(binary_cross_entropy, pos_weight=positive_weight(counts)),
            "asymmetric": lambda: asymmetric,
            "focal": lambda: focal,
            "positive-unlabelled": lambda: positive_unlabelled,
            "multi-focal": lambda: partial(multi_focal, head_tail=head_tail_factor(counts)),
            "comic": lambda: Comic(counts, warmup=warmup),
            "distillation": lambda: partial(distillation, independent=True),
        }
        return several[name]()
    one: dict[str, Callable[[], Loss]] = {
        "cross-entropy": lambda: cross_entropy,
        "balanced": lambda: partial(cross_entropy, class_weight=_row_weights(counts), by_rows=True),
        "smoothed": lambda: partial(cross_entropy, smoothing=0.1),
        "focal": lambda: focal,
        "symmetric": lambda: symmetric_cross_entropy,
        "early-learning": lambda: EarlyLearning(sum(counts), len(counts)),
        "logit-adjusted": lambda: partial(logit_adjusted, counts=torch.as_tensor(counts)),
        "distillation": lambda: distillation,
        "candidates": lambda: candidates,
    }
    return one[name]()


def _row_weights(counts: Sequence[int]) -> Tensor:
    """Weight of each label [k] for a balanced loss, with mean 1 over the rows."""
    weights, rows = class_weights(counts), torch.as_tensor(counts, dtype=torch.float32)
    return weights * rows.sum() / (weights * rows).sum().clamp(min=1e-12)
