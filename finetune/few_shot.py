"""A classifier from a handful of texts a label: the stack learns by contrast, then a logistic head is fitted on it.

SetFit (arXiv 2209.11055) goes this way with sampled pairs; here each step takes all pairs of its texts at once, so that
a step sees hundreds of pairs for one run of each text. A label's name is learnt from as one more text of it: with five
texts a label it says as much as another of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import LoraSettings, Tuning
from labelspace.finetune.backbone import Dtype, Quantization, pad_id
from labelspace.finetune.batches import Batch, Example
from labelspace.finetune.finetuned import CPU_TOKENS
from labelspace.finetune.head_settings import FewShotSettings
from labelspace.finetune.label_model import LabelModel, logits_of
from labelspace.finetune.logistic import Doubles, fit_logistic
from labelspace.finetune.losses.contrast import cosine_contrast, supervised_contrastive
from labelspace.finetune.ls import LabelSupervised
from labelspace.finetune.pooling import Pooling, pools_logits
from labelspace.finetune.targets import Metric, as_shares
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss, train

DEFAULTS = FewShotSettings()
PART = 32
"""Texts of a step that run at once."""
APART = 0.65
"""Share of texts whose nearest other text has their label, from which on the encoder tells labels apart by itself.
Below it, the texts of a label have to be drawn together; above it, drawing all others to right angles would undo what
the encoder knows."""
ROWS = 1024
"""Texts whose neighbours are looked for at once."""


class FewShot(LabelSupervised):
    """A `LabelSupervised` that learns by contrast: what comes of it is one, saved, loaded and served as any other.

    FewShot("path/to/encoder").fit(texts, labels).save("model")
    LabelSupervised.load("model").predict(["where is my parcel?"])
    """

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool = False,
        classes: Sequence[str] | None = None,
        pooling: Pooling = DEFAULTS.pooling,
        unmask_from: int | None = None,
        tuning: Tuning = DEFAULTS.tuning,
        lora: LoraSettings | None = None,
        contrast: Literal["auto", "cosine", "softmax"] = DEFAULTS.contrast,
        temperature: float = DEFAULTS.temperature,
        names: bool = DEFAULTS.names,
        C: float = DEFAULTS.C,
        metric: Metric | None = None,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        training: TrainSettings | None = None,
    ) -> None:
        """Set what to train and how; nothing is loaded before `fit`.

        Args:
            base: Folder or Hub name of a model; best one of sentence-transformers.
            multi_label: Whether a text can have several labels, or none. Texts that share one attract each other.
            classes: The labels; None finds them in the data.
            pooling: How the vectors of a text become one; any but "max", which takes logits.
            unmask_from: First layer of a decoder that sees the whole text; None leaves it causal.
            tuning: lora or full.
            lora: Settings of the adapters.
            contrast: `cosine` draws the cosine of two texts to 1 or 0 (`cosine_contrast`), as SetFit does; `softmax` is
                supervised contrast, which ranks the texts of a label before all others. `auto` is cosine where the
                encoder does not tell the labels apart before it is trained: see `APART`; `contrast_` says which.
            temperature: Of `softmax`: cosines are divided by it.
            names: Learn from each label's name too, as one more text of it, "_" read as a space. Leave it out where
                labels are numbers or codes.
            C: Inverse strength of the penalty on the head's weights.
            metric: Score on dev; accuracy, or macro-F1 if multi-label.
            max_length: Tokens read of a text.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit (QLoRA) through bitsandbytes.
            training: Settings of the loop. A step contrasts the texts of a batch that run together, so `batch_size`
                and `tokens` should be large.

        Raises:
            ConfigError: The pooling comes after the head, or nothing is tuned.
        """
        if tuning == "frozen":
            raise ConfigError("a few-shot head tunes the model; over a frozen one, train a linear head")
        if contrast not in ("auto", "cosine", "softmax"):
            raise ConfigError(f"there is no contrast {contrast!r}; there are: auto, cosine, softmax")
        if pools_logits(pooling):
            raise ConfigError(f"pooling {pooling!r} gives texts no vectors to contrast; take mean, first or last")
        super().__init__(
            base,
            multi_label=multi_label,
            classes=classes,
            pooling=pooling,
            unmask_from=unmask_from,
            tuning=tuning,
            lora=lora or DEFAULTS.lora,
            bias=True,
            metric=metric,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            training=training or DEFAULTS.training,
        )
        self.contrast, self.temperature, self.names, self.C = contrast, temperature, names, C

    @classmethod
    def load(cls, folder: str | Path, *, base: str | Path | None = None, device: str = "auto") -> Any:
        """Read a saved model: a `LabelSupervised`."""
        return LabelSupervised.load(folder, base=base, device=device)

    def _loss_for(self, targets: npt.NDArray[Any]) -> Loss:
        if not self.multi_label and targets.ndim == 2:
            raise ConfigError("a few-shot head learns from labels, not from probabilities of them; leave out --soft")
        return super()._loss_for(targets)

    def _train(
        self, examples: list[Example], loss: Loss, evaluate: Callable[[], float] | None, folder: str | Path | None
    ) -> None:
        if self.names:
            examples = [*examples, *self._named(examples)]
        tower = _Tower(self._trained().backbone, torch.nn.Identity(), pooling=self.pooling)
        self.contrast_ = self.contrast
        if self.contrast == "auto":
            self.contrast_ = "softmax" if _nearest_agree(*self._vectors(tower, examples)) >= APART else "cosine"

        def fitted() -> float:
            self._fit_head(tower, examples)
            assert evaluate is not None
            return evaluate()

        self.history_ = train(
            tower,
            examples,
            loss=cosine_contrast
            if self.contrast_ == "cosine"
            else partial(supervised_contrastive, temperature=self.temperature),
            settings=self.training,
            pad=pad_id(self.tokenizer),
            evaluate=None if evaluate is None else fitted,
            folder=None if folder is None else Path(folder),
            about=self._about(f"contrast {self.contrast_} {self.temperature} {self.C}"),
            title="training few-shot",
        )
        self._fit_head(tower, examples)

    def _named(self, examples: list[Example]) -> list[Example]:
        """Names of the labels that some text has, as texts of them."""
        targets = np.array([example.target for example in examples])
        rows = np.eye(len(self.classes_), dtype=targets.dtype) if targets.ndim > 1 else np.arange(len(self.classes_))
        known = np.flatnonzero(targets.any(axis=0)) if targets.ndim > 1 else np.unique(targets)
        encoded = self._encode([self.classes_[label].replace("_", " ") for label in known])
        return [Example(ids, rows[label]) for ids, label in zip(encoded, known, strict=True)]

    def _fit_head(self, tower: LabelModel, examples: list[Example]) -> None:
        """Fit the head on the vectors of the training texts, as they are now."""
        head: Any = self._trained().head
        vectors, targets = self._vectors(tower, examples)
        weights = np.array([example.weight for example in examples])
        # Of length 1 in the mean: what a penalty does depends on it. The factor goes into the weights.
        scale = max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-12)
        weight, bias = fit_logistic(
            vectors / scale,
            targets,
            weights=weights,
            C=self.C,
            exclusive=not self.multi_label,
        )
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight.T / scale))
            head.bias.copy_(torch.from_numpy(bias))

    def _vectors(self, tower: LabelModel, examples: list[Example]) -> tuple[Doubles, Doubles]:
        """Vectors of the texts [n, d] as they are now, and their labels [n, k] as 0 or 1."""
        on_cpu = next(tower.parameters()).device.type == "cpu"
        rows = logits_of(
            tower,
            examples,
            pad=pad_id(self.tokenizer),
            tokens=min(self.training.tokens, CPU_TOKENS) if on_cpu else self.training.tokens,
            precision=self.training.precision,
        )
        targets = as_shares(np.array([example.target for example in examples]), len(self.classes_))
        return np.stack(rows).astype(np.float64), targets.astype(np.float64)


def _nearest_agree(vectors: Doubles, targets: Doubles) -> float:
    """Share of the rows whose nearest other row, by cosine, has a label of theirs."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    agree = 0
    for start in range(0, len(unit), ROWS):
        cosines = unit[start : start + ROWS] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        agree += int(((targets[cosines.argmax(axis=1)] * targets[start : start + ROWS]).sum(axis=1) > 0).sum())
    return agree / len(unit)


class _Tower(LabelModel):
    """Vectors of the texts of a step, which run in parts of about one length, so that little is padded."""

    def forward(self, batch: Batch) -> torch.Tensor:
        lengths = batch.mask.sum(dim=1)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.split(PART):
            longest = int(lengths[rows[-1]])
            parts.append(super().forward(Batch(batch.ids[rows, :longest], batch.mask[rows, :longest], None, None)))
        return torch.cat(parts)[order.argsort()]
