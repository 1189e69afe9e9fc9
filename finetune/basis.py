"""Directions for labels that are fixed beforehand: equiangular basis vectors (arXiv 2303.11637)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 2048
"""Rows whose cosines with all others are held at once: k x k of them would not fit for very many labels."""


def equiangular_basis(
    labels: int, dimension: int, *, max_cosine: float = 0.002, steps: int = 300, seed: int = 0
) -> Tensor:
    """Unit vectors that are as nearly at right angles as can be had.

    With enough dimensions they are exactly so, by QR. With fewer, pairs whose |cosine| is above a bound are moved
    apart, from random vectors on, as the paper does (its Algorithm 1, with 1e5 steps of SGD at a small rate); our
    rate grows while that helps, which needs some tens. No k vectors in m dimensions stay below the Welch
    bound, sqrt((k - m) / (m (k - 1))), so we never aim below 1.5 times that.

    Args:
        labels: k.
        dimension: m.
        max_cosine: Stop when no pair has a higher |cosine|, if it can be had.
        steps: Stop then at the latest.
        seed: Of the random start.

    Returns:
        [k, m] float32.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(labels, dimension, generator=generator, dtype=torch.float64)
    if labels <= dimension:
        return torch.linalg.qr(start.T)[0].T.float().contiguous()
    bound = max(max_cosine, 1.5 * math.sqrt((labels - dimension) / (dimension * (labels - 1))))
    vectors = kept = F.normalize(start.float(), dim=1)
    push = torch.zeros_like(vectors)
    rate, lowest = 1.0, math.inf
    for _ in range(steps):
        excess, worst, pushed = _too_close(vectors, bound)
        if worst <= 1.001 * bound:
            break
        if excess > lowest:
            rate /= 2
        else:
            kept, push, lowest = vectors, pushed, excess
            rate *= 1.1
        vectors = F.normalize(kept - rate * push, dim=1)
    return vectors


def _too_close(vectors: Tensor, bound: float) -> tuple[float, float, Tensor]:
    """Squared excess of cosines over the bound, the highest |cosine|, and the gradient of the excess [k, m]."""
    excess, worst, pushes = 0.0, 0.0, []
    for at in range(0, len(vectors), _BLOCK):
        cosines = vectors[at : at + _BLOCK] @ vectors.T
        cosines[:, at:].fill_diagonal_(0)
        over = cosines - cosines.clamp(-bound, bound)
        excess += float(over.square().sum())
        worst = max(worst, float(cosines.abs().max()))
        pushes.append(over @ vectors)
    return excess, worst, torch.cat(pushes)
