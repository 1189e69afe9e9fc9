"""What `labelspace train` sets of a fine-tuned head: plain data, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from labelspace.config import Config, apply_overrides, read_yaml, validate
from labelspace.finetune.adapters import LoraSettings
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.train_settings import TrainSettings


class _Shared(Config):
    """What all have."""

    unmask_from: int | None = None
    """First layer of a decoder that sees the whole text; none leaves it causal."""
    max_length: int = Field(default=256, ge=1)
    """Tokens read of a text."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights in memory."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Through bitsandbytes."""


class LsSettings(_Shared):
    """`--head ls`."""

    pooling: Pooling = "last"
    """How the vectors of a text become one; "mean" for an encoder."""
    tuning: Literal["lora", "full", "frozen"] = "lora"
    """What is trained besides the head."""
    lora: LoraSettings = LoraSettings()
    """Settings of the adapters."""
    head: Literal["linear", "mlp", "equiangular"] = "linear"
    """What maps hidden states to logits."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Before the head."""
    backbone_dropout: float | None = Field(default=None, ge=0, lt=1)
    """In the layers of the backbone while they train; none leaves what the model comes with."""
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a text's tokens that are hidden behind the mask token while training."""
    bias: bool = False
    """Whether the head has one."""
    loss: str | None = None
    """Name of another loss than cross-entropy, or binary cross-entropy if a text has several labels."""
    loss_options: dict[str, float] | None = None
    """Of the loss, such as gamma of focal; a wrong name lists those there are."""
    pos_weight: bool = False
    """Several labels: weigh each by how rare it is."""
    training: TrainSettings = TrainSettings()
    """Settings of the loop."""


class ContrastSettings(TrainSettings):
    """Settings of the loop, for contrast: few texts, all of them in a step if they fit."""

    epochs: int = Field(default=40, ge=0)
    """Times that every text is seen, unless training stops before."""
    batch_size: int = Field(default=512, ge=1)
    """Texts in one step of the optimizer."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Highest rate."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    tokens: int = Field(default=65536, ge=1)
    """Tokens of texts that are contrasted, counted as if all were padded to the longest; they run in smaller parts."""
    by_length: bool = False
    """Put texts of similar length into one step."""


class FewShotSettings(_Shared):
    """`--head few-shot`."""

    pooling: Pooling = "mean"
    """How the vectors of a text become one; "last" for a decoder."""
    tuning: Literal["lora", "full"] = "lora"
    """What learns by contrast."""
    lora: LoraSettings = LoraSettings(rank=32, alpha=64.0, targets="all-linear")
    """Settings of the adapters."""
    contrast: Literal["auto", "cosine", "softmax"] = "auto"
    """cosine: cosines go to 1 within a label and to 0 between labels; softmax: supervised contrast; auto: cosine where
    the encoder does not tell the labels apart before it is trained."""
    temperature: float = Field(default=0.07, gt=0)
    """Of contrast: softmax; cosines are divided by it."""
    names: bool = True
    """Learn from each label's name too, as one more text of it; not for labels that are mere numbers."""
    C: float = Field(default=10.0, gt=0)
    """Inverse strength of the penalty on the head's weights."""
    training: ContrastSettings = ContrastSettings()
    """Settings of the loop."""


class LsDescriptionsSettings(_Shared):
    """`--head ls-descriptions`."""

    pooling: Pooling = "mean"
    """How the vectors of a text become one."""
    tuning: Literal["lora", "full", "frozen"] = "lora"
    """What is trained besides the head."""
    lora: LoraSettings = LoraSettings()
    """Settings of the adapters."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Before the head."""
    loss: str | None = None
    """Name of another loss than cross-entropy, or binary cross-entropy if a text has several labels."""
    loss_options: dict[str, float] | None = None
    """Of the loss, such as gamma of focal; a wrong name lists those there are."""
    pos_weight: bool = False
    """Several labels: weigh each by how rare it is."""
    training: TrainSettings = TrainSettings()
    """Settings of the loop."""


class LsTokenSettings(_Shared):
    """`--head ls-token`."""

    tuning: Literal["lora", "full", "frozen"] = "lora"
    """What is trained besides the head."""
    lora: LoraSettings = LoraSettings()
    """Settings of the adapters."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Before the head."""
    decoding: Literal["constrained", "repair", "none"] = "constrained"
    """How logits become tags."""
    remember: bool = False
    """With tuning frozen: run each sentence through the stack once, without its dropout."""
    training: TrainSettings = TrainSettings(learning_rate=1e-4)
    """Settings of the loop."""


class PtecSettings(_Shared):
    """`--head ptec`."""

    pooling: Pooling = "last"
    """How the vectors of a text become one; "mean" for an encoder."""
    prompt_length: int = Field(default=100, ge=1)
    """Vectors of the soft prompt."""
    prompt_start: Literal["labels", "text", "random"] = "labels"
    """What they are at the start."""
    prompt_text: str = ""
    """The text for prompt_start: text."""
    bias: bool = False
    """Whether the head has one."""
    loss: str | None = None
    """Name of another loss."""
    loss_options: dict[str, float] | None = None
    """Of the loss."""
    pos_weight: bool = True
    """Several labels: weigh each by how rare it is."""
    training: TrainSettings = TrainSettings(
        epochs=18,
        batch_size=32,
        learning_rate=5e-4,
        head_learning_rate=2e-3,
        schedule="exponential",
        patience=2,
        min_delta=0.005,
    )
    """Settings of the loop; `learning_rate` is that of the prompt."""


HEADS: dict[str, type[_Shared]] = {
    "ls": LsSettings,
    "few-shot": FewShotSettings,
    "ls-descriptions": LsDescriptionsSettings,
    "ls-token": LsTokenSettings,
    "ptec": PtecSettings,
}


def read_head_settings(head: str, path: str | Path | None, overrides: Iterable[str], *, seed: int) -> dict[str, Any]:
    """Settings of a head from a YAML file and `key=value` pairs, as arguments for its class.

    Args:
        head: Of `HEADS`.
        path: YAML file, or the name of a shipped one, such as ls-encoder; None for the defaults.
        overrides: Pairs over it, such as `training.epochs=3`.
        seed: Of the training.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    model = HEADS[head]
    data = apply_overrides({} if path is None else read_yaml(_find(path)), overrides)
    settings = validate(model, data, origin=str(path or f"settings of {head}"))
    found = {name: getattr(settings, name) for name in type(settings).model_fields}
    found["training"] = found["training"].model_copy(update={"seed": seed})
    return found


def shipped_settings() -> dict[str, Path]:
    """Files of settings that come with the package, by name."""
    import labelspace.configs

    folder = Path(str(labelspace.configs.__file__)).parent / "heads"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _find(path: str | Path) -> Path:
    found = Path(path)
    return found if found.exists() else shipped_settings().get(str(path), found)
