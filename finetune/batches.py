"""Batches without waste: texts of one length together, as many as a budget of tokens allows.

A step of the optimizer takes a fixed number of texts, as papers state it. How many run at once is
another matter, set by the tokens that fit in memory: a step is cut into parts, and the parts' gradients
add up to the very gradient of the whole.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

_POOL = 50
"""Steps whose texts are sorted together: enough for batches of nearly one length, few enough to stay random."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text as token ids, with what it should give."""

    ids: Sequence[int]
    target: Any = None
    """A label's number; a row of numbers, one a label; or, where there are words, one of these for each of them."""
    words: Sequence[int] | None = None
    """Positions of the tokens to label, for token classification."""
    weight: float = 1.0
    """What each of its predictions counts in the loss."""

    @property
    def units(self) -> int:
        """How many predictions it asks for: the mean of the loss is over these."""
        return 1 if self.words is None else len(self.words)


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples as tensors, padded on the right."""

    ids: Tensor
    """[n, length]."""
    mask: Tensor
    """[n, length], 1 at real tokens."""
    targets: Tensor | None
    """[n] or [n, k]; [words] where tokens are labelled; None where nothing is known."""
    words: tuple[Tensor, Tensor] | None
    """Row and position of each token to label."""
    weights: Tensor | None = None
    """What each target counts; None where all count the same."""

    def to(self, device: Any) -> Batch:
        """Copy to a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        words = None if self.words is None else (self.words[0].to(device), self.words[1].to(device))
        ids = self.ids.to(device, non_blocking=True)
        return Batch(ids, self.mask.to(device), move(self.targets), words, move(self.weights))


def collate(examples: Sequence[Example], *, pad: int) -> Batch:
    """Make a batch.

    Args:
        examples: All with words, or all without.
        pad: Id that fills the rows; it is never looked at.
    """
    import torch

    longest = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), longest), pad, dtype=np.int64)
    mask = np.zeros((len(examples), longest), dtype=np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        mask[row, : len(example.ids)] = 1
    words = None
    if examples[0].words is not None:
        rows = np.repeat(np.arange(len(examples)), [len(example.words or ()) for example in examples])
        positions = np.concatenate([np.asarray(example.words, dtype=np.int64) for example in examples])
        words = (torch.from_numpy(rows), torch.from_numpy(positions))
    weights = None
    if any(example.weight != 1 for example in examples):
        each = np.repeat([example.weight for example in examples], [example.units for example in examples])
        weights = torch.from_numpy(each.astype(np.float32))
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask), _targets(examples), words, weights)


def _targets(examples: Sequence[Example]) -> Tensor | None:
    import torch

    first = examples[0]
    if first.target is None:
        return None
    if first.words is not None:
        rows = [np.asarray(example.target) for example in examples if len(example.target)]
        numbers = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return torch.from_numpy(numbers.astype(np.int64 if numbers.dtype.kind in "iu" else np.float32))
    if isinstance(first.target, int | np.integer):
        return torch.tensor([example.target for example in examples], dtype=torch.long)
    return torch.from_numpy(np.asarray([example.target for example in examples], dtype=np.float32))


def epoch_steps(
    lengths: Sequence[int], *, batch_size: int, tokens: int, seed: int, epoch: int, by_length: bool = True
) -> list[list[list[int]]]:
    """Plan an epoch: steps of `batch_size` rows, each cut into parts that run at once.

    The plan follows from its arguments alone, so that a run which was stopped finds its place again.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows in a step; the last step may have fewer.
        tokens: At most so many in a part, padding counted; a longer row stands alone.
        seed: Of the shuffle.
        epoch: Each epoch has another order.
        by_length: Put rows of similar length into one step; if not, steps are drawn at random and only
            their parts are by length.
    """
    draw = random.Random(f"{seed}/{epoch}")
    rows = list(range(len(lengths)))
    draw.shuffle(rows)
    if by_length:
        pool = batch_size * _POOL
        rows = [
            row
            for start in range(0, len(rows), pool)
            for row in sorted(rows[start : start + pool], key=lambda row: -lengths[row])
        ]
    steps = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    draw.shuffle(steps)
    return [cut(step, lengths, tokens=tokens) for step in steps]


def cut(rows: Sequence[int], lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Cut rows into parts of similar length that each stay within a budget of tokens, longest first."""
    parts: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        # The first of a part is its longest, so that it sets the width.
        if parts and lengths[parts[-1][0]] * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def lengths_of(examples: Sequence[Example]) -> npt.NDArray[np.int64]:
    """Tokens of each example."""
    return np.fromiter((len(example.ids) for example in examples), dtype=np.int64, count=len(examples))
