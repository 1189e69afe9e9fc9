"""From one vector a token to one vector a text, with padding left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from labelspace.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["last", "first", "mean", "max", "max-hidden"]
"""How token vectors become one.

`last` and `first` take one position; `mean` averages hidden states, which for a linear head is the
mean of the logits; `max` takes the highest logit of each label over the positions, as LS-unLLaMA
(arXiv 2310.01208) does, and `max-hidden` the highest of each hidden unit: the two are not the same.
"""


def check_pooling(pooling: str) -> None:
    """Refuse a name that is no pooling.

    Raises:
        ConfigError: There is no such pooling.
    """
    if pooling not in get_args(Pooling):
        raise ConfigError(f"there is no pooling {pooling!r}; there are: {', '.join(get_args(Pooling))}")


def pools_logits(pooling: Pooling) -> bool:
    """Whether the head comes before the pooling."""
    return pooling == "max"


def last_position(mask: Tensor) -> Tensor:
    """Position of the last real token of each row, wherever the padding is.

    Args:
        mask: [n, length], 1 at real tokens.

    Returns:
        [n] positions; 0 for a row that is all padding.
    """
    import torch

    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask.long() * positions).argmax(dim=1)


def pool(values: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of each row's token vectors.

    Args:
        values: [n, length, d], hidden states or logits.
        mask: [n, length], 1 at real tokens; what stands at the others has no effect, whatever it is.
        pooling: How.

    Returns:
        [n, d].
    """
    import torch

    rows = torch.arange(values.shape[0], device=values.device)
    if pooling == "last":
        return values[rows, last_position(mask)]
    if pooling == "first":
        return values[rows, mask.long().argmax(dim=1)]
    padding = ~mask.bool().unsqueeze(-1)
    if pooling == "mean":
        # Filled, not multiplied: what a kernel leaves at a padded position may be NaN.
        return values.masked_fill(padding, 0).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1).to(values.dtype)
    return values.masked_fill(padding, torch.finfo(values.dtype).min).amax(dim=1)
