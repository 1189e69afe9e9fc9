"""A stack that stays as it is, and so needs to see each text but once while a head is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from labelspace.finetune.backbone import Backbone
    from labelspace.finetune.label_model import LabelModel

MOST_BYTES = 4 << 30
"""Of hidden states that are kept; texts beyond run through the stack each time."""


class Remembered(nn.Module):
    """Gives the hidden states that a frozen stack gives, its dropout off, and keeps those of real tokens."""

    def __init__(self, backbone: Backbone, *, most_bytes: int = MOST_BYTES) -> None:
        """Take the stack; nothing is known yet."""
        super().__init__()
        self.backbone, self.legacy_padding = backbone, backbone.legacy_padding
        self._known: dict[bytes, Tensor] = {}
        self._left = most_bytes

    def train(self, mode: bool = True) -> Remembered:
        """Set the mode of all but the stack: what it gives must not change."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, ids: Tensor, mask: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Hidden states [n, length, d] of token ids [n, length]; zeros at padded positions."""
        if prefix is not None:
            return cast("Tensor", self.backbone(ids, mask, prefix))
        real = mask.bool()
        names = [row[kept].numpy().tobytes() for row, kept in zip(ids.cpu(), real.cpu(), strict=True)]
        rows: dict[bytes, Tensor] = {}
        if new := [at for at, name in enumerate(names) if name not in self._known]:
            with torch.no_grad():
                hidden = self.backbone(ids[new], mask[new])
            for row, at in zip(hidden, new, strict=True):
                rows[names[at]] = states = row[real[at]].clone()
                if states.nbytes <= self._left and names[at] not in self._known:
                    self._known[names[at]] = states
                    self._left -= states.nbytes
        first = rows.get(names[0], self._known.get(names[0]))
        assert first is not None
        out = first.new_zeros(*ids.shape, first.shape[-1])
        out[real] = torch.cat([rows[name] if name in rows else self._known[name] for name in names])
        return out


@contextmanager
def remembering(model: LabelModel) -> Iterator[None]:
    """Let the frozen stack of a model see each text but once in this block."""
    stack: Any = model.backbone
    if not stack.legacy_padding:  # there, what a text gives depends on the padding
        model.backbone = cast("Any", Remembered(stack))
    try:
        yield
    finally:
        model.backbone = stack
