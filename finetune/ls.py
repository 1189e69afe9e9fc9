"""Label-supervised fine-tuning: a head on the hidden states of a language model (LS-LLaMA, arXiv 2310.01208).

LS-LLaMA is the causal model with the last token (`unmask_from=None`, `pooling="last"`); LS-unLLaMA lifts
the causal mask (`unmask_from=0`) and pools the logits of all tokens (`pooling="max"` or "mean"). Where we
differ from the reference code: padding is never attended to nor pooled (`legacy_padding=True` brings the leak
back), the last token is found by the mask and not by the padding id, and the best epoch is chosen on dev.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import LoraSettings, Tuning, adapt
from labelspace.finetune.backbone import Backbone, Dtype, Quantization, pad_id
from labelspace.finetune.heads import EquiangularHead, MLPHead
from labelspace.finetune.label_model import LabelModel, TokenDropout
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.targets import Metric
from labelspace.finetune.text_head import TextHead
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss

HeadKind = Literal["linear", "mlp", "equiangular"]
"""One layer; one with a hidden layer before it; fixed vectors at equal angles, for very many labels."""


class LabelSupervised(TextHead):
    """A linear head on the pooled hidden states of any decoder or encoder, trained with it or without."""

    kind = "ls"

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool = False,
        classes: Sequence[str] | None = None,
        pooling: Pooling = "last",
        unmask_from: int | None = None,
        tuning: Tuning = "lora",
        lora: LoraSettings | None = None,
        head: HeadKind = "linear",
        dropout: float = 0.0,
        backbone_dropout: float | None = None,
        token_dropout: float = 0.0,
        bias: bool = False,
        pos_weight: bool = False,
        loss: Loss | str | None = None,
        loss_options: Mapping[str, float] | None = None,
        metric: Metric | None = None,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        legacy_padding: bool = False,
        training: TrainSettings | None = None,
    ) -> None:
        """Set what to train and how; nothing is loaded before `fit`.

        Args:
            base: Folder or Hub name of a model.
            multi_label: Whether a text can have several labels, or none.
            classes: The labels; None finds them in the data.
            pooling: How the vectors of a text become one. An encoder does best with "mean" or "first".
            unmask_from: First layer of a decoder that sees the whole text; None leaves it causal.
            tuning: lora, full, or frozen, which trains the head alone.
            lora: Settings of the adapters.
            head: What maps hidden states to logits.
            dropout: Before the head.
            backbone_dropout: In the layers of the backbone while they train; None leaves what the model comes with.
            token_dropout: Share of a text's tokens that are hidden behind the mask token while training.
            bias: Whether a linear head has one; transformers' classifiers of decoders have none.
            pos_weight: Multi-label: weigh each label by how rare it is.
            loss: Name of another loss (see `losses.choice`), or a function of logits and targets to their mean loss.
            loss_options: Arguments of a loss that is named, such as gamma of focal.
            metric: Score on dev; accuracy, or macro-F1 if multi-label.
            max_length: Tokens read of a text.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit (QLoRA) through bitsandbytes.
            legacy_padding: Reproduce the reference code's padding leak, for comparison only.
            training: Settings of the loop.
        """
        super().__init__(
            base,
            multi_label=multi_label,
            classes=classes,
            pooling=pooling,
            unmask_from=unmask_from,
            tuning=tuning,
            lora=lora,
            pos_weight=pos_weight,
            loss=loss,
            loss_options=loss_options,
            metric=metric,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            legacy_padding=legacy_padding,
            training=training or TrainSettings(),
        )
        if head not in get_args(HeadKind):
            raise ConfigError(f"there is no head {head!r}; there are: {', '.join(get_args(HeadKind))}")
        self.head, self.dropout, self.bias = head, dropout, bias
        self.backbone_dropout, self.token_dropout = backbone_dropout, token_dropout

    def build(self, backbone: Backbone) -> LabelModel:
        """Put adapters in the backbone and a new head on it."""
        adapt(backbone, self.tuning, lora=self.lora, base=self.base)
        heads: dict[str, Callable[[int, int], torch.nn.Module]] = {
            "linear": lambda width, labels: torch.nn.Linear(width, labels, bias=self.bias),
            "mlp": MLPHead,
            "equiangular": EquiangularHead,
        }
        return LabelModel(
            backbone,
            heads[self.head](backbone.width, len(self.classes_)),
            pooling=self.pooling,
            dropout=self.dropout,
            legacy_pad=pad_id(self.tokenizer) if self.legacy_padding else None,
            token_dropout=TokenDropout.of(self.token_dropout, self.tokenizer, self.base),
        )

    def settings(self) -> dict[str, Any]:
        """Arguments as plain data."""
        return {
            "multi_label": self.multi_label,
            "pooling": self.pooling,
            "unmask_from": self.unmask_from,
            "tuning": self.tuning,
            "lora": self.lora.model_dump(mode="json"),
            "head": self.head,
            "dropout": self.dropout,
            "backbone_dropout": self.backbone_dropout,
            "token_dropout": self.token_dropout,
            "bias": self.bias,
            "pos_weight": self.pos_weight,
            "metric": self.metric,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "legacy_padding": self.legacy_padding,
        }
