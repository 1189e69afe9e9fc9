"""How to train, and what came of it: plain data around the loop in `training.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from labelspace.config import Config


class TrainSettings(Config):
    """How to train; the defaults are those of LS-LLaMA (arXiv 2310.01208)."""

    epochs: int = Field(default=10, ge=0)
    """Times that every text is seen, unless training stops before."""
    batch_size: int = Field(default=8, ge=1)
    """Texts in one step of the optimizer, over all devices."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Highest rate, of all but the head."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Highest rate of the head; as the rest if None."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW; not for biases and norms."""
    schedule: Literal["linear", "cosine", "constant", "exponential"] = "linear"
    """How the rate falls: to nothing; to 1% for exponential (PTEC)."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    average: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps, at the end, after which the weights are averaged; the mean is what is scored and kept."""
    max_gradient_norm: float = Field(default=1.0, ge=0)
    """Gradients are scaled down to this length; 0 leaves them as they are."""
    tokens: int = Field(default=16384, ge=1)
    """Tokens that run at once on one device, padding counted: lower it if memory does not suffice."""
    by_length: bool = True
    """Put texts of similar length into one step: less padding, slightly less random."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision."""
    gradient_checkpointing: bool = False
    """Compute layers twice instead of keeping what they gave: less memory, more time."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better score on dev; None never stops early."""
    min_delta: float = Field(default=0.0, ge=0)
    """A score counts as better if it is more than this above the best."""
    checkpoint_seconds: float = Field(default=120.0, ge=0)
    """Keep the state so often, and after each epoch; 0 after each step. Needs a folder."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU if there is one."""
    log: Literal["none", "tensorboard", "wandb"] = "none"
    """Where to send loss, rate and scores."""
    log_folder: str = "runs"
    """Where TensorBoard's files go, in a folder for each run; none of the state of a run."""
    seed: int = 0
    """Of order, dropout and new weights."""


@dataclass
class History:
    """What happened in a run."""

    losses: list[float] = field(default_factory=list)
    """Mean loss of each epoch."""
    scores: list[float] = field(default_factory=list)
    """Score on dev after each epoch."""
    best_epoch: int | None = None
    """Epoch, from 1, whose weights were kept; None where there is no dev, and the last are."""
    epochs: int = 0
    steps: int = 0
    texts: int = 0
    tokens: int = 0
    """Real tokens seen."""
    padding: int = 0
    """Padded positions computed along with them."""
    seconds: float = 0.0
    """Time in steps, evaluation not counted."""
    peak_bytes: int = 0
    """Highest memory of the GPU; 0 on a CPU."""

    @property
    def best_score(self) -> float | None:
        """Highest score on dev."""
        return max(self.scores, default=None)
