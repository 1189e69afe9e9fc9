"""What of a backbone is trained: all of it, low-rank adapters (LoRA and its kin, through peft), or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from labelspace.config import Config
from labelspace.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from labelspace.finetune.backbone import Backbone

Tuning = Literal["lora", "full", "frozen"]


class LoraSettings(Config):
    """Adapters; the defaults are those of LS-LLaMA (arXiv 2310.01208)."""

    rank: int = Field(default=12, ge=1)
    """Rank of each pair of matrices."""
    alpha: float = 32.0
    """Their product is scaled by alpha / rank, or by alpha / sqrt(rank) if rank-stabilised."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """On what goes into the adapters, while training."""
    rank_stabilised: bool = False
    """rsLoRA (arXiv 2312.03732): the scale keeps its effect at high ranks."""
    dora: bool = False
    """DoRA (arXiv 2402.09353): magnitude and direction apart. Stock vLLM does not load it."""
    targets: tuple[str, ...] | Literal["default", "all-linear"] = "default"
    """Names of the matrices that get one; default is peft's choice: query and value."""


def adapt(backbone: Backbone, tuning: Tuning, *, lora: LoraSettings, base: str) -> None:
    """Make a backbone trainable in the way asked for, in place.

    Args:
        backbone: As loaded.
        tuning: What is trained.
        lora: Settings of the adapters.
        base: Name or folder of the model, which peft keeps with the adapter.

    Raises:
        ConfigError: The weights are quantized and were to be trained, or the model lacks a target.
    """
    quantized = bool(getattr(backbone.model, "is_quantized", False))
    if tuning == "full":
        if quantized:
            raise ConfigError("quantized weights can't be trained themselves; use lora, or load the model unquantized")
        backbone.requires_grad_(True)
        return
    backbone.requires_grad_(False)
    if tuning == "frozen":
        return
    try:
        from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training
    except ImportError as error:
        raise MissingExtra("peft", "finetune") from error
    model = backbone.model
    if quantized:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rank_stabilised,
        use_dora=lora.dora,
        target_modules=_targets(model, lora),
    )
    model.name_or_path = base
    try:
        backbone.model = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"the adapters don't fit the model: {str(error).splitlines()[0]}") from error


def _targets(model: Any, lora: LoraSettings) -> list[str] | str:
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    if isinstance(lora.targets, tuple):
        return list(lora.targets)
    if lora.targets == "all-linear" or model.config.model_type not in KNOWN:
        return "all-linear"
    return list(KNOWN[model.config.model_type])
