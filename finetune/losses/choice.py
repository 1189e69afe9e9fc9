"""A loss by its name, with what it needs to know of the training set filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

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
OPTIONS: dict[str, tuple[str, ...]] = {
    "cross-entropy": (),
    "balanced": ("beta",),
    "smoothed": ("smoothing",),
    "focal": ("gamma",),
    "symmetric": ("alpha", "beta", "log_zero"),
    "early-learning": ("weight", "momentum"),
    "logit-adjusted": ("tau",),
    "distillation": ("temperature", "hard"),
    "candidates": (),
    "bce": ("smoothing",),
    "pos-weight": ("smoothing",),
    "asymmetric": ("gamma_positive", "gamma_negative", "margin"),
    "positive-unlabelled": ("alpha", "gamma", "temperature"),
    "multi-focal": ("gamma_positive", "gamma_negative", "weight_positive", "weight_negative"),
    "comic": ("tau", "gamma_positive", "gamma_negative"),
}
"""What can be set of each loss; the functions say what it means. `hard` is for one label a text."""
HARD = ("balanced", "focal", "symmetric", "early-learning")
"""Losses of one label a text that take no probabilities of labels."""
SOFT = ("distillation", "candidates")
"""Those that take nothing else."""
Loss = Callable[..., Tensor]
"""Logits [n, k], targets and, if they differ, `weights` of the rows [n] to the mean loss."""


def loss_of(
    name: str,
    counts: Sequence[int],
    *,
    multi_label: bool,
    warmup: int = 0,
    options: Mapping[str, float] | None = None,
) -> Loss:
    """Make a loss, with the defaults of its paper.

    Targets of early-learning carry the number of their row besides that of the label: see `EarlyLearning`.

    Args:
        name: Of `MultiLoss` if multi-label, else of `SingleLoss`.
        counts: [k] training rows of each label.
        multi_label: Whether a text can have several labels.
        warmup: Rows in which comic corrects nothing: those of one epoch.
        options: Arguments of the loss, of those in `OPTIONS`.

    Raises:
        ConfigError: There is no such loss for this kind of labels, or it has no such option.
    """
    known = get_args(MultiLoss if multi_label else SingleLoss)
    if name not in known:
        kind = "several labels" if multi_label else "one label"
        raise ConfigError(f"there is no loss {name!r} for {kind} a text; there are: {', '.join(known)}")
    more: dict[str, Any] = dict(options or {})
    there = [option for option in OPTIONS[name] if not (multi_label and option == "hard")]
    if wrong := [option for option in more if option not in there]:
        raise ConfigError(f"loss={name} has no option {wrong[0]!r}; it has: {', '.join(there) or 'none'}")
    if multi_label:
        several: dict[str, Callable[[], Loss]] = {
            "bce": lambda: partial(binary_cross_entropy, **more),
            "pos-weight": lambda: partial(binary_cross_entropy, pos_weight=positive_weight(counts), **more),
            "asymmetric": lambda: partial(asymmetric, **more),
            "focal": lambda: partial(focal, **more),
            "positive-unlabelled": lambda: partial(positive_unlabelled, **more),
            "multi-focal": lambda: partial(multi_focal, head_tail=head_tail_factor(counts), **more),
            "comic": lambda: Comic(counts, warmup=warmup, **more),
            "distillation": lambda: partial(distillation, independent=True, **more),
        }
        return several[name]()
    one: dict[str, Callable[[], Loss]] = {
        "cross-entropy": lambda: cross_entropy,
        "balanced": lambda: partial(cross_entropy, class_weight=_row_weights(counts, **more), by_rows=True),
        "smoothed": lambda: partial(cross_entropy, **{"smoothing": 0.1, **more}),
        "focal": lambda: partial(focal, **more),
        "symmetric": lambda: partial(symmetric_cross_entropy, **more),
        "early-learning": lambda: EarlyLearning(sum(counts), len(counts), **more),
        "logit-adjusted": lambda: partial(logit_adjusted, counts=torch.as_tensor(counts), **more),
        "distillation": lambda: partial(distillation, **more),
        "candidates": lambda: candidates,
    }
    return one[name]()


def check_targets(name: str, *, soft: bool) -> None:
    """Refuse a loss that does not take the targets there are, with one label a text.

    Args:
        name: Of a loss.
        soft: Whether targets are probabilities of labels, and not labels.

    Raises:
        ConfigError: It does not.
    """
    if soft and name in HARD:
        others = ", ".join(one for one in get_args(SingleLoss) if one not in HARD)
        raise ConfigError(f"loss={name} learns from labels, not from probabilities of them; with these take: {others}")
    if not soft and name in SOFT:
        raise ConfigError(
            f"loss={name} learns from probabilities of labels, and every text has just a label; take cross-entropy, or "
            "give probabilities (--soft)"
        )


def _row_weights(counts: Sequence[int], *, beta: float | None = None) -> Tensor:
    """Weight of each label [k] for a balanced loss, with mean 1 over the rows."""
    weights, rows = class_weights(counts, beta=beta), torch.as_tensor(counts, dtype=torch.float32)
    return weights * rows.sum() / (weights * rows).sum().clamp(min=1e-12)
