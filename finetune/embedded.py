"""What heads over text embeddings share: embedding, calibration, decisions, scikit-learn's protocol, saving.

Concrete ones say what is learned and how it is applied: `LinearHead` in `linear.py`, `TwoLayerHead` in
`two_layer.py`, `BoostedHead` in `boosted.py`, the three that TnT-LLM (arXiv 2403.12173) distils an LLM's labels
into; and `NearestHead` in `nearest.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder, cache_folder, fit_embedder, load_embedder
from labelspace.embed.base import Vectors
from labelspace.embed.joined import WithWords
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.estimator import Estimator
from labelspace.finetune.logistic import (
    ENOUGH_HELD_OUT,
    Doubles,
    Floats,
    fit_temperature,
    fit_thresholds,
    folds,
    sigmoid,
    softmax,
)
from labelspace.finetune.shares import Given, read_shares

Learned = dict[str, npt.NDArray[Any]]
"""Arrays by name, for safetensors."""
Self = TypeVar("Self", bound="EmbeddingHead")


class EmbeddingHead(Estimator, ABC):
    """A classifier over text embeddings, in the manner of scikit-learn."""

    kind: ClassVar[str]
    """Name by which a saved model is told apart."""
    embedder: str | Embedder
    multi_label: bool
    words: float
    class_weight: Literal["balanced"] | Mapping[str, float] | None
    calibrate: bool
    seed: int

    @abstractmethod
    def __init__(self, embedder: str | Embedder = "tfidf", **parameters: Any) -> None:
        """Set the parameters; nothing is loaded yet."""

    @abstractmethod
    def learn(self, vectors: Doubles, targets: Doubles, weights: Doubles, positive: Doubles | None) -> Learned:
        """Learn from vectors [n, d], shares of labels [n, k] and weights of rows [n].

        `positive` weighs the positive rows of each label [k], with several labels a text.
        """

    @abstractmethod
    def apply(self, learned: Learned, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Logits [n, k] of vectors [n, d], by what was learned."""

    @abstractmethod
    def shape(self, learned: Learned) -> tuple[int, int]:
        """Numbers that it reads of a text, and labels.

        Raises:
            ValueError: The arrays do not fit together.
        """

    # -- learning ----------------------------------------------------------------------------

    def fit(
        self: Self,
        texts: Sequence[str],
        labels: Given,
        sample_weight: Sequence[float] | None = None,
    ) -> Self:
        """Learn from labelled texts; blank ones are left out.

        Args:
            texts: The texts.
            labels: One name for each text; with `multi_label`, a sequence of names, which may be empty. Or soft
                labels, as a teacher gives them: the share of each name.
            sample_weight: Weight of each text, 0 or more.

        Raises:
            DataError: Lengths differ, a label is no string, a weight is negative, or there are fewer than two labels.
        """
        texts = list(texts)
        named = read_shares(labels, multi_label=self.multi_label)
        weights = np.ones(len(texts)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if not len(texts) == len(named) == len(weights):
            raise DataError(
                f"{len(texts)} texts, {len(named)} labels and {len(weights)} weights were given",
                advice="give one of each for every text",
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise DataError("a weight is negative or not a number", advice="weights are 0 or more")
        kept = [at for at, text in enumerate(texts) if text.strip() and weights[at] > 0]
        classes = sorted({name for at in kept for name in named[at]})
        if len(classes) < (1 if self.multi_label else 2):
            found = f"only {classes[0]!r}" if classes else "none"
            raise DataError(
                f"there are fewer than two labels to tell apart among texts that are not blank: {found}",
                advice="give texts of at least two labels",
            )
        texts, named, weights = [texts[at] for at in kept], [named[at] for at in kept], weights[kept]
        column = {name: at for at, name in enumerate(classes)}
        targets = np.zeros((len(texts), len(classes)))
        for at, shares in enumerate(named):
            targets[at, [column[name] for name in shares]] = list(shares.values())
        self._embedder = fit_embedder(self._load(), texts)
        if self.words and not isinstance(self._embedder, TfidfEmbedder):
            self._embedder = WithWords(self._embedder, TfidfEmbedder(seed=self.seed).fit(texts), self.words)
        vectors = self._embedder.embed(texts)
        self.classes_ = np.array(classes)
        self._fit_vectors(vectors, targets, weights)
        return self

    def _fit_vectors(self, vectors: Vectors, targets: Doubles, weights: Doubles) -> None:
        inputs = vectors.astype(np.float64)
        self._learned = {
            name: array.astype(np.float32) if array.dtype == np.float64 else array
            for name, array in self._learn(inputs, targets, weights).items()
        }
        self.temperature_ = 1.0
        self.thresholds_: Floats = np.full(targets.shape[1], 0.5, dtype=np.float32)
        exclusive = not self.multi_label
        if not self.calibrate:
            return
        logits, truth = [], []
        for fitted, held in folds(targets, exclusive=exclusive, seed=self.seed):
            learned = self._learn(inputs[fitted], targets[fitted], weights[fitted])
            seen = targets[fitted].any(0)
            # A label that is new to this fold says nothing of how sure the fit is.
            fair = held[targets[held] @ seen > 0] if exclusive else held
            logits.append(self.apply(learned, inputs[fair]))
            truth.append(targets[fair])
            if sum(map(len, truth)) >= ENOUGH_HELD_OUT:
                break
        if not sum(map(len, truth)):
            return
        held_logits, held_truth = np.concatenate(logits), np.concatenate(truth)
        self.temperature_ = fit_temperature(held_logits, held_truth, exclusive=exclusive)
        if self.multi_label:
            chances = sigmoid(held_logits / self.temperature_)
            self.thresholds_ = fit_thresholds(chances, held_truth).astype(np.float32)

    def _learn(self, inputs: Doubles, targets: Doubles, weights: Doubles) -> Learned:
        """Learn, with the weights of labels worked in."""
        exclusive = not self.multi_label
        counts = np.maximum((targets * weights[:, None]).sum(0), 1e-9)
        each = None
        if self.class_weight == "balanced":
            each = weights.sum() / (len(counts) * counts) if exclusive else (weights.sum() - counts) / counts
        elif isinstance(self.class_weight, Mapping):
            each = np.array([float(self.class_weight.get(str(name), 1.0)) for name in self.classes_])
        elif self.class_weight is not None:
            raise ConfigError(f'class_weight is "balanced", a weight by label, or None, not {self.class_weight!r}')
        if each is not None and exclusive:
            weights = weights * (targets @ each)
        return self.learn(inputs, targets, weights, None if exclusive else each)

    def _load(self) -> Embedder:
        return load_embedder(self.embedder, cache=cache_folder()) if isinstance(self.embedder, str) else self.embedder

    # -- applying ----------------------------------------------------------------------------

    def predict_proba(self, texts: Sequence[str]) -> Floats:
        """Probability of each label of `classes_` [n, k]; rows sum to 1 unless `multi_label`."""
        self._check_fitted()
        return self.probabilities(self._embedder.embed(list(texts)))

    def probabilities(self, vectors: Vectors) -> Floats:
        """As `predict_proba`, for texts that are embedded already [n, d]."""
        width, _ = self.shape(self._learned)
        if vectors.shape[1] != width:
            raise ConfigError(
                f"the embedder {self._embedder.name} gives {vectors.shape[1]} numbers a text, "
                f"but this head was trained on {width}; use the embedder that it was trained with"
            )
        logits = self.apply(self._learned, vectors) / np.float32(self.temperature_)
        if self.multi_label:
            return sigmoid(logits)
        return softmax(logits)

    def predict(self, texts: Sequence[str]) -> list[str] | list[list[str]]:
        """The likeliest label of each text; with `multi_label`, all over their thresholds, likeliest first."""
        chances = self.predict_proba(texts)
        if not self.multi_label:
            return [str(self.classes_[at]) for at in chances.argmax(1)]
        return [[str(self.classes_[at]) for at in self.given(row)] for row in chances]

    def given(self, row: Floats) -> npt.NDArray[np.intp]:
        """Columns of the labels that are given for one row of probabilities [k], likeliest first."""
        if not self.multi_label:
            return np.array([row.argmax()])
        order = np.argsort(-row, kind="stable")
        return order[(row >= self.thresholds_)[order]]

    def score(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | Sequence[Sequence[str]],
        sample_weight: Sequence[float] | None = None,
    ) -> float:
        """Share of texts with exactly the right label or labels."""
        pairs = zip(self.predict(texts), labels, strict=True)
        right = [set(got) == set(want) if self.multi_label else got == want for got, want in pairs]
        return float(np.average(right, weights=sample_weight))

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_"):
            raise ConfigError("this head is not trained; call fit(texts, labels) first")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    # -- saving ------------------------------------------------------------------------------

    def to_tensors(self) -> tuple[Learned, dict[str, Any]]:
        """Arrays for safetensors and plain data for JSON, without the embedder."""
        self._check_fitted()
        given = self.get_params(deep=False)
        data = {name: value for name, value in given.items() if name not in ("embedder", "class_weight")}
        weights = self.class_weight
        data["class_weight"] = dict(weights) if isinstance(weights, Mapping) else weights
        learned = {**self._learned, "thresholds": self.thresholds_}
        return learned, {**data, "classes": self.classes_.tolist(), "temperature": self.temperature_}

    @classmethod
    def from_tensors(
        cls: type[Self], tensors: Mapping[str, npt.NDArray[Any]], data: Mapping[str, Any], embedder: Embedder
    ) -> Self:
        """Make a trained head from what `to_tensors` gave, and the embedder it was trained with.

        Raises:
            ConfigError: The parts do not fit together.
        """
        made = cls(embedder, **{name: data[name] for name in cls.parameter_names() if name != "embedder"})
        made.classes_ = np.array([str(name) for name in data["classes"]])
        made.temperature_ = float(data["temperature"])
        made._embedder = embedder
        made._learned = {name: array for name, array in tensors.items() if name != "thresholds"}
        made.thresholds_ = tensors["thresholds"]
        try:
            _, labels = made.shape(made._learned)
        except (KeyError, ValueError):
            labels = -1
        if not labels == len(made.classes_) == len(made.thresholds_) or not made.temperature_ > 0:
            raise ConfigError(f"its tensors do not fit its {len(made.classes_)} labels; it is damaged, train it again")
        return made

    @property
    def fitted_embedder(self) -> Embedder:
        """The embedder that the head was trained with."""
        self._check_fitted()
        return self._embedder
