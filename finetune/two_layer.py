"""A network of two layers over text embeddings, for labels that no plane parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder
from labelspace.finetune.embedded import EmbeddingHead, Learned
from labelspace.finetune.logistic import Doubles, Floats, sigmoid, softmax


class TwoLayerHead(EmbeddingHead):
    """A hidden layer and a linear one over text embeddings, trained by Adam; numpy suffices.

    The form that TnT-LLM distils into (arXiv 2403.12173): Adam at 1e-3 with a weight decay of 1e-5. Ours also drops
    hidden units at random, and scales embeddings to components of about 1, which those rates expect. Width, epochs and
    dropout were chosen by three of five folds of 2,000 training texts of clinc150.
    """

    kind = "mlp"

    def __init__(
        self,
        embedder: str | Embedder = "tfidf",
        *,
        multi_label: bool = False,
        words: float = 0.5,
        hidden: int = 512,
        epochs: int = 60,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        dropout: float = 0.5,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        calibrate: bool = True,
        seed: int = 0,
    ) -> None:
        """Set the parameters; nothing is loaded yet.

        Args:
            embedder: A specification (see `load_embedder`), or an embedder.
            multi_label: Whether a text can have several labels, or none.
            words: Weight of TF-IDF beside the embedder; 0 for none.
            hidden: Units of the hidden layer.
            epochs: Times that every text is seen.
            batch_size: Texts in a step.
            learning_rate: Of Adam; it falls to nothing over the run.
            weight_decay: Share of the weights that each step at the full rate takes away.
            dropout: Share of hidden units left out of a step.
            class_weight: Weight by label; "balanced" gives each label the same weight in all.
            calibrate: Whether to set temperature and thresholds on held-out folds.
            seed: Of weights, order, dropout and folds.
        """
        self.embedder = embedder
        self.multi_label = multi_label
        self.words = words
        self.hidden, self.epochs, self.batch_size = hidden, epochs, batch_size
        self.learning_rate, self.weight_decay, self.dropout = learning_rate, weight_decay, dropout
        self.class_weight = class_weight
        self.calibrate = calibrate
        self.seed = seed

    def learn(self, vectors: Doubles, targets: Doubles, weights: Doubles, positive: Doubles | None) -> Learned:
        """Weights [d, h] and [h, k], biases [h] and [k]."""
        random = np.random.default_rng(self.seed)
        inputs, wanted = self._scaled(vectors), targets.astype(np.float32)
        counted = (weights / weights.mean()).astype(np.float32)[:, None]
        (rows, width), labels = inputs.shape, wanted.shape[1]
        layers: list[Floats] = [
            random.normal(0, math.sqrt(2 / width), (width, self.hidden)).astype(np.float32),
            np.zeros(self.hidden, np.float32),
            random.normal(0, math.sqrt(1 / self.hidden), (self.hidden, labels)).astype(np.float32),
            np.zeros(labels, np.float32),
        ]
        means, squares = [np.zeros_like(one) for one in layers], [np.zeros_like(one) for one in layers]
        steps = self.epochs * math.ceil(rows / self.batch_size)
        step = 0
        for _ in range(self.epochs):
            order = random.permutation(rows)
            for start in range(0, rows, self.batch_size):
                at = order[start : start + self.batch_size]
                kept = (random.random((len(at), self.hidden)) >= self.dropout) / np.float32(1 - self.dropout)
                slopes = self._slopes(
                    layers,
                    inputs[at],
                    wanted[at],
                    counted=counted[at],
                    kept=kept.astype(np.float32),
                    positive=positive,
                )
                rate = self.learning_rate * (1 - step / steps)
                step += 1
                for number, slope in enumerate(slopes):
                    means[number] += 0.1 * (slope - means[number])
                    squares[number] += 0.001 * (slope**2 - squares[number])
                    unbiased = math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                    move = unbiased * means[number] / (np.sqrt(squares[number]) + 1e-8)
                    decay = self.weight_decay * layers[number] if layers[number].ndim == 2 else 0.0
                    layers[number] -= np.float32(rate) * (move + decay)
        return dict(zip(("weight1", "bias1", "weight2", "bias2"), layers, strict=True))

    def _slopes(
        self,
        layers: list[Floats],
        inputs: Floats,
        wanted: Floats,
        *,
        counted: Floats,
        kept: Floats,
        positive: Doubles | None,
    ) -> list[Floats]:
        """Gradient of the weighted mean loss of a batch."""
        hidden: Floats = np.maximum(inputs @ layers[0] + layers[1], 0) * kept
        logits = hidden @ layers[2] + layers[3]
        if self.multi_label:
            slope = sigmoid(logits) - wanted
            if positive is not None:
                slope = slope * (1 + wanted * (positive.astype(np.float32) - 1))
        else:
            slope = softmax(logits) - wanted
        slope = slope * counted / np.float32(len(inputs))
        below = (slope @ layers[2].T) * kept * (hidden > 0)
        return [inputs.T @ below, below.sum(0), hidden.T @ slope, slope.sum(0)]

    def apply(self, learned: Learned, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Logits [n, k] of vectors [n, d]."""
        hidden = np.maximum(self._scaled(vectors) @ learned["weight1"] + learned["bias1"], 0)
        logits: npt.NDArray[Any] = hidden @ learned["weight2"] + learned["bias2"]
        return logits

    def shape(self, learned: Learned) -> tuple[int, int]:
        """Numbers that it reads of a text, and labels."""
        (width, hidden), (again, labels) = learned["weight1"].shape, learned["weight2"].shape
        if again != hidden or learned["bias1"].shape != (hidden,) or learned["bias2"].shape != (labels,):
            raise ValueError("the layers do not fit")
        return width, labels

    @staticmethod
    def _scaled(vectors: npt.NDArray[Any]) -> Floats:
        return (vectors * math.sqrt(vectors.shape[1])).astype(np.float32)
