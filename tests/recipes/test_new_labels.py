"""The accuracies of new_labels, by hand."""

from __future__ import annotations

import numpy as np

from labelspace.recipes.new_labels import score
from labelspace.records import Record


def test_new_labels_are_scored_among_the_new_and_among_all() -> None:
    names = ["a", "b", "x", "y"]
    asked = [Record(str(at), label, (label,)) for at, label in enumerate(["x", "y", "y", "a", "b"])]
    logits = np.array(
        [
            [0.9, 0.0, 0.5, 0.1],  # right among the new alone
            [0.0, 0.1, 0.3, 0.8],  # right
            [0.0, 0.0, 0.9, 0.8],  # wrong
            [0.7, 0.1, 0.6, 0.2],  # right
            [0.7, 0.6, 0.1, 0.2],  # wrong
        ]
    )
    np.testing.assert_allclose(score(logits, asked, names, {"x", "y"}), [2 / 3, 1 / 3, 1 / 2])
