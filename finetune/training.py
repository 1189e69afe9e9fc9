"""The one training loop: any model that maps a batch to logits, any loss, on accelerate.

Read `train` from top to bottom. A run is a sequence of steps that follows from its settings and data
alone; its state is kept every so often, so that a run which was killed goes on from there
and ends with the very weights it would have had.

Several processes take the steps of one, each some rows of every part:

    accelerate launch --num_processes 4 $(which labelspace) train DATA --head ls ...

With `--use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP` the model is spread over them (torch
FSDP2), and stays so: what scores or saves it is called in all of them, and one writes. Texts are cut into parts by
a budget of tokens, not packed: parts hold texts of similar length, so that little is padding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError, MissingExtra
from labelspace.finetune.batches import Batch, Example, collate, epoch_steps, lengths_of
from labelspace.finetune.checkpoint import reshard, trainable
from labelspace.finetune.run_state import Keeper
from labelspace.finetune.train_settings import History, TrainSettings
from labelspace.progress import Progress

Loss = Callable[..., Tensor]
"""Logits [n, k] and targets ([n], or [n, k]) to the mean loss over the n; where rows have weights, called with
`weights` [n] too, for the weighted mean."""
_SHORT = 128
"""Tokens of a text that is short."""


def train(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    loss: Loss,
    settings: TrainSettings,
    pad: int = 0,
    evaluate: Callable[[], float] | None = None,
    folder: Path | None = None,
    about: str = "",
    title: str = "training",
) -> History:
    """Train the parameters of a model that require a gradient; ends with the best weights on dev in place.

    Args:
        model: Maps a `Batch` to logits, one row for each unit of its examples.
        examples: With targets.
        loss: Mean over units, by their weights.
        settings: How.
        pad: Id to pad with.
        evaluate: Scores the model on dev, higher is better; called after each epoch.
        folder: Where state is kept, and found again after a stop; None keeps nothing.
        about: Of what else the run hangs on, such as the loss: a state is taken up only where this is the same.
        title: Shown with the progress.

    Raises:
        ConfigError: The loss is no number any more, or what should follow the run is not installed.
    """
    accelerator = _accelerator(settings)
    if settings.gradient_checkpointing:
        _checkpoint_gradients(model)
    model.to(accelerator.device)
    optimizer = torch.optim.AdamW(_groups(model, settings), fused=accelerator.device.type == "cuda")
    rates = [group["lr"] for group in optimizer.param_groups]
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    keeper = Keeper(
        folder,
        model,
        optimizer,
        accelerator,
        settings=settings,
        identity=_identity(model, examples, settings),
        about=about,
        loss=loss,
    )
    history, epoch, done = keeper.resume(title)
    lengths = [int(length) for length in lengths_of(examples)]
    steps_in_epoch = math.ceil(len(examples) / settings.batch_size)
    average_from = round(steps_in_epoch * settings.epochs * (1 - settings.average))
    loss_sum = history.losses.pop() if done else 0.0  # that of an epoch which was cut short

    with Progress(title, total=len(examples) * settings.epochs, unit="texts") as bar:
        bar.advance(history.texts)
        while epoch < settings.epochs and not _has_stalled(history, settings):
            model.train()
            started, running = time.monotonic(), torch.tensor(loss_sum, dtype=torch.float64)
            plan = epoch_steps(
                lengths,
                batch_size=settings.batch_size,
                tokens=settings.tokens * accelerator.num_processes,
                seed=settings.seed,
                epoch=epoch,
                by_length=settings.by_length,
            )
            for step in plan[done:]:
                factor = _factor(settings, history.steps, steps_in_epoch * settings.epochs)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                step_loss = _backward(accelerator, wrapped, [[examples[i] for i in part] for part in step], loss, pad)
                if settings.max_gradient_norm:
                    accelerator.clip_grad_norm_(list(trainable(model).values()), settings.max_gradient_norm)
                optimizer.step()
                optimizer.zero_grad()
                running = running.to(step_loss.device) + step_loss.double()
                done += 1
                _count(history, step, lengths)
                if history.steps > average_from:
                    keeper.average.add()
                bar.advance(sum(map(len, step)))
                keeper.log({"rate": rates[0] * factor}, loss=step_loss, step=history.steps)
                if keeper.is_due(history.steps):
                    history.seconds += time.monotonic() - started
                    keeper.keep(history, epoch, done, loss_sum=float(running))
                    started = time.monotonic()
            loss_sum, done, epoch = float(running), 0, epoch + 1  # waits for the device
            if settings.precision != "fp16" and not math.isfinite(loss_sum):  # there, a step that overflows is left out
                raise ConfigError(
                    f"the loss of epoch {epoch} is {loss_sum}, so that nothing can come of this run; lower the rate of "
                    f"learning, {settings.learning_rate:g}"
                )
            history.seconds += time.monotonic() - started
            history.losses.append(loss_sum / max(steps_in_epoch, 1))
            history.epochs, loss_sum = epoch, 0.0
            if accelerator.device.type == "cuda":
                history.peak_bytes = torch.cuda.max_memory_allocated()
            remark = f"loss {history.losses[-1]:.4f}"
            if evaluate is not None:
                model.eval()
                with keeper.average.in_place():
                    score = float(evaluate())
                    reshard(model)
                    if not history.scores or score > max(history.scores):
                        history.best_epoch = epoch
                        keeper.keep_best(epoch, score)
                history.scores.append(score)
                keeper.log({"dev": score}, step=history.steps)
                remark += f", dev {score:.4f}"
            bar.advance(0, remark=remark)
            keeper.keep(history, epoch, 0, loss_sum=0.0)
    keeper.finish()
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    model.eval()
    return history


def _backward(accelerator: Any, model: Any, parts: list[list[Example]], loss: Loss, pad: int) -> Tensor:
    """Add up the gradient of one step over its parts, each by its share of the weight of all units."""
    rank, world = accelerator.process_index, accelerator.num_processes
    whole = sum(example.units * example.weight for part in parts for example in part)
    total = torch.zeros((), device=accelerator.device)
    for number, part in enumerate(parts):
        # Every process runs as many parts as the others; one left without a row runs a row that counts nothing.
        mine = part[rank::world]
        batch = collate(mine or part[:1], pad=pad).to(accelerator.device)
        is_last = number == len(parts) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(model):
            share = sum(example.units * example.weight for example in mine) / whole if whole else 0.0
            with _attention(batch):
                logits = model(batch)
            weights = {} if batch.weights is None else {"weights": batch.weights}
            value = loss(logits, batch.targets, **weights) * share if share else logits.sum() * 0.0
            accelerator.backward(value * world)  # the processes' gradients are averaged
        total += value.detach()
    return total if world == 1 else accelerator.reduce(total)


def _attention(batch: Batch) -> contextlib.AbstractContextManager[Any]:
    """Plain attention for short texts on a CPU, whose flash kernel takes twice the time backward there."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if batch.ids.device.type != "cpu" or batch.ids.shape[1] > _SHORT:
        return contextlib.nullcontext()
    plain: contextlib.AbstractContextManager[Any] = sdpa_kernel(SDPBackend.MATH)
    return plain


