"""Losses for labels that are missing (positive and unlabelled) or ambiguous (one of several candidates)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from labelspace.errors import ConfigError
from labelspace.finetune.losses.basic import multi_label, row_mean, wide

_LOWEST_TEMPERATURE = 0.05


def positive_unlabelled(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 1.0,
    gamma: float = 0.55,
    temperature: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Positive-unlabelled loss for many labels, PU-MLC (arXiv 2306.16016), over a whole batch.

    For each label, the variational PU loss (Chen et al., NeurIPS 2020, arXiv 1906.00642, eq. 7) with the two
    additions of PU-MLC:

        (mean_x s)^gamma log mean_x s(z / t)  -  mean over positives of log s(z / t)

    where s is the sigmoid and both means without a name go over all rows. The factor keeps a rare label's
    unlabelled part from drowning its positives; the temperature t = min(alpha std(z), 1), over the batch,
    keeps probabilities apart. No gradient flows through either. Defaults are the paper's for COCO; for VOC
    it has alpha = 2, gamma = 0.85.

    Where we differ: a batch of one row, or of equal logits, has std 0 and the paper divides by it; we take t = 1
    there, and never less than 0.05. A label without a positive in the batch is left out, since the loss has no
    lowest point without one. The paper does not say of what the deviation is taken; we take logits, which is
    what it divides. The floor for a label of which a share r of the rows is positive is r^gamma log r.

    Args:
        logits: [n, k]; the larger n, the better are the means.
        targets: [n, k], 1 where labelled, 0 where nothing is known.
        alpha: Factor on the deviation.
        gamma: Power of the re-balancing factor; 0 turns it off.
        temperature: Fixed instead of t.
        weights: [n] of the rows, in all means.
    """
    z, y, _ = multi_label(logits, targets)
    shares = torch.ones_like(z[:, :1]) if weights is None else weights.to(z).unsqueeze(1)
    y = y * shares
    t = _temperature(z.detach(), alpha) if temperature is None else torch.full_like(z[0], temperature)
    log_s = F.logsigmoid(z / t)
    positives = y.sum(dim=0)
    there = (positives > 0).to(z.dtype)
    balance = (gamma * _log_mean(F.logsigmoid(z.detach()), shares)).exp()
    on_positives = (y * log_s).sum(dim=0) / torch.where(positives > 0, positives, torch.ones_like(positives))
    return ((balance * _log_mean(log_s, shares) - on_positives) * there).sum() / there.sum().clamp(min=1)


def mixed_consistency(mixed_logits: Tensor, logits: Tensor, targets: Tensor, *, share: float) -> Tensor:
    """The regulariser of variational PU learning (arXiv 1906.00642, eq. 11), which PU-MLC keeps.

    A mixture x' = share * positive + (1 - share) * other, of whatever goes into the head, should have the
    probability share + (1 - share) s(other); the squared difference of the logarithms is the loss, 0 where it has.

    Args:
        mixed_logits: [n, k] of the mixtures.
        logits: [n, k] of the others; no gradient goes here.
        targets: [n, k], 1 for the labels of each mixture's positive: only those count.
        share: Of the positive, between 0 and 1; drawn from Beta(0.3, 0.3) by the paper.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share of a mixture is above 0 and below 1, not {share}")
    z, y, _ = multi_label(mixed_logits, targets)
    log_other = F.logsigmoid(wide(logits).detach().to(z.dtype)) + math.log1p(-share)
    wanted = torch.logaddexp(log_other, torch.full_like(log_other, math.log(share)))
    return ((F.logsigmoid(z) - wanted).square() * y).sum() / y.sum().clamp(min=1)


def candidates(logits: Tensor, targets: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Loss of a row of which several labels are possible and one is right: -log of their joint probability.

    The likelihood of Jin and Ghahramani (NeurIPS 2002), which lets the model choose among the candidates. With
    one candidate it is cross-entropy, with all of them 0; the floor is 0.

    Args:
        logits: [n, k].
        targets: [n, k], above 0 for candidates; a row without any counts for nothing.
        weights: [n] of the rows.
    """
    z, shares, _ = multi_label(logits, targets)
    allowed = shares > 0
    known = allowed.any(dim=1)
    inside = torch.logsumexp(z.masked_fill(~allowed, torch.finfo(z.dtype).min), dim=1)
    each = torch.where(known, torch.logsumexp(z, dim=1) - inside, torch.zeros_like(inside))
    return row_mean(each, known if weights is None else known * weights)


def _log_mean(log_values: Tensor, shares: Tensor) -> Tensor:
    """Logarithm of the mean over rows [n, k], weighted by shares [n, 1]."""
    return torch.logsumexp(log_values + shares.log(), dim=0) - shares.sum().log()


def _temperature(z: Tensor, alpha: float) -> Tensor:
    spread = alpha * z.std(dim=0, unbiased=False)
    return torch.where(spread > 1e-6, spread.clamp(_LOWEST_TEMPERATURE, 1.0), torch.ones_like(spread))
