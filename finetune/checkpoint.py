"""State of an unfinished training run in one file: safetensors with JSON in its header, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError

_HEADER = "labelspace"


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
    """Write tensors and plain data; a reader, or a process after kill -9, sees the old file or the new one."""
    from safetensors.torch import save_file

    temporary = path.with_name(path.name + ".tmp")
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(ready, str(temporary), metadata={_HEADER: json.dumps(data)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ConfigError: The file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            data = json.loads((file.metadata() or {})[_HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, data  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"{path}: can't be read ({error}); remove it and train again") from error


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whole: what FSDP spread over the processes is fetched together, so all of them have to call this."""
    return {name: value.full_tensor() if hasattr(value, "full_tensor") else value for name, value in tensors.items()}


def is_main() -> bool:
    """Whether this process is the one of several that writes files."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not several or torch.distributed.get_rank() == 0


def reshard(model: nn.Module) -> None:
    """Have each process keep its part alone: FSDP leaves the whole after a forward pass without a backward one."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def copy_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set the trainable parameters of a model, each process its part of those that are spread."""
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(spread(tensors[name], parameter))


def state_of(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """Everything that the rest of a run hangs on: weights, optimizer, random states."""
    tensors = {f"model.{name}": tensor for name, tensor in trainable(model).items()}
    for number, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in entries.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return gathered(tensors)


def restore_state(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Any) -> None:
    """Put back what `state_of` gave."""
    copy_into(model, {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, entry = name.split(".", 2)
            state.setdefault(int(number), {})[entry] = spread(tensor, parameters[int(number)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor spread over the processes as another of its shape is; as it is where that one is not spread."""
    if not hasattr(like, "full_tensor") or hasattr(tensor, "full_tensor") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
