"""Losses for labels of which some are wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelspace.errors import ConfigError
from labelspace.finetune.losses.basic import row_mean, wide


def symmetric_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Symmetric cross-entropy, alpha CE + beta RCE (Wang et al., ICCV 2019, arXiv 1908.06112, eq. 7).

    The reverse part swaps prediction and label, so that a wrong label costs a bounded amount: with
    log 0 taken as A (`log_zero`) it is -A (1 - p) for the probability p of the label (section 4.1).
    Defaults are the paper's for ten classes; for a hundred it has alpha = 6, beta = 0.1. Code in
    circulation clamps the label at 1e-4 instead, which makes A = -9.2.

    Args:
        logits: [n, k].
        targets: [n] label numbers.
        alpha: Weight of cross-entropy.
        beta: Weight of reverse cross-entropy.
        log_zero: What stands for log 0; negative.
        weights: [n] of the rows.
    """
    log_p = torch.log_softmax(wide(logits), dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
    return row_mean(-alpha * log_p + beta * log_zero * torch.expm1(log_p), weights)


class EarlyLearning(nn.Module):
    """Early-learning regularisation (Liu et al., NeurIPS 2020, arXiv 2007.00151, eq. 6 and section 4.2).

    A network fits right labels first. What it said of a row so far, t, a moving average of its
    probabilities p, keeps it from giving that up: CE + weight log(1 - <p, t>). It keeps a row of k
    numbers for every training row.

    The floor is that of the logarithm, 1e-4, at p = t certain: there the regulariser is
    weight * log(1e-4). The authors reach the same by clamping p; we clamp 1 - <p, t>, and so leave
    cross-entropy and average as they are.
    """

    running: Tensor

    def __init__(self, rows: int, labels: int, *, weight: float = 3.0, momentum: float = 0.7) -> None:
        """Start without memory; defaults are the paper's for ten classes (7 and 0.9 for a hundred).

        Args:
            rows: Training rows.
            labels: k.
            weight: The paper's lambda.
            momentum: The paper's beta: share of the average that stays.
        """
        super().__init__()
        if rows > 2**24:
            raise ConfigError(f"row numbers travel as float32, which is exact up to {2**24}, and there are {rows} rows")
        self.weight, self.momentum = weight, momentum
        self.register_buffer("running", torch.zeros(rows, labels))

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Loss of a batch; in training mode its rows' averages are brought up to date first.

        Args:
            logits: [n, k].
            targets: [n, 2]: the label's number and the row's. The row travels with its label, since the
                training loop hands over nothing else.
            weights: [n] of the rows.
        """
        z = wide(logits)
        labels, rows = targets.long().unbind(dim=1)
        if self.running.device != z.device:
            self.to(z.device)
        p = torch.softmax(z, dim=1)
        if self.training:
            with torch.no_grad():
                kept = self.momentum * self.running[rows] + (1 - self.momentum) * p.float()
                self.running[rows] = kept
        agreement = (p * self.running[rows].to(p.dtype)).sum(dim=1)
        each = F.cross_entropy(z, labels, reduction="none") + self.weight * (1 - agreement).clamp(min=1e-4).log()
        return row_mean(each, weights)
