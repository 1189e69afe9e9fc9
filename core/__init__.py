"""From a pile of text to a label space, labels you can trust, and a classifier you can serve."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelspace.agents.discover import discover
    from labelspace.agents.labeling.labeler import Labeler
    from labelspace.data import read_records
    from labelspace.errors import LabelspaceError
    from labelspace.finetune.linear import LinearHead
    from labelspace.finetune.store import load_classifier
    from labelspace.metrics import evaluate
    from labelspace.records import Classifier, Prediction, Record
    from labelspace.space import Label, LabelSpace
    from labelspace.space_diff import SpaceDiff

__version__ = "0.1.0"

_HOME = {
    "Classifier": "labelspace.records",
    "Label": "labelspace.space",
    "LabelSpace": "labelspace.space",
    "Labeler": "labelspace.agents.labeling.labeler",
    "LabelspaceError": "labelspace.errors",
    "LinearHead": "labelspace.finetune.linear",
    "Prediction": "labelspace.records",
    "Record": "labelspace.records",
    "SpaceDiff": "labelspace.space_diff",
    "discover": "labelspace.agents.discover",
    "evaluate": "labelspace.metrics",
    "load_classifier": "labelspace.finetune.store",
    "read_records": "labelspace.data",
}

__all__ = [
    "Classifier",
    "Label",
    "LabelSpace",
    "Labeler",
    "LabelspaceError",
    "LinearHead",
    "Prediction",
    "Record",
    "SpaceDiff",
    "discover",
    "evaluate",
    "load_classifier",
    "read_records",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used, so that `import labelspace` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module 'labelspace' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted([*globals(), *__all__])
