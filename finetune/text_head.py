"""Fine-tuned classifiers of texts: labels in and out, in scikit-learn's manner.

Concrete ones say how their model is built: `LabelSupervised` in `ls.py`, `PTEC` in `ptec.py`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.adapters import LoraSettings, Tuning
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import Dtype, Quantization
from labelspace.finetune.batches import Example
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.logistic import ENOUGH_POSITIVES, fit_temperature, fit_thresholds, sigmoid
from labelspace.finetune.losses.choice import check_targets, loss_of
from labelspace.finetune.losses.noise import EarlyLearning
from labelspace.finetune.pooling import Pooling, check_pooling
from labelspace.finetune.targets import Labels, Metric, as_shares, as_targets, check_weights, find_classes, score
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss


class TextHead(FineTuned, ABC):
    """A backbone with a head that gives texts their labels."""

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool,
        classes: Sequence[str] | None,
        pooling: Pooling,
        unmask_from: int | None,
        tuning: Tuning,
        lora: LoraSettings | None,
        pos_weight: bool,
        loss: Loss | str | None,
        loss_options: Mapping[str, float] | None,
        metric: Metric | None,
        max_length: int,
        dtype: Dtype,
        quantization: Quantization,
        legacy_padding: bool,
        training: TrainSettings,
    ) -> None:
        """Keep the settings; nothing is loaded yet. See the concrete classes for what they mean."""
        super().__init__(
            base,
            classes=classes,
            unmask_from=unmask_from,
            tuning=tuning,
            lora=lora,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            legacy_padding=legacy_padding,
            training=training,
        )
        check_pooling(pooling)
        self.multi_label, self.pooling = multi_label, pooling
        self.pos_weight, self.loss, self.loss_options = pos_weight, loss, loss_options
        self.metric: Metric = metric or ("macro-f1" if multi_label else "accuracy")
        self.thresholds_: npt.NDArray[np.float64] = np.full(len(self.classes_), 0.5)
        self.temperature_ = 1.0
        """Logits are divided by it before they become probabilities; `calibrate` sets it."""

    def fit(
        self,
        texts: Sequence[str],
        labels: Labels,
        *,
        sample_weight: Sequence[float] | None = None,
        dev: tuple[Sequence[str], Labels] | None = None,
        folder: str | Path | None = None,
    ) -> TextHead:
        """Train.

        Args:
            texts: What to learn from.
            labels: A label each, or labels each if multi-label, or probabilities.
            sample_weight: What each text counts in the loss, 0 or more.
            dev: Texts and labels by which the best epoch is chosen; None takes the last.
            folder: Where the state of the run is kept, so that the same call goes on after a stop.

        Returns:
            Itself.

        Raises:
            DataError: Texts and labels don't match, or there is nothing to learn.
        """
        if len(texts) != len(labels):
            raise DataError(f"there are {len(texts)} texts but {len(labels)} labels")
        self.classes_ = list(self.classes or find_classes(labels, multi_label=self.multi_label))
        if not self.classes_ or not len(texts):
            raise DataError("there is nothing to learn: no text has a label", advice="check the label column")
        self.thresholds_, self.temperature_ = np.full(len(self.classes_), 0.5), 1.0
        targets = as_targets(labels, self.classes_, multi_label=self.multi_label)
        weights = check_weights(sample_weight, len(texts))
        loss = self._loss_for(targets)
        if any(weight != 1 for weight in weights) and not _takes_weights(loss):
            raise ConfigError("the loss takes no argument `weights`, and texts have weights; leave out sample_weight")
        if isinstance(loss, EarlyLearning):
            targets = np.stack([targets, np.arange(len(targets))], axis=1).astype(np.float32)
        self._prepare()
        examples = [
            Example(ids, target, weight=weight)
            for ids, target, weight in zip(self._encode(texts), targets, weights, strict=True)
            if weight
        ]
        self._train(examples, loss, None if dev is None else self._scorer(*dev), folder)
        return self

    def calibrate(self, texts: Sequence[str], labels: Labels) -> TextHead:
        """Set the temperature, so that probabilities are as sure as they may be, and the thresholds of several labels.

        No likeliest label changes. A label is given from the probability on that has the best F1 here; where fewer
        than `ENOUGH_POSITIVES` labels are given in all, thresholds stay at one half.

        Rows that are all answered rightly would ask for a temperature of zero. So none is taken as quite certain, by
        as much as one row more would leave open (Platt, "Probabilistic outputs for support vector machines", 1999).

        Args:
            texts: Rows that were not learned from, such as those of dev.
            labels: As for `fit`.

        Returns:
            Itself.
        """
        targets = as_shares(as_targets(labels, self.classes_, multi_label=self.multi_label), len(self.classes_))
        doubt = 1 / (len(targets) + 2)
        softened = targets * (1 - doubt) + doubt / (2 if self.multi_label else len(self.classes_))
        logits = self.decision_function(texts).astype(np.float64)
        self.temperature_ = float(fit_temperature(logits, softened, exclusive=not self.multi_label))
        if self.multi_label and (targets > 0.5).sum() >= ENOUGH_POSITIVES:
            self.thresholds_ = fit_thresholds(sigmoid(logits / self.temperature_), targets)
        return self

    def score(self, texts: Sequence[str], labels: Labels) -> float:
        """The metric by which epochs are chosen, of what `predict` gives."""
        chances = self.predict_proba(texts)
        # Signs and the highest alone count, so that what is at its threshold stands for a logit of 0.
        decided = chances - self.thresholds_.astype(np.float32) if self.multi_label else chances
        targets = as_targets(labels, self.classes_, multi_label=self.multi_label)
        return score(decided, targets, metric=self.metric, multi_label=self.multi_label)

    def decision_function(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Logits [n, k], columns as in `classes_`."""
        return self._logits([Example(ids) for ids in self._encode(texts)])

    def predict_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Probabilities [n, k]: rows that sum to 1, or one probability a label if multi-label."""
        logits = torch.from_numpy(self.decision_function(texts)) / self.temperature_
        found: npt.NDArray[np.float32] = (logits.sigmoid() if self.multi_label else logits.softmax(dim=1)).numpy()
        return found

    def predict(self, texts: Sequence[str]) -> list[str] | list[list[str]]:
        """The likeliest label of each text, or all labels at or above their thresholds if multi-label."""
        probabilities = self.predict_proba(texts)
        if not self.multi_label:
            return [self.classes_[i] for i in probabilities.argmax(axis=1)]
        return [[self.classes_[i] for i in np.flatnonzero(row >= self.thresholds_)] for row in probabilities]

    def _loss_for(self, targets: npt.NDArray[Any]) -> Loss:
        if self.loss is not None and not isinstance(self.loss, str):
            if self.loss_options:
                raise ConfigError("loss_options are for a loss that is named; bind them to the function")
            return self.loss
        several = "pos-weight" if self.pos_weight else "bce"
        name = self.loss or (several if self.multi_label else "cross-entropy")
        if not self.multi_label:
            check_targets(name, soft=targets.ndim == 2)
        counts = counts_of(targets, len(self.classes_))
        options = self.loss_options
        return loss_of(name, counts, multi_label=self.multi_label, warmup=len(targets), options=options)

    def _learned(self, data: dict[str, Any] | None = None) -> dict[str, Any]:
        if data is not None:
            self.thresholds_ = np.asarray(data["thresholds"], dtype=np.float64)
            self.temperature_ = float(data.get("temperature", 1.0))
        return {"thresholds": self.thresholds_.tolist(), "temperature": self.temperature_}

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        self._trained()
        return encode_texts(self.tokenizer, texts, max_length=self.max_length)[0]

    def _logits(self, examples: list[Example]) -> npt.NDArray[np.float32]:
        rows = self._run(examples)
        return np.stack(rows) if rows else np.zeros((0, len(self.classes_)), np.float32)

    def _scorer(self, texts: Sequence[str], labels: Labels) -> Callable[[], float]:
        examples = [Example(ids) for ids in self._encode(texts)]
        targets = as_targets(labels, self.classes_, multi_label=self.multi_label)
        return lambda: score(self._logits(examples), targets, metric=self.metric, multi_label=self.multi_label)


def _takes_weights(loss: Loss) -> bool:
    arguments = signature(loss.forward if isinstance(loss, torch.nn.Module) else loss).parameters
    return "weights" in arguments or any(one.kind is one.VAR_KEYWORD for one in arguments.values())


def counts_of(targets: npt.NDArray[Any], labels: int) -> list[int]:
    """Training rows of each label; shares are summed."""
    if targets.ndim == 1:
        return [int(count) for count in np.bincount(targets, minlength=labels)]
    return [round(float(total)) for total in targets.sum(axis=0)]
