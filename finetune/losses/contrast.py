"""Losses over vectors, not logits: texts of one label towards each other, and away from all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from labelspace.finetune.losses.basic import row_mean, weighted_mean, wide


def cosine_contrast(vectors: Tensor, targets: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Squares of what cosines lack: to 1 where two texts share a label, to 0 where they do not.

    The loss of SetFit's pairs (Reimers and Gurevych, 2019, arXiv 1908.10084; Tunstall et al., 2022, arXiv 2209.11055),
    over all pairs of the texts instead of sampled ones. Pairs of both kinds weigh one half each, as many of each being
    sampled there. It is 0 where labels stand at right angles.

    Args:
        vectors: [n, d]; their lengths have no effect.
        targets: [n] label numbers; or [n, k], where texts that share a label are alike.
        weights: [n] of the texts; a pair has the product of both.

    Returns:
        The mean over the pairs that are alike, plus that over the others, halved; a kind without pairs adds 0.
    """
    unit = F.normalize(wide(vectors), dim=1)
    alike = _alike(targets)
    apart = (unit @ unit.T - alike.to(unit.dtype)).square()
    pairs = torch.ones_like(apart).triu(diagonal=1)
    if weights is not None:
        pairs = pairs * torch.outer(weights, weights).to(pairs)
    return (weighted_mean(apart, pairs * alike) + weighted_mean(apart, pairs * ~alike)) / 2


def supervised_contrastive(
    vectors: Tensor, targets: Tensor, *, temperature: float = 0.07, weights: Tensor | None = None
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, arXiv 2004.11362, eq. 2), each text being an anchor in turn.

    Of an anchor i with the positives P, out of all other texts A: the mean over p in P of
    -log(exp(cos(i, p) / temperature) / sum over a in A of exp(cos(i, a) / temperature)). It can't fall below the mean
    of log |P|, for the positives share the sum among them.

    Args:
        vectors: [n, d]; their lengths have no effect.
        targets: [n] label numbers; or [n, k], where texts that share a label are positives of each other.
        temperature: Cosines are divided by it.
        weights: [n] of the texts as anchors.

    Returns:
        The mean over the texts that have a positive; 0 if none has.
    """
    unit = F.normalize(wide(vectors), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    alike = _alike(targets) & ~itself
    logits = (unit @ unit.T / temperature).masked_fill(itself, torch.finfo(unit.dtype).min)
    shares = logits.log_softmax(dim=1).masked_fill(~alike, 0)
    count = alike.sum(dim=1)
    each = -shares.sum(dim=1) / count.clamp(min=1)
    return row_mean(each, (count > 0) if weights is None else (count > 0) * weights)


def _alike(targets: Tensor) -> Tensor:
    """Whether two texts share a label [n, n]."""
    if targets.ndim == 1:
        return targets[:, None] == targets[None]
    given = (targets > 0).float()
    return given @ given.T > 0
