"""A fine-tuned model on disk: a peft adapter or a whole stack, the head as safetensors, settings as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import Tuning
from labelspace.finetune.backbone import quiet_hub
from labelspace.finetune.checkpoint import gathered, is_main, read_tensors, reshard, write_tensors
from labelspace.finetune.label_model import LabelModel

SETTINGS, HEAD, STACK = "head.json", "head.safetensors", "model"
_ADAPTER = "adapter_model.safetensors"


def save_weights(folder: Path, model: LabelModel, tokenizer: Any, *, tuning: Tuning) -> None:
    """Write what was trained; where a model is spread over processes, all of them call this and one writes.

    Args:
        folder: Is made.
        model: The adapter goes to the folder itself, where peft alone finds it; a stack that was trained
            whole to `model/`, where transformers does. A frozen one is not written.
        tokenizer: Written beside a whole stack.
        tuning: What was trained.
    """
    reshard(model)
    tensors = gathered(
        {f"head.{name}": value for name, value in model.head.state_dict().items() if not _belongs(model)}
    )
    if model.prompt is not None:
        tensors |= gathered({"prompt": model.prompt})
    stack = model.backbone.model
    if tuning == "full":
        trained = gathered(stack.state_dict())
    else:
        trained = gathered({name: value for name, value in stack.named_parameters() if "lora_" in name})
    if not is_main():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / HEAD, tensors, {})
    if tuning == "lora":
        stack.save_pretrained(str(folder), state_dict=trained, safe_serialization=True)
    elif tuning == "full":
        with quiet_hub():
            stack.save_pretrained(str(folder / STACK), state_dict=trained, safe_serialization=True)
        tokenizer.save_pretrained(str(folder / STACK))


def restore(folder: Path, model: LabelModel, *, tuning: Tuning) -> None:
    """Put saved weights into a model that was built as the saved one was; a whole stack is loaded by then.

    Raises:
        ConfigError: A file is missing or does not fit.
    """
    if not (folder / HEAD).exists():
        raise ConfigError(f"{folder}: there is no {HEAD} here; the model is not complete, train it again")
    tensors, _ = read_tensors(folder / HEAD)
    try:
        if not _belongs(model):
            model.head.load_state_dict({name[5:]: value for name, value in tensors.items() if name.startswith("head.")})
        if model.prompt is not None:
            with torch.no_grad():
                model.prompt.copy_(tensors["prompt"])
        if tuning == "lora":
            _restore_adapter(folder / _ADAPTER, model.backbone.model)
    except (RuntimeError, KeyError, OSError) as error:
        raise ConfigError(f"{folder}: the weights don't fit the settings: {str(error).splitlines()[0]}") from error


def _belongs(model: LabelModel) -> bool:
    """Whether the head came with the backbone, as that of a language model does, and nothing of it is trained."""
    return not any(parameter.requires_grad for parameter in model.head.parameters()) and model.prompt is not None


def _restore_adapter(path: Path, model: Any) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    outcome = set_peft_model_state_dict(model, load_file(str(path)))
    missing = [name for name in outcome.missing_keys if "lora_" in name]
    if missing or outcome.unexpected_keys:
        raise KeyError(f"{path.name} lacks {missing[:2]} and has {outcome.unexpected_keys[:2]} besides")


def read_settings(folder: Path, kind: str) -> dict[str, Any]:
    """Read the settings of a saved model.

    Raises:
        ConfigError: There are none, or they are of another kind of model.
    """
    path = folder / SETTINGS
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: there is no {SETTINGS} here; name the folder of a trained model") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from error
    if data.get("kind") != kind:
        raise ConfigError(f"{folder}: holds a model of kind {data.get('kind')!r}, not {kind!r}")
    return data
