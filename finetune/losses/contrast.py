"""A loss over vectors, not logits: texts of one label towards each other, and away from all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from labelspace.finetune.losses.basic import wide


def supervised_contrastive(vectors: Tensor, targets: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, arXiv 2004.11362, eq. 2), each text being an anchor in turn.

    Of an anchor i with the positives P, out of all other texts A: the mean over p in P of
    -log(exp(cos(i, p) / temperature) / sum over a in A of exp(cos(i, a) / temperature)). It can't fall below the mean
    of log |P|, for the positives share the sum among them.

    Args:
        vectors: [n, d]; their lengths have no effect.
        targets: [n] label numbers; or [n, k], where texts that share a label are positives of each other.
        temperature: Cosines are divided by it.

    Returns:
        The mean over the texts that have a positive; 0 if none has.
    """
    unit = F.normalize(wide(vectors), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    if targets.ndim == 1:
        alike = targets[:, None] == targets[None]
    else:
        given = (targets > 0).to(unit.dtype)
        alike = given @ given.T > 0
    alike = alike & ~itself
    logits = (unit @ unit.T / temperature).masked_fill(itself, torch.finfo(unit.dtype).min)
    shares = logits.log_softmax(dim=1).masked_fill(~alike, 0)
    count = alike.sum(dim=1)
    each = -shares.sum(dim=1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
