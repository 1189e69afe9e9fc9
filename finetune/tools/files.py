"""Trained models for tools as folders: safetensors and JSON, with the base named, not copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from labelspace.errors import ConfigError
from labelspace.finetune.checkpoint import read_tensors, trainable, write_tensors
from labelspace.finetune.train_settings import TrainSettings


def write_model(
    folder: str | Path, name: str, tensors: Mapping[str, Tensor], training: TrainSettings, **data: Any
) -> None:
    """Write `name`.safetensors and `name`.json into a folder, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / f"{name}.safetensors", tensors, {"format": 1})
    text = json.dumps({**data, "training": training.model_dump(mode="json")}, ensure_ascii=False, indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")  # last: where it is, the rest is


def read_model(folder: str | Path, name: str) -> tuple[dict[str, Tensor], TrainSettings, dict[str, Any]]:
    """Read what `write_model` wrote: tensors, how it was trained, and the other data.

    Raises:
        ConfigError: The folder holds no such model.
    """
    folder = Path(folder)
    try:
        data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: holds no trained model of tools ({name}.json): {error}") from error
    tensors, _ = read_tensors(folder / f"{name}.safetensors")
    return tensors, TrainSettings.model_validate(data.pop("training")), data


def version_of(base: str | Path, model: nn.Module) -> str:
    """Hash of the trained weights, so that vectors can be kept on disk."""
    digest = hashlib.blake2b(str(base).encode(), digest_size=16)
    for name, tensor in sorted(trainable(model).items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
