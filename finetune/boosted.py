"""Gradient-boosted trees over text embeddings, by LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from labelspace.embed import Embedder
from labelspace.errors import MissingExtra
from labelspace.finetune.embedded import EmbeddingHead, Learned
from labelspace.finetune.logistic import Doubles


class BoostedHead(EmbeddingHead):
    """Trees over text embeddings: one ensemble over all labels, or one a label if a text has several.

    The form that TnT-LLM distils into (arXiv 2403.12173), with 31 leaves. A text with soft labels counts as one row a
    label, weighted by its share. Saved as LightGBM's text format, which is read and never executed.
    """

    kind = "lightgbm"

    def __init__(
        self,
        embedder: str | Embedder = "tfidf",
        *,
        multi_label: bool = False,
        words: float = 0.5,
        trees: int = 100,
        leaves: int = 31,
        depth: int = 5,
        learning_rate: float = 0.1,
        min_texts: int = 5,
        features: float = 0.2,
        penalty: float = 1.0,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        calibrate: bool = True,
        seed: int = 0,
    ) -> None:
        """Set the parameters; nothing is loaded yet.

        Args:
            embedder: A specification (see `load_embedder`), or an embedder.
            multi_label: Whether a text can have several labels, or none.
            words: Weight of TF-IDF beside the embedder; 0 for none.
            trees: Rounds of boosting.
            leaves: Most leaves of a tree.
            depth: Most splits on the way to a leaf.
            learning_rate: Share of each round that is kept.
            min_texts: Fewest texts in a leaf.
            features: Share of the numbers of an embedding that each tree may split on.
            penalty: Squared, on what a leaf adds. With none, the first trees of a hundred labels leap so far that
                the rest never recover.
            class_weight: Weight by label; "balanced" gives each label the same weight in all.
            calibrate: Whether to set temperature and thresholds on held-out folds.
            seed: Of the trees and folds.
        """
        self.embedder = embedder
        self.multi_label = multi_label
        self.words = words
        self.trees, self.leaves, self.depth = trees, leaves, depth
        self.learning_rate, self.min_texts = learning_rate, min_texts
        self.features, self.penalty = features, penalty
        self.class_weight = class_weight
        self.calibrate = calibrate
        self.seed = seed
        self._read: tuple[Learned, list[Any]] | None = None

    def learn(self, vectors: Doubles, targets: Doubles, weights: Doubles, positive: Doubles | None) -> Learned:
        """Ensembles in LightGBM's text format, as bytes."""
        inputs, labels = vectors.astype(np.float32), targets.shape[1]
        if not self.multi_label:
            rows, owner = np.nonzero(targets)
            return {"ensemble0": self._ensemble(inputs[rows], owner, weights[rows] * targets[rows, owner], labels)}
        each = np.ones(labels) if positive is None else positive
        found: Learned = {}
        for label in range(labels):
            share = targets[:, label]
            yes, no = np.flatnonzero(share > 0), np.flatnonzero(share < 1)
            counts = np.concatenate([weights[yes] * share[yes] * each[label], weights[no] * (1 - share[no])])
            wanted = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
            found[f"ensemble{label}"] = self._ensemble(inputs[np.concatenate([yes, no])], wanted, counts, 1)
        return found

    def apply(self, learned: Learned, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Logits [n, k] of vectors [n, d]."""
        inputs = vectors.astype(np.float32)
        scores = [booster.predict(inputs, raw_score=True) for booster in self._boosters(learned)]
        return np.stack(scores, axis=1) if self.multi_label else np.asarray(scores[0])

    def shape(self, learned: Learned) -> tuple[int, int]:
        """Numbers that it reads of a text, and labels."""
        boosters = self._boosters(learned)
        labels = len(boosters) if self.multi_label else boosters[0].num_model_per_iteration()
        return boosters[0].num_feature(), labels

    def _ensemble(
        self, inputs: npt.NDArray[Any], wanted: npt.NDArray[Any], counts: Doubles, labels: int
    ) -> npt.NDArray[Any]:
        lightgbm = _lightgbm()
        settings = {
            "objective": "binary" if self.multi_label else "multiclass",
            "num_class": labels,
            "num_leaves": self.leaves,
            "max_depth": self.depth,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_texts,
            "min_sum_hessian_in_leaf": 1e-3,
            "feature_fraction": self.features,
            "lambda_l2": self.penalty,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        rows = lightgbm.Dataset(inputs, wanted, weight=counts, params={"verbosity": -1, "min_data_in_bin": 1})
        booster = lightgbm.train(settings, rows, num_boost_round=self.trees)
        return np.frombuffer(booster.model_to_string().encode(), dtype=np.uint8)

    def _boosters(self, learned: Learned) -> list[Any]:
        if self._read is None or self._read[0] is not learned:
            lightgbm = _lightgbm()
            texts = [learned[f"ensemble{at}"].tobytes().decode() for at in range(len(learned))]
            try:
                self._read = learned, [lightgbm.Booster(model_str=text) for text in texts]
            except lightgbm.basic.LightGBMError as error:
                raise ValueError(str(error)) from error
        return self._read[1]


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise MissingExtra("lightgbm", "boost") from error
    return lightgbm
