"""Losses over logits: one label of several, any number of labels, soft labels.

Every loss takes logits [n, k] and gives the mean over the n rows (and, where labels are independent,
over the labels), computes half-precision logits in float32, and stays finite up to |logits| = 1e4.
Multi-label targets below 0 are unknown and count for nothing. `weights` [n] make that the weighted mean: the sum
of what rows cost times their weights, over the sum of the weights.

Kin: `noise` (wrong labels), `partial` (missing and ambiguous labels), `longtail` (rare labels).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from labelspace.errors import ConfigError


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weight: Tensor | None = None,
    smoothing: float = 0.0,
    by_rows: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of one label among k.

    Args:
        logits: [n, k].
        targets: [n] label numbers, -100 for rows to leave out; or [n, k] probabilities.
        class_weight: [k]; the mean is weighted by it. Not for probabilities: weigh those yourself.
        smoothing: Share of the target spread evenly over all k labels (Szegedy et al., 2016). The floor is
            then the entropy of the smoothed target, not 0.
        by_rows: Divide by the number of rows and not by their class weights, so that the parts of a batch add up to it.
        weights: [n] of the rows.
    """
    if targets.is_floating_point():
        _same_shape(logits, targets)
        if class_weight is not None:
            raise ConfigError("class weights don't go with probabilities as targets; weigh the rows instead")
        z = wide(logits)
        return row_mean(F.cross_entropy(z, targets.to(z.dtype), label_smoothing=smoothing, reduction="none"), weights)
    z = wide(logits)
    weight = None if class_weight is None else class_weight.to(z)
    each = F.cross_entropy(z, targets, weight=weight, label_smoothing=smoothing, reduction="none")
    counts = (targets != -100).to(z.dtype) if weights is None else (targets != -100) * weights.to(z)
    kept = counts if weight is None or by_rows else counts * weight[targets.clamp(min=0)]
    total = each.sum() if weights is None else (each * weights.to(z)).sum()
    return total / kept.sum().clamp(min=torch.finfo(total.dtype).tiny)  # 0, not NaN, where every row is left out


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    pos_weight: Tensor | None = None,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of each label by itself.

    Args:
        logits: [n, k].
        targets: [n, k], 0 to 1; below 0 where unknown.
        pos_weight: [k], factor on the part of the positives: `positive_weight` makes that of PTEC (arXiv 2309.12075).
        smoothing: Draws targets towards 1/2 by this share.
        weights: [n] of the rows.
    """
    z, y, known = multi_label(logits, targets)
    if smoothing:
        y = y * (1 - smoothing) + smoothing / 2
    weight = None if pos_weight is None else pos_weight.to(z)
    each = F.binary_cross_entropy_with_logits(z, y, pos_weight=weight, reduction="none")
    return mean_of(each, known, weights)


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Focal loss, -(1 - p)^gamma log p of the true label (Lin et al., 2017, eq. 4 and 5).

    Args:
        logits: [n, k].
        targets: [n] label numbers, where p is of the softmax; or [n, k] of 0 and 1, below 0 where unknown,
            where p is the sigmoid's of what is true of each label.
        gamma: 0 is cross-entropy; higher turns from easy rows.
        class_weight: [k], the paper's alpha: of the true label for one label among k (the mean is over rows, not
            weights, as in the paper); of positives for independent labels, whose negatives have weight 1.
        weights: [n] of the rows.
    """
    if targets.is_floating_point():
        z, y, known = multi_label(logits, targets)
        right = F.logsigmoid(z) * y + F.logsigmoid(-z) * (1 - y)
        wrong = F.logsigmoid(-z) * y + F.logsigmoid(z) * (1 - y)
        each = -(gamma * wrong).exp() * right
        return mean_of(each if class_weight is None else each * (y * class_weight.to(z) + 1 - y), known, weights)
    z = wide(logits)
    picked = targets.unsqueeze(1)
    right = torch.log_softmax(z, dim=1).gather(1, picked).squeeze(1)
    # log(1 - p) over the other labels: 1 - exp(log p) would round to 0 where p is near 1.
    others = z.scatter(1, picked, torch.finfo(z.dtype).min)
    wrong = torch.logsumexp(others, dim=1) - torch.logsumexp(z, dim=1)
    each = -(gamma * wrong).exp() * right
    return row_mean(each if class_weight is None else each * class_weight.to(z)[targets], weights)


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
    weights: Tensor | None = None,
) -> Tensor:
    """Asymmetric loss for many labels of which few are true (Ridnik et al., arXiv 2009.14119, eq. 4 to 6).

    L+ = (1 - p)^g+ log p and L- = q^g- log(1 - q) with q = max(p - margin, 0). The gradient goes through
    the weights too, as the paper's does; the authors' code offers to stop it there. We take the mean
    over labels, they the sum.

    Args:
        logits: [n, k].
        targets: [n, k] of 0 and 1, below 0 where unknown.
        gamma_positive: Focusing of positives.
        gamma_negative: Focusing of negatives.
        margin: Negatives with a probability up to this cost nothing.
        weights: [n] of the rows.
    """
    z, y, known = multi_label(logits, targets)
    positive = (gamma_positive * F.logsigmoid(-z)).exp() * F.logsigmoid(z)
    if margin == 0:
        negative = (gamma_negative * F.logsigmoid(z)).exp() * F.logsigmoid(-z)
    else:
        p = torch.sigmoid(z)
        inside = p > margin
        shifted = torch.where(inside, p - margin, torch.ones_like(p))  # a power of 0 has no gradient
        rest = torch.where(inside, torch.sigmoid(-z) + margin, torch.ones_like(p))
        negative = shifted.pow(gamma_negative) * rest.log()
    return mean_of(-(y * positive + (1 - y) * negative), known, weights)


def distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    independent: bool = False,
    hard: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Divergence from a teacher's probabilities to ours (Hinton et al., 2015); 0 where they agree.

    temperature^2 KL(teacher || softmax(logits / temperature)), with the teacher softened alike. The paper's
    teacher gives logits; ours may be an LLM, which gives probabilities, so they are raised to 1 / temperature.

    Args:
        logits: [n, k].
        targets: [n, k] probabilities of the teacher; rows need not sum to 1 if `independent`.
        temperature: Above 1 looks more at what the teacher finds unlikely.
        independent: Labels are independent of each other: one divergence each, averaged.
        hard: Share of the loss that is cross-entropy with the teacher's first choice (not if `independent`).
        weights: [n] of the rows.
    """
    _same_shape(logits, targets)
    z = wide(logits)
    q = targets.to(z.dtype)
    if independent:
        tiny = torch.finfo(z.dtype).tiny
        lifted = (q.clamp(min=tiny).log() - (1 - q).clamp(min=tiny).log()) / temperature
        soft = torch.where((q > 0) & (q < 1), torch.sigmoid(lifted), q)
        cross = F.binary_cross_entropy_with_logits(z / temperature, soft, reduction="none")
        entropy = -(torch.xlogy(soft, soft) + torch.xlogy(1 - soft, 1 - soft))
        return temperature**2 * row_mean((cross - entropy).mean(dim=1), weights)
    soft = q.pow(1 / temperature)
    soft = soft / soft.sum(dim=1, keepdim=True)
    log_p = torch.log_softmax(z / temperature, dim=1)
    # Where the teacher says 0, ours may be as small as it likes: 0 * -1e4, not 0 * -inf.
    each = temperature**2 * (torch.xlogy(soft, soft) - soft * log_p).sum(dim=1)
    if hard:
        each = (1 - hard) * each + hard * F.cross_entropy(z, q.argmax(dim=1), reduction="none")
    return row_mean(each, weights)


def class_weights(counts: Sequence[int] | Tensor, *, beta: float | None = None) -> Tensor:
    """Weight of each label for a balanced loss, with mean 1 over labels that occur.

    Args:
        counts: [k] rows of each label.
        beta: None weighs by 1 / count. A number just below 1, such as 0.999, by the effective number of
            rows, (1 - beta) / (1 - beta^count) (Cui et al., 2019, eq. 2); the nearer to 1, the nearer to 1 / count.

    Returns:
        [k] float32; 0 for a label without rows.
    """
    rows = torch.as_tensor(counts, dtype=torch.float64)
    if beta is not None and not 0 <= beta < 1:
        raise ConfigError(f"beta is at least 0 and below 1, not {beta}")
    inverse = 1 / rows.clamp(min=1) if beta is None else (1 - beta) / (1 - beta ** rows.clamp(min=1))
    weights = torch.where(rows > 0, inverse, torch.zeros_like(inverse))
    return (weights * (rows > 0).sum().clamp(min=1) / weights.sum().clamp(min=1e-300)).float()


def positive_weight(counts: Sequence[int] | Tensor) -> Tensor:
    """Weight of positives of each label as PTEC has it: rows of the commonest label over rows of this one.

    Args:
        counts: [k] rows of each label.

    Returns:
        [k] float32, 1 for the commonest; labels without rows count as having one.
    """
    rows = torch.as_tensor(counts, dtype=torch.float64).clamp(min=1)
    return (rows.max() / rows).float()


def wide(logits: Tensor) -> Tensor:
    """Logits in at least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def multi_label(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and targets in one precision, unknown targets as 0, and what is known as 1; all [n, k]."""
    _same_shape(logits, targets)
    z = wide(logits)
    y = targets.to(z.dtype)
    return z, y.clamp(min=0), (y >= 0).to(z.dtype)


def mean_of(each: Tensor, known: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over what is known of [n, k], by the weights of the rows [n]; 0 where nothing is."""
    return weighted_mean(each, known if weights is None else known * weights.to(each).unsqueeze(1))


def row_mean(each: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over rows [n] by their weights [n]; 0 where these are all 0."""
    return each.mean() if weights is None else weighted_mean(each, weights.to(each))


def weighted_mean(each: Tensor, counts: Tensor) -> Tensor:
    """Mean by what each counts, of one shape; 0 where nothing counts."""
    return (each * counts).sum() / counts.sum().clamp(min=torch.finfo(each.dtype).tiny)


def _same_shape(logits: Tensor, targets: Tensor) -> None:
    if logits.shape != targets.shape:
        raise ConfigError(
            f"logits have the shape {tuple(logits.shape)} and targets {tuple(targets.shape)}; this loss needs "
            "one number for each label of each row"
        )
