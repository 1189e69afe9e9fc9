"""PTEC: prompt tuning with an embedded classification head (arXiv 2309.12075).

A trained soft prompt stands before the text, the backbone is frozen, and a linear head reads the hidden
state of the last position. Prompt and head have learning rates of their own, and rare labels count
for more. Differs from the reference code: padding has no effect, the head is trained in float32, and the
score on test is that of the weights that were best on dev (there, a profiling run went on training them).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import adapt
from labelspace.finetune.backbone import Backbone, Dtype, Quantization
from labelspace.finetune.label_model import LabelModel
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.targets import Metric
from labelspace.finetune.text_head import TextHead
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss

PromptStart = Literal["labels", "text", "random"]
"""From the tokens of the labels' names, of a given text, or normal with the spread of the embeddings."""
PTEC_TRAINING = TrainSettings(
    epochs=18,
    batch_size=32,
    learning_rate=5e-4,
    head_learning_rate=2e-3,
    schedule="exponential",
    patience=2,
    min_delta=0.005,
)
"""Near the best that the paper's search found; rates are worth a search of one's own for another backbone."""


class PTEC(TextHead):
    """A soft prompt and a linear head around a frozen backbone."""

    kind = "ptec"

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool = True,
        classes: Sequence[str] | None = None,
        prompt_length: int = 100,
        prompt_start: PromptStart = "labels",
        prompt_text: str = "",
        pooling: Pooling = "last",
        unmask_from: int | None = None,
        pos_weight: bool = True,
        bias: bool = False,
        loss: Loss | str | None = None,
        loss_options: Mapping[str, float] | None = None,
        metric: Metric | None = None,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        training: TrainSettings = PTEC_TRAINING,
    ) -> None:
        """Set what to train and how; see `LabelSupervised` for what is not said here.

        Args:
            base: Folder or Hub name of a model.
            multi_label: Whether a text can have several labels, or none.
            classes: The labels; None finds them in the data.
            prompt_length: Vectors of the soft prompt.
            prompt_start: What they are at the start.
            prompt_text: The text for `prompt_start="text"`.
            pooling: The paper reads the last position; an encoder does better with "mean".
            unmask_from: First layer of a decoder that sees the whole text; None leaves it causal.
            pos_weight: Weigh each label by count of the commonest over its own.
            bias: Whether the head has one; not in the paper.
            loss: Name or function of another loss.
            loss_options: Arguments of a loss that is named, such as gamma of focal.
            metric: Score on dev; accuracy, or macro-F1 if multi-label.
            max_length: Tokens read of a text, the prompt not counted.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit through bitsandbytes.
            training: Settings of the loop; `learning_rate` is that of the prompt.
        """
        super().__init__(
            base,
            multi_label=multi_label,
            classes=classes,
            pooling=pooling,
            unmask_from=unmask_from,
            tuning="frozen",
            lora=None,
            pos_weight=pos_weight,
            loss=loss,
            loss_options=loss_options,
            metric=metric,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            legacy_padding=False,
            training=training,
        )
        self.prompt_length, self.prompt_start, self.prompt_text = prompt_length, prompt_start, prompt_text
        self.bias = bias

    def build(self, backbone: Backbone) -> LabelModel:
        """Freeze the backbone; a new prompt and head."""
        adapt(backbone, "frozen", lora=self.lora, base=self.base)
        prompt = first_prompt(
            backbone,
            self.tokenizer,
            length=self.prompt_length,
            start=self.prompt_start,
            texts=self.classes_ if self.prompt_start == "labels" else [self.prompt_text],
            seed=self.training.seed,
        )
        head = torch.nn.Linear(backbone.width, len(self.classes_), bias=self.bias)
        return LabelModel(backbone, head, pooling=self.pooling, prompt=prompt)

    def settings(self) -> dict[str, Any]:
        """Arguments as plain data."""
        return {
            "multi_label": self.multi_label,
            "prompt_length": self.prompt_length,
            "prompt_start": self.prompt_start,
            "prompt_text": self.prompt_text,
            "pooling": self.pooling,
            "unmask_from": self.unmask_from,
            "pos_weight": self.pos_weight,
            "bias": self.bias,
            "metric": self.metric,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "quantization": self.quantization,
        }


def first_prompt(
    backbone: Backbone, tokenizer: Any, *, length: int, start: PromptStart, texts: Sequence[str], seed: int
) -> Tensor:
    """Vectors of a soft prompt before training.

    Args:
        backbone: Whose embeddings are taken.
        tokenizer: Of the backbone.
        length: How many vectors, p.
        start: See `PromptStart`.
        texts: Names of the labels, or the text. Too many tokens are thinned out at random, in order; too few are
            filled up with tokens from number 1000 on, as the reference does.
        seed: Of what is random.

    Returns:
        [p, d] float32.

    Raises:
        ConfigError: The text has no tokens.
    """
    table = backbone.embedding.weight.detach()
    draw = torch.Generator().manual_seed(seed)
    if start == "random":
        return torch.randn(length, table.shape[1], generator=draw) * table.float().std().cpu()
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    ids = [token for row in encoded for token in row]
    if not ids:
        raise ConfigError("a prompt can't start from a text without tokens; give `prompt_text`")
    if len(ids) > length:
        ids = [ids[at] for at in sorted(random.Random(seed).sample(range(len(ids)), length))]
    ids += [(1000 + i) % len(table) for i in range(length - len(ids))]
    # Through the module: some models scale their embeddings in it.
    with torch.no_grad():
        vectors: Tensor = backbone.embedding(torch.tensor(ids, device=table.device)).float().cpu()
    return vectors.clone()
