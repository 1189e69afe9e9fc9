"""Training steps for models whose rows are no single texts: triplets of queries, a query with its candidate tools.

The loop of `training.py` takes texts with targets; these have neither, are small, and train in minutes, so
that a plain loop does. Rates, warm-up and schedule mean the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labelspace.finetune.batches import epoch_steps
from labelspace.finetune.checkpoint import trainable
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import _factor
from labelspace.progress import Progress


def descend(
    model: nn.Module,
    rows: Sequence[Any],
    loss_of: Callable[[list[Any]], Tensor],
    *,
    settings: TrainSettings,
    title: str,
    lengths: Sequence[int] | None = None,
    end_epoch: Callable[[int], None] | None = None,
) -> list[float]:
    """Train a model, in place, with AdamW.

    Args:
        model: In training mode while it is trained, so that its dropout works; left in evaluation mode.
        rows: What an epoch goes through, in a new order each time.
        loss_of: The mean loss of some rows.
        settings: Epochs, batch size, rates, seed, precision.
        title: Of the progress.
        lengths: Tokens of each row, where rows of similar length are to go together: little padding is computed.
        end_epoch: Told the number of each epoch when it has ended.

    Returns:
        Mean loss of each epoch.
    """
    torch.manual_seed(settings.seed)
    groups = [
        {"params": [p for p in trainable(model).values() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable(model).values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    device = next(model.parameters()).device.type
    mixed = torch.float16 if settings.precision == "fp16" else torch.bfloat16
    in_epoch = -(-len(rows) // settings.batch_size)
    losses, step = [], 0
    with Progress(title, total=len(rows) * settings.epochs, unit="rows") as bar:
        for epoch in range(settings.epochs):
            model.train()
            total = 0.0
            steps = epoch_steps(
                lengths or [0] * len(rows),
                batch_size=settings.batch_size,
                tokens=1,
                seed=settings.seed,
                epoch=epoch,
                by_length=lengths is not None,
            )
            for parts in steps:
                batch = [rows[i] for part in parts for i in part]
                rate = settings.learning_rate * _factor(settings, step, in_epoch * settings.epochs)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with torch.autocast(device, dtype=mixed, enabled=settings.precision != "no"):
                    loss = loss_of(batch)
                optimizer.zero_grad()
                loss.backward()
                if settings.max_gradient_norm:
                    torch.nn.utils.clip_grad_norm_(list(trainable(model).values()), settings.max_gradient_norm)
                optimizer.step()
                step += 1
                total += float(loss.detach()) * len(batch)
                bar.advance(len(batch), remark=f"loss {float(loss.detach()):.4f}")
            losses.append(total / len(rows))
            model.eval()
            if end_epoch is not None:
                end_epoch(epoch)
    model.eval()
    return losses
