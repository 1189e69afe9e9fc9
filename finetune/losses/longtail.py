"""Losses for many labels of which most are rare, and of which some are missing (COMIC, arXiv 2304.10539)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelspace.finetune.losses.basic import cross_entropy, mean_of, multi_label, wide


def logit_adjusted(
    logits: Tensor, targets: Tensor, *, counts: Tensor, tau: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of logits + tau log prior (Menon et al., ICLR 2021, arXiv 2007.07314, eq. 10).

    The model then has to make up for what the prior does, and its bare logits are those of balanced labels.

    Args:
        logits: [n, k].
        targets: [n] label numbers, or [n, k] probabilities.
        counts: [k] rows of each label.
        tau: 0 is cross-entropy.
        weights: [n] of the rows.
    """
    z = wide(logits)
    rows = counts.to(z).clamp(min=1)
    return cross_entropy(z + tau * (rows / rows.sum()).log(), targets, weights=weights)


def multi_focal(
    logits: Tensor,
    targets: Tensor,
    *,
    head_tail: Tensor,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    weight_positive: float = 1.0,
    weight_negative: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Multi-focal modifier of COMIC (eq. 5 and 6): focusing by sign and by how rare a label is.

    -(1 - p)^(g+ + w+ h) log p for positives and -p^(g- + w- h) log(1 - p) for negatives, with h
    the head-tail factor of the label: the rarer it is, the less its many easy negatives weigh. The paper
    sums over labels, we take the mean.

    Args:
        logits: [n, k].
        targets: [n, k] of 0 and 1, below 0 where unknown.
        head_tail: [k], from `head_tail_factor`.
        gamma_positive: Focusing of positives; the paper wants it at most `gamma_negative`.
        gamma_negative: Focusing of negatives.
        weight_positive: Of the head-tail factor, in positives.
        weight_negative: The same, in negatives.
        weights: [n] of the rows.
    """
    z, y, known = multi_label(logits, targets)
    h = head_tail.to(z)
    log_p, log_rest = F.logsigmoid(z), F.logsigmoid(-z)
    positive = ((gamma_positive + weight_positive * h) * log_rest).exp() * log_p
    negative = ((gamma_negative + weight_negative * h) * log_p).exp() * log_rest
    return mean_of(-(y * positive + (1 - y) * negative), known, weights)


def head_tail_factor(counts: Sequence[int] | Tensor) -> Tensor:
    """How rare each label is: 1 for the commonest, slowly more for rarer ones.

    COMIC wants a factor of at least 1 from the distribution of labels under a max normalisation, higher in the
    tail, and leaves the function open; this is (1 - log(count / highest count))^(1/6).

    Args:
        counts: [k] rows of each label; none counts as one.
    """
    rows = torch.as_tensor(counts, dtype=torch.float64).clamp(min=1)
    return (1 - (rows / rows.max()).log()).pow(1 / 6).float()


class Comic(nn.Module):
    """Correction and modification of COMIC: the multi-focal loss, with missing labels recalled on the way.

    A label that is not given, but has p > max(tau, running mean of p over that label's positives), is taken as
    missing and made a positive (eq. 2 and 3). The head-tail factor follows the labels as corrected. The
    first `warmup` rows correct nothing: an untrained head is sure of nothing it should be.

    Where we differ: the paper scales the loss of a batch by batch size over corrections, which has no value
    without corrections and outweighs all else with one; we leave it out. Its third part, the balancer, distils two
    more models, which favour common and rare labels, into this one; that is not here.
    """

    seen: Tensor
    given: Tensor
    likelihood: Tensor
    rows: Tensor

    def __init__(
        self,
        counts: Sequence[int] | Tensor,
        *,
        tau: float = 0.7,
        warmup: int = 0,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
    ) -> None:
        """Start from the labels as given.

        Args:
            counts: [k] rows of each label.
            tau: Lowest probability that is believed against the label; the paper's best.
            warmup: Rows without correction: those of the first epoch, as the paper has it.
            gamma_positive: See `multi_focal`.
            gamma_negative: See `multi_focal`.
        """
        super().__init__()
        self.tau, self.warmup = tau, warmup
        self.gamma_positive, self.gamma_negative = gamma_positive, gamma_negative
        start = torch.as_tensor(counts, dtype=torch.float32).clamp(min=1)
        self.register_buffer("given", start)
        self.register_buffer("seen", torch.zeros_like(start))
        self.register_buffer("likelihood", torch.zeros_like(start))
        self.register_buffer("rows", torch.zeros((), dtype=torch.long))

    def correct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Targets with missing labels recalled, [n, k]; looks at the state and does not change it."""
        z, y, _ = multi_label(logits.detach(), targets)
        if int(self.rows) < self.warmup:
            return y
        mean = self.likelihood.to(z) / self.seen.to(z).clamp(min=1)
        return torch.where(torch.sigmoid(z) > mean.clamp(min=self.tau), torch.ones_like(y), y)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Args:
            logits: [n, k].
            targets: [n, k], 1 where given, 0 (or below) where nothing is known.
            weights: [n] of the rows; labels are recalled alike in all.
        """
        if self.given.device != logits.device:
            self.to(logits.device)
        corrected = self.correct(logits, targets)
        if self.training:
            with torch.no_grad():
                z, y, _ = multi_label(logits, targets)
                self.seen += y.sum(dim=0).float()
                self.likelihood += (torch.sigmoid(z) * y).sum(dim=0).float()
                self.given += (corrected - y).sum(dim=0).float()
                self.rows += len(logits)
        return multi_focal(
            logits,
            corrected,
            head_tail=head_tail_factor(self.given).to(logits.device),
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            weights=weights,
        )
