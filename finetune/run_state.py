"""What a run keeps: its state, its best weights and the mean of its last ones; whole or sharded over processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from labelspace.finetune.checkpoint import (
    copy_into,
    gathered,
    read_tensors,
    restore_state,
    spread,
    state_of,
    trainable,
    write_tensors,
)
from labelspace.finetune.train_settings import History, TrainSettings
from labelspace.progress import note

STATE, BEST = "state.safetensors", "best.safetensors"
_AGREE_EVERY = 20
"""Steps between two looks at the clock where several processes have to agree on it."""


class WeightMean:
    """Mean of the weights after each step that was added (stochastic weight averaging, arXiv 1803.05407).

    Its place is the end of a run, where the weights circle around a point that is better than they are.
    """

    def __init__(self, model: nn.Module) -> None:
        """Start with nothing.

        Args:
            model: Its trainable parameters count.
        """
        self.model, self.count = model, 0
        self.mean: dict[str, Tensor] = {}

    def add(self) -> None:
        """Take the weights in."""
        self.count += 1
        for name, parameter in trainable(self.model).items():
            value = parameter.detach()
            if self.count == 1:
                self.mean[name] = value.clone()
            else:
                self.mean[name].lerp_(value, 1 / self.count)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the mean in the model for a while, if there is one."""
        if not self.count:
            yield
            return
        last = {name: value.detach().clone() for name, value in trainable(self.model).items()}
        self.settle()
        try:
            yield
        finally:
            copy_into(self.model, last)

    def settle(self) -> None:
        """Put the mean in the model for good, if there is one."""
        if self.count:
            copy_into(self.model, self.mean)

    def take(self, tensors: dict[str, Tensor], count: int) -> None:
        """Go on from a mean that was kept, found under `average.` and the name of each parameter."""
        self.count = count
        if count:
            self.mean = {
                name: spread(tensors[f"average.{name}"].to(value.device), value)
                for name, value in trainable(self.model).items()
            }


class Keeper:
    """Keeps the state and the best weights of a run, and takes them up again."""

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimizer: Any,
        accelerator: Any,
        *,
        settings: TrainSettings,
        identity: str,
        about: str,
        loss: Any,
    ) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.folder, self.settings, self.identity, self.about = folder, settings, identity, about
        self.loss = loss if isinstance(loss, nn.Module) else nn.Identity()  # some losses remember what they saw
        self.best: dict[str, Tensor] | None = None
        self.average = WeightMean(model)
        self._kept = time.monotonic()
        if settings.log != "none":
            # A name is a project of W&B, and a run's folder of TensorBoard: the same again after a stop.
            name = "labelspace" if settings.log == "wandb" else f"labelspace-{identity[:8]}"
            known = settings.model_dump(mode="json", exclude_none=True)
            accelerator.init_trackers(name, config=known)

    def resume(self, title: str) -> tuple[History, int, int]:
        """What happened before, the epoch to go on with, and how many of its steps are done."""
        if self.folder is None or not (self.folder / STATE).exists():
            return History(), 0, 0
        tensors, data = read_tensors(self.folder / STATE)
        if data["identity"] != self.identity or data.get("about", self.about) != self.about:
            note(f"{self.folder}: holds the state of a run with other data or settings; this one starts anew")
            return History(), 0, 0
        restore_state(tensors, self.model, self.optimizer)
        self.average.take(tensors, data["averaged"])
        if own := {name.removeprefix("loss."): value for name, value in tensors.items() if name.startswith("loss.")}:
            self.loss.load_state_dict(own)
        if self.accelerator.scaler is not None and data.get("scaler"):
            self.accelerator.scaler.load_state_dict(data["scaler"])
        history = History(**data["history"])
        if history.best_epoch is not None:
            self.best = read_tensors(self.folder / BEST)[0]
        note(f"{title}: goes on from epoch {data['epoch'] + 1}, step {data['done']}")
        return history, data["epoch"], data["done"]

    def is_due(self, step: int) -> bool:
        """Whether it is time to keep the state; what the main process says holds for all."""
        if self.folder is None:
            return False
        due = time.monotonic() - self._kept >= self.settings.checkpoint_seconds
        if self.accelerator.num_processes == 1:
            return due
        if step % _AGREE_EVERY:
            return False
        from accelerate.utils import broadcast_object_list

        return bool(broadcast_object_list([due])[0])

    def keep(self, history: History, epoch: int, done: int, *, loss_sum: float) -> None:
        """Keep the state after some steps of an epoch."""
        if self.folder is None:
            return
        tensors = state_of(self.model, self.optimizer)
        tensors |= gathered({f"average.{name}": value for name, value in self.average.mean.items()})
        tensors |= {f"loss.{name}": value for name, value in self.loss.state_dict().items()}
        kept = {**asdict(history), "losses": [*history.losses, loss_sum] if done else history.losses}
        scaler = self.accelerator.scaler
        data = {
            "identity": self.identity,
            "about": self.about,
            "history": kept,
            "epoch": epoch,
            "done": done,
            "averaged": self.average.count,
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        self._write(STATE, tensors, data)
        self._kept = time.monotonic()

    def keep_best(self, epoch: int, score: float) -> None:
        """Keep the weights as the best so far."""
        whole = gathered(trainable(self.model))
        self.best = {name: value.detach().cpu().clone() for name, value in whole.items()}
        self._write(BEST, self.best, {"epoch": epoch, "score": score})

    def _write(self, name: str, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        if self.folder is not None and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(self.folder / name, tensors, data)

    def log(self, values: dict[str, float], *, step: int, loss: Tensor | None = None) -> None:
        """Send figures to where the settings say."""
        if self.settings.log != "none":
            self.accelerator.log(values if loss is None else {**values, "loss": float(loss)}, step=step)

    def finish(self) -> None:
        """Put the best weights in place, or the mean of the last where no epoch was looked for."""
        if self.best is not None:
            copy_into(self.model, self.best)
        else:
            self.average.settle()
        if self.settings.log != "none":
            self.accelerator.end_training()
