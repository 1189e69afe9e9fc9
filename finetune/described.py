"""A head that reads what its labels mean, so that a new label needs words and no training.

One stack reads texts and label texts. A text's pooled vector attends to the tokens of each label's text, and the
cosine of the two is that label's logit (`DescriptionHead`). Label attention comes from CAML (arXiv 1802.05695), where
each label has a query vector that attends to the document; here the document attends to the label's description, so
that no weight belongs to a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import LoraSettings, Tuning, adapt
from labelspace.finetune.backbone import Backbone, Dtype, Quantization, pad_id
from labelspace.finetune.batches import Batch, Example, collate
from labelspace.finetune.heads import DescriptionHead
from labelspace.finetune.label_model import LabelModel
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.targets import Labels, Metric
from labelspace.finetune.text_head import TextHead
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss

LABEL_TOKENS = 64
"""Read of a label's text."""
BORDER = 0.4
"""Cosine from which on, before any training, an independent label is given."""


class LabelDescriptions(TextHead):
    """Texts attend to the descriptions of labels; `with_labels` gives the same head other labels.

    head = LabelDescriptions("path/to/encoder", label_texts={"refund": "money back", ...}).fit(texts, labels)
    head.with_labels({"refund": "money back", "invoice": "a bill is wrong or missing"}).predict(texts)
    """

    kind = "ls-descriptions"

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool = False,
        classes: Sequence[str] | None = None,
        label_texts: Mapping[str, str] | None = None,
        pooling: Pooling = "mean",
        unmask_from: int | None = None,
        tuning: Tuning = "lora",
        lora: LoraSettings | None = None,
        dropout: float = 0.0,
        pos_weight: bool = False,
        loss: Loss | str | None = None,
        loss_options: Mapping[str, float] | None = None,
        metric: Metric | None = None,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        training: TrainSettings | None = None,
    ) -> None:
        """Set what to train and how; nothing is loaded before `fit`.

        While the stack is trained, each step reads all label texts besides its batch; with `tuning="frozen"`
        they are read once.

        Args:
            base: Folder or Hub name of a model.
            multi_label: Whether a text can have several labels, or none.
            classes: The labels; None finds them in the data. Labels without training texts may be among them.
            label_texts: What each label means, by its name; a label that is not in it is read as its name.
            pooling: How the vectors of a text become one.
            unmask_from: First layer of a decoder that sees the whole text; None leaves it causal.
            tuning: lora, full, or frozen, which trains the head alone.
            lora: Settings of the adapters.
            dropout: Of the texts' vectors, before the head.
            pos_weight: Multi-label: weigh each label by how rare it is.
            loss: Name of another loss (see `losses.choice`), or a function of logits and targets to their mean loss.
            loss_options: Arguments of a loss that is named, such as gamma of focal.
            metric: Score on dev; accuracy, or macro-F1 if multi-label.
            max_length: Tokens read of a text.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit (QLoRA) through bitsandbytes.
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
            legacy_padding=False,
            training=training or TrainSettings(),
        )
        self.label_texts: Mapping[str, str] = {} if label_texts is None else label_texts
        self.dropout = dropout

    def fit(
        self,
        texts: Sequence[str],
        labels: Labels,
        *,
        sample_weight: Sequence[float] | None = None,
        dev: tuple[Sequence[str], Labels] | None = None,
        folder: str | Path | None = None,
    ) -> LabelDescriptions:
        """Train; see `TextHead.fit`."""
        super().fit(texts, labels, sample_weight=sample_weight, dev=dev, folder=folder)
        self._trained().fresh = False  # the best epoch's stack is not that of the last look at dev
        return self

    def build(self, backbone: Backbone) -> DescribedModel:
        """Put adapters in the backbone and the head on it."""
        adapt(backbone, self.tuning, lora=self.lora, base=self.base)
        return self._model(backbone, DescriptionHead(backbone.width, border=BORDER if self.multi_label else 0.0))

    def with_labels(self, label_texts: Mapping[str, str]) -> LabelDescriptions:
        """The same weights with other labels: some may be new, some gone, some put in other words.

        Args:
            label_texts: What each label means, by its name. A text that is blank is read as the name.

        Returns:
            A head that shares the weights with this one and can be saved by itself. Thresholds of labels that
            stay are kept; new ones start at 0.5.

        Raises:
            ConfigError: There are no labels, or this head is not trained.
        """
        if not label_texts:
            raise ConfigError("there are no labels; give at least one name and what it means")
        trained = self._trained()
        known = dict(zip(self.classes_, self.thresholds_, strict=True))
        made = copy(self)
        made.label_texts, made.classes, made.classes_ = dict(label_texts), list(label_texts), list(label_texts)
        made.thresholds_ = np.array([known.get(name, 0.5) for name in made.classes_])
        head = DescriptionHead(trained.backbone.width).to(next(trained.head.parameters()).device)
        head.load_state_dict(trained.head.state_dict())
        made.model = made._model(trained.backbone, head).eval()
        return made

    def settings(self) -> dict[str, Any]:
        """Arguments as plain data."""
        return {
            "multi_label": self.multi_label,
            "label_texts": dict(self.label_texts),
            "pooling": self.pooling,
            "unmask_from": self.unmask_from,
            "tuning": self.tuning,
            "lora": self.lora.model_dump(mode="json"),
            "dropout": self.dropout,
            "pos_weight": self.pos_weight,
            "metric": self.metric,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "quantization": self.quantization,
        }

    def _model(self, backbone: Backbone, head: DescriptionHead) -> DescribedModel:
        texts = [self.label_texts.get(name, "").strip() or name for name in self.classes_]
        length = min(self.max_length, LABEL_TOKENS)
        rows = self.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        labels = collate([Example(ids) for ids in rows], pad=pad_id(self.tokenizer))
        return DescribedModel(backbone, head, labels, pooling=self.pooling, dropout=self.dropout)


class DescribedModel(LabelModel):
    """A `LabelModel` that reads its labels' texts with its own stack before it reads texts."""

    head: DescriptionHead

    def __init__(
        self, backbone: Backbone, head: DescriptionHead, labels: Batch, *, pooling: Pooling, dropout: float
    ) -> None:
        """Put the parts together.

        Args:
            backbone: The stack.
            head: Is told the labels' vectors.
            labels: Token ids of the labels' texts.
            pooling: How the vectors of a text become one.
            dropout: Before the head, while training.
        """
        super().__init__(backbone, head, pooling=pooling, dropout=dropout)
        self.labels = labels
        self.fresh = False
        """Whether the head holds the labels' vectors as the stack gives them now."""

    def train(self, mode: bool = True) -> DescribedModel:
        """Set the mode; a stack that may change will read the labels again."""
        super().train(mode)
        self.fresh = self.fresh and (not mode or self._still)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Logits [n, k]."""
        device = batch.ids.device
        if self.training and not self._still:
            self._read(device)
        elif not self.fresh:
            with torch.inference_mode(False), torch.no_grad():
                self._read(device)
            self.fresh = True
        return super().forward(batch)

    @property
    def _still(self) -> bool:
        return not any(parameter.requires_grad for parameter in self.backbone.parameters())

    def _read(self, device: torch.device) -> None:
        labels = self.labels.to(device)
        self.head.set_labels(self.backbone(labels.ids, labels.mask).to(self.head.log_scale.dtype), labels.mask)