def _accelerator(settings: TrainSettings) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise MissingExtra("accelerate", "finetune") from error
    if settings.log != "none" and find_spec(settings.log) is None:  # accelerate would go on without
        raise ConfigError(f"log={settings.log} needs a package that is not installed: pip install {settings.log}")
    # accelerate keeps the precision of the first run for the whole process, and refuses another.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=settings.precision,
        cpu=settings.device == "cpu",
        log_with=None if settings.log == "none" else settings.log,
        project_dir=settings.log_folder if settings.log == "tensorboard" else None,
    )


def _checkpoint_gradients(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "gradient_checkpointing_enable"):
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            return


def _groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay."""
    head_rate = settings.head_learning_rate or settings.learning_rate
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in trainable(model).items():
        rate = head_rate if name.startswith("head.") else settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _factor(settings: TrainSettings, step: int, total: int) -> float:
    """Share of the highest learning rate at a step, counted from 0."""
    warm = settings.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(total - warm, 1)
    if settings.schedule == "linear":
        return 1 - done
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 0.01**done if settings.schedule == "exponential" else 1.0


def _has_stalled(history: History, settings: TrainSettings) -> bool:
    """Whether the last `patience` epochs brought nothing better than what came before them."""
    if settings.patience is None or len(history.scores) <= settings.patience:
        return False
    before, since = history.scores[: -settings.patience], history.scores[-settings.patience :]
    return max(since) <= max(before) + settings.min_delta


def _count(history: History, step: list[list[int]], lengths: Sequence[int]) -> None:
    history.steps += 1
    for part in step:
        real = sum(lengths[row] for row in part)
        history.texts += len(part)
        history.tokens += real
        history.padding += lengths[part[0]] * len(part) - real


def _identity(model: nn.Module, examples: Sequence[Example], settings: TrainSettings) -> str:
    """Hash of all that shapes a run, so that a state is only taken up by the run that it is of."""
    digest = hashlib.sha256(
        settings.model_dump_json(exclude={"checkpoint_seconds", "log", "log_folder", "tokens"}).encode()
    )
    for name, parameter in trainable(model).items():
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
    for example in examples:
        target = example.target.tolist() if hasattr(example.target, "tolist") else example.target
        weight = [] if example.weight == 1 else [example.weight]
        digest.update(json.dumps([list(map(int, example.ids)), target, *weight], default=int).encode())
    return digest.hexdigest()
