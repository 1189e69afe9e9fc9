"""Logistic regression over text embeddings: the head that trains in seconds and is hard to beat by far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder, cache_folder, fit_embedder, load_embedder
from labelspace.embed.base import Vectors
from labelspace.embed.joined import WithWords
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.logistic import (
    ENOUGH_HELD_OUT,
    Doubles,
    Floats,
    fit_logistic,
    fit_temperature,
    fit_thresholds,
    folds,
    sigmoid,
)

_PARAMETERS = ("embedder", "multi_label", "words", "C", "class_weight", "calibrate", "max_iter", "seed")


class LinearHead:
    """A linear classifier over text embeddings, in the manner of scikit-learn.

    head = LinearHead("path/to/encoder").fit(texts, labels)
    head.predict(["where is my parcel?"])        # ["Where is my order"]
    head.predict_proba(["where is my parcel?"])  # float32 [1, len(head.classes_)]

    The linear layer sees embeddings as they are, rows of length 1. With `calibrate`, held-out folds set a
    temperature and, for several labels a text, the threshold of each label. scipy fits it; predicting
    needs only numpy and the embedder.
    """

    _estimator_type = "classifier"  # for scikit-learn before 1.6

    def __init__(
        self,
        embedder: str | Embedder = "tfidf",
        *,
        multi_label: bool = False,
        words: float = 0.5,
        C: float = 30.0,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        calibrate: bool = True,
        max_iter: int = 300,
        seed: int = 0,
    ) -> None:
        """Set the parameters; nothing is loaded yet.

        Args:
            embedder: A specification (see `load_embedder`), or an embedder. TF-IDF learns its words in `fit`.
            multi_label: Whether a text can have several labels, or none.
            words: Weight of TF-IDF beside the embedder, for what the very words tell; 0 for none. It gained a third
                of a point on banking77 (five folds of the training texts) and six tenths on clinc150 (dev).
            C: Inverse strength of the penalty on the weights.
            class_weight: Weight by label; "balanced" gives each label the same weight in all.
            calibrate: Whether to set the temperature and thresholds on held-out folds; takes about as long
                as the fit again.
            max_iter: The most iterations of the solver.
            seed: Of the folds.
        """
        self.embedder = embedder
        self.multi_label = multi_label
        self.words = words
        self.C = C
        self.class_weight = class_weight
        self.calibrate = calibrate
        self.max_iter = max_iter
        self.seed = seed

    # -- learning ----------------------------------------------------------------------------

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | Sequence[Sequence[str]],
        sample_weight: Sequence[float] | None = None,
    ) -> LinearHead:
        """Learn from labelled texts; blank ones are left out.

        Args:
            texts: The texts.
            labels: One name for each text; with `multi_label`, a sequence of names, which may be empty.
            sample_weight: Weight of each text, 0 or more.

        Raises:
            DataError: Lengths differ, a label is no string, a weight is negative, or there are fewer than two labels.
        """
        texts = list(texts)
        named = self._names(labels)
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
        for at, names in enumerate(named):
            targets[at, [column[name] for name in names]] = 1
        self._embedder = fit_embedder(self._load(), texts)
        if self.words and not isinstance(self._embedder, TfidfEmbedder):
            self._embedder = WithWords(self._embedder, TfidfEmbedder(seed=self.seed).fit(texts), self.words)
        vectors = self._embedder.embed(texts)
        self.classes_ = np.array(classes)
        self._fit_vectors(vectors, targets, weights)
        return self

    def _fit_vectors(self, vectors: Vectors, targets: Doubles, weights: Doubles) -> None:
        inputs = vectors.astype(np.float64)
        weight, bias = self._solve(inputs, targets, weights)
        self._weight, self._bias = weight.astype(np.float32), bias.astype(np.float32)
        self.temperature_ = 1.0
        self.thresholds_: Floats = np.full(targets.shape[1], 0.5, dtype=np.float32)
        exclusive = not self.multi_label
        if not self.calibrate:
            return
        logits, truth = [], []
        for fitted, held in folds(targets, exclusive=exclusive, seed=self.seed):
            weight, bias = self._solve(inputs[fitted], targets[fitted], weights[fitted])
            seen = targets[fitted].any(0)
            # A label that is new to this fold says nothing of how sure the fit is.
            fair = held[targets[held] @ seen > 0] if exclusive else held
            logits.append(inputs[fair] @ weight + bias)
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

    def _solve(self, inputs: Doubles, targets: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
        """Weights [d, k] and bias [k], with the weights of labels worked in."""
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
        return fit_logistic(
            inputs,
            targets,
            weights=weights,
            C=self.C,
            exclusive=exclusive,
            positive_weights=None if exclusive else each,
            max_iter=self.max_iter,
        )

    def _names(self, labels: Sequence[str] | Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        named: list[tuple[str, ...]] = []
        for at, given in enumerate(labels):
            if self.multi_label == isinstance(given, str):
                raise DataError(
                    f"label {at} is {given!r}",
                    advice="with multi_label, give a list of names for each text; without, one name",
                )
            names = (given,) if isinstance(given, str) else tuple(given) if self.multi_label else (given,)
            if not all(isinstance(name, str) and name for name in names):
                raise DataError(f"label {at} is {given!r}", advice="labels are names, that is strings with text")
            named.append(tuple(map(str, names)))
        return named

    def _load(self) -> Embedder:
        return load_embedder(self.embedder, cache=cache_folder()) if isinstance(self.embedder, str) else self.embedder

    # -- applying ----------------------------------------------------------------------------

    def predict_proba(self, texts: Sequence[str]) -> Floats:
        """Probability of each label of `classes_` [n, k]; rows sum to 1 unless `multi_label`."""
        self._check_fitted()
        return self.probabilities(self._embedder.embed(list(texts)))

    def probabilities(self, vectors: Vectors) -> Floats:
        """As `predict_proba`, for texts that are embedded already [n, d]."""
        if vectors.shape[1] != len(self._weight):
            raise ConfigError(
                f"the embedder {self._embedder.name} gives {vectors.shape[1]} numbers a text, "
                f"but this head was trained on {len(self._weight)}; use the embedder that it was trained with"
            )
        logits = (vectors @ self._weight + self._bias) / np.float32(self.temperature_)
        if self.multi_label:
            return sigmoid(logits)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        scaled: Floats = raised / raised.sum(1, keepdims=True)
        return scaled

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

    # -- scikit-learn's protocol ---------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, for `sklearn.clone` and searches."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> LinearHead:
        """Set parameters of the constructor.

        Raises:
            ConfigError: There is no parameter of that name.
        """
        for name, value in params.items():
            if name not in _PARAMETERS:
                raise ConfigError(f"LinearHead has no parameter {name!r}; it has: {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=self.multi_label),
            classifier_tags=ClassifierTags(multi_label=self.multi_label),
            input_tags=InputTags(string=True, two_d_array=False),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def __repr__(self) -> str:
        return f"LinearHead({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    # -- saving ------------------------------------------------------------------------------

    def to_tensors(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Arrays for safetensors and plain data for JSON, without the embedder."""
        self._check_fitted()
        tensors: dict[str, npt.NDArray[Any]] = {
            "weight": self._weight,
            "bias": self._bias,
            "thresholds": self.thresholds_,
        }
        data = {name: getattr(self, name) for name in _PARAMETERS if name not in ("embedder", "class_weight")}
        weights = self.class_weight
        data["class_weight"] = dict(weights) if isinstance(weights, Mapping) else weights
        return tensors, {**data, "classes": self.classes_.tolist(), "temperature": self.temperature_}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, npt.NDArray[Any]], data: Mapping[str, Any], embedder: Embedder
    ) -> LinearHead:
        """Make a trained head from what `to_tensors` gave, and the embedder it was trained with.

        Raises:
            ConfigError: The parts do not fit together.
        """
        made = cls(embedder, **{name: data[name] for name in _PARAMETERS if name != "embedder"})
        made.classes_ = np.array([str(name) for name in data["classes"]])
        made.temperature_ = float(data["temperature"])
        made._embedder = embedder
        made._weight, made._bias, made.thresholds_ = tensors["weight"], tensors["bias"], tensors["thresholds"]
        labels, width = len(made.classes_), len(made._weight)
        shapes = made._weight.shape, made._bias.shape, made.thresholds_.shape
        if shapes != ((width, labels), (labels,), (labels,)) or not made.temperature_ > 0:
            raise ConfigError(f"its tensors do not fit its {labels} labels; it is damaged, train it again")
        return made

    @property
    def fitted_embedder(self) -> Embedder:
        """The embedder that the head was trained with."""
        self._check_fitted()
        return self._embedder
