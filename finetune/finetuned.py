"""What everything fine-tuned shares: a backbone that is loaded, trained, saved and loaded again."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import LoraSettings, Tuning
from labelspace.finetune.backbone import Backbone, Dtype, Quantization, load_backbone, pad_id
from labelspace.finetune.batches import Example
from labelspace.finetune.checkpoint import is_main
from labelspace.finetune.estimator import Estimator
from labelspace.finetune.label_model import LabelModel, logits_of
from labelspace.finetune.train_settings import History, TrainSettings
from labelspace.finetune.training import Loss, train
from labelspace.finetune.weights import SETTINGS, STACK, read_settings, restore, save_weights
from labelspace.progress import note

CPU_TOKENS = 1024
"""Tokens at once on a CPU, where a run costs little and padding as much as text: at 16,384, a batch of 64 messages took
five times as long."""


class FineTuned(Estimator, ABC):
    """A backbone with a head. Classifiers of texts go on in `TextHead`, of words in `LabelSupervisedTagger`."""

    kind: ClassVar[str]
    """Name by which a saved model is told apart."""

    def __init__(
        self,
        base: str | Path,
        *,
        classes: Sequence[str] | None,
        unmask_from: int | None,
        tuning: Tuning,
        lora: LoraSettings | None,
        max_length: int,
        dtype: Dtype,
        quantization: Quantization,
        legacy_padding: bool,
        training: TrainSettings,
    ) -> None:
        """Keep the settings; nothing is loaded yet. See the concrete classes for what they mean."""
        self.base, self.classes = str(base), classes
        self.unmask_from, self.legacy_padding = unmask_from, legacy_padding
        self.tuning, self.lora = tuning, lora or LoraSettings()
        self.max_length, self.dtype, self.quantization = max_length, dtype, quantization
        self.training = training
        self.backbone_dropout: float | None = None
        self.classes_: list[str] = list(classes or [])
        self.history_: History | None = None
        self.model: LabelModel | None = None
        self.tokenizer: Any = None

    @abstractmethod
    def build(self, backbone: Backbone) -> LabelModel:
        """Make the model to train, `classes_` and `tokenizer` being known."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Arguments of `__init__` after `base` and without `classes` and `training`, as plain data."""

    def save(self, folder: str | Path) -> None:
        """Write the model: a peft adapter (or the whole stack, if all of it was trained), safetensors and JSON."""
        save_weights(Path(folder), self._trained(), self.tokenizer, tuning=self.tuning)
        if not is_main():
            return
        data = {
            "kind": self.kind,
            "base": self.base,
            "settings": self.settings(),
            "classes": self.classes_,
            "training": self.training.model_dump(mode="json"),
            "learned": self._learned(),
        }
        (Path(folder) / SETTINGS).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, base: str | Path | None = None, device: str = "auto") -> Any:
        """Read a saved model.

        Args:
            folder: As `save` wrote it.
            base: Folder or name of the backbone, where it is no longer where it was.
            device: auto, or cpu.

        Raises:
            ConfigError: The folder holds no such model, or its backbone is not found.
        """
        folder = Path(folder)
        data = read_settings(folder, cls.kind)
        settings = dict(data["settings"])
        if "lora" in settings:
            settings["lora"] = LoraSettings.model_validate(settings["lora"])
        training = TrainSettings.model_validate({**data["training"], "device": device})
        made = cls(base or data["base"], classes=data["classes"], training=training, **settings)
        made._learned(data["learned"])
        stack = folder / STACK if made.tuning == "full" else made.base
        made.model = made.build(made._load_backbone(stack))
        restore(folder, made.model, tuning=made.tuning)
        made.model.eval()
        made._place()
        return made

    def __sklearn_is_fitted__(self) -> bool:
        return self.model is not None

    def _learned(self, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was learned besides weights, as plain data; takes it back where it is given."""
        return data or {}

    def _prepare(self) -> None:
        """Load the backbone and build the model on it."""
        torch.manual_seed(self.training.seed)
        self.model = self.build(self._load_backbone(self.base))
        self._place()

    def _load_backbone(self, stack: str | Path) -> Backbone:
        backbone: Backbone
        backbone, self.tokenizer = load_backbone(
            stack,
            unmask_from=self.unmask_from,
            legacy_padding=self.legacy_padding,
            dtype=self.dtype,
            quantization=self.quantization,
            dropout=self.backbone_dropout,
        )
        self._limit_length(backbone)
        return backbone

    def _place(self) -> None:
        if self.quantization == "none":
            wanted = "cuda" if self.training.device == "auto" and torch.cuda.is_available() else "cpu"
            self._trained().to(wanted)

    def _trained(self) -> LabelModel:
        if self.model is None:
            raise ConfigError("there is no trained model yet; call fit first")
        return self.model

    def _train(
        self, examples: list[Example], loss: Loss, evaluate: Callable[[], float] | None, folder: str | Path | None
    ) -> None:
        self.history_ = train(
            self._trained(),
            examples,
            loss=loss,
            settings=self.training,
            pad=pad_id(self.tokenizer),
            evaluate=evaluate,
            folder=None if folder is None else Path(folder),
            about=self._about(loss),
            title=f"training {self.kind}",
        )

    def _about(self, loss: Any) -> str:
        """What a run hangs on besides its data and the settings of the loop."""
        named = getattr(self, "loss", None)
        named = named if isinstance(named, str) else None
        if options := getattr(self, "loss_options", None):
            named = f"{named} {json.dumps(dict(options), sort_keys=True)}"
        called = loss if isinstance(loss, str) else getattr(loss, "__qualname__", type(loss).__qualname__)
        return json.dumps([self.kind, self.base, self.settings(), named, called], sort_keys=True, default=str)

    def _limit_length(self, stack: torch.nn.Module) -> None:
        """Read no more of a text than the stack has positions for.

        Raises:
            ConfigError: A soft prompt takes them all.
        """
        room = most_tokens(stack)
        if room is None:
            return
        prompt = getattr(self, "prompt_length", 0)
        if room <= prompt:
            raise ConfigError(
                f"{self.base} reads {room} tokens at most, and a prompt of {prompt} vectors leaves none for a text; "
                "lower prompt_length"
            )
        if self.max_length > room - prompt:
            note(f"{self.base} has room for {room - prompt} tokens of a text; what is beyond is not read")
            self.max_length = room - prompt

    def _run(self, examples: list[Example]) -> list[npt.NDArray[np.float32]]:
        model, tokens = self._trained(), self.training.tokens
        if next(model.parameters()).device.type == "cpu":
            tokens = min(tokens, CPU_TOKENS)
        return logits_of(
            model,
            examples,
            pad=pad_id(self.tokenizer),
            tokens=tokens,
            precision=self.training.precision,
        )


def most_tokens(stack: torch.nn.Module) -> int | None:
    """Tokens that fit a stack which has learned a vector for each position; None if it computes positions."""
    for name, module in stack.named_modules():
        if isinstance(module, torch.nn.Embedding) and name.endswith(("position_embeddings", "wpe", "embed_positions")):
            # OPT counts from 2 on, RoBERTa and its kin from after the vector of padding.
            padding = -1 if module.padding_idx is None else module.padding_idx
            return int(module.num_embeddings - getattr(module, "offset", padding + 1))
    return None
