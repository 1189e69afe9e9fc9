"""A trained classifier in the form that answers most texts a second on this machine.

On a CPU that is ONNX Runtime, one run a core, in runs of a few texts: measured against torch by `labelspace run
serve_speed`. What is made is compared with the model before it is used, and where it can't be made, torch it is.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelspace.embed import Embedder
from labelspace.embed.joined import WithWords
from labelspace.embed.onnx import OnnxEmbedder
from labelspace.embed.sentences import SentenceEmbedder
from labelspace.errors import ConfigError, LabelspaceError
from labelspace.finetune.classifier import Head, HeadClassifier
from labelspace.finetune.store import load_classifier, read_model
from labelspace.finetune.tuned_store import KINDS

Runtime = Literal["auto", "onnx", "torch"]
TOLERANCE = 1e-5
"""Largest difference of a probability that passes."""
RUN = 8
"""Texts of one run of ONNX Runtime: more are slower, as they no longer fit the caches of one core."""


@dataclass
class Ready:
    """A classifier that is ready to serve."""

    classifier: HeadClassifier
    """As it was trained."""
    head: Head
    """What to ask: the same, or a faster form of it."""
    threads: int = 1
    """How many may ask it at once."""
    batch_size: int = 64
    """Texts for which it is best asked at once."""
    remark: str = ""
    """What was done, for the log."""
    kept: ExitStack = field(default_factory=ExitStack)
    """Files that it needs until this is closed."""


def make_ready(folder: str | Path, *, embedder: str | Embedder | None = None, runtime: Runtime = "auto") -> Ready:
    """Load a model to serve it.

    Args:
        folder: Of the model, or of its export to ONNX.
        embedder: Replaces the embedder's specification, for one that has moved.
        runtime: What runs it; "auto" is ONNX Runtime where that is installed and says the same.

    Raises:
        ConfigError: With "onnx": it can't be had.
    """
    # What is asked is not known to be asked again, and a cache on disk would grow with it.
    classifier = load_classifier(folder, embedder=embedder, cached=False)
    if runtime == "torch":
        return Ready(classifier, classifier.head)
    try:
        return _in_onnx(Path(folder), classifier, embedder)
    except LabelspaceError as error:
        if runtime == "onnx":
            raise
        return Ready(classifier, classifier.head, remark=f"without ONNX Runtime: {str(error).splitlines()[0]}")
    except Exception as error:  # tracing and ONNX Runtime raise anything, where a layer has no form there
        if runtime == "onnx":
            raise ConfigError(f"{folder}: has no form in ONNX: {type(error).__name__}: {error}") from error
        return Ready(classifier, classifier.head, remark=f"without ONNX Runtime: {type(error).__name__} in tracing")


def _in_onnx(folder: Path, classifier: HeadClassifier, embedder: str | Embedder | None) -> Ready:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    is_tuned = read_model(folder)["head"]["kind"] in KINDS
    inner = None if is_tuned else encoder_of(classifier.head)
    if isinstance(inner, OnnxEmbedder):  # exported before, and compared then
        inner.batch_size, inner.threads = RUN, 1
        return Ready(classifier, classifier.head, cores, 2 * RUN)
    if not (is_tuned or isinstance(inner, SentenceEmbedder)):
        return Ready(classifier, classifier.head)
    for package in ("onnxruntime", "onnx", "tokenizers"):
        if find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed; for several times the speed: pip install 'labelspace[onnx]'"
            )
    if _has_gpu():
        raise ConfigError("there is a GPU, which torch uses")
    with ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labelspace-onnx-")))
        head, off = _traced(classifier, made) if is_tuned else _exported(folder, embedder, made)
        remark = f"runs in ONNX Runtime, {cores} at once; its probabilities are within {off:.0e} of the model's"
        return Ready(classifier, head, cores, 2 * RUN, remark, stack.pop_all())


def _traced(classifier: HeadClassifier, made: Path) -> tuple[Head, float]:
    """A language model, and by how much its probabilities are off over texts of all lengths and scripts."""
    from labelspace.finetune.export.check import probes
    from labelspace.finetune.traced import GRAPH, TracedHead, trace

    head: Any = classifier.head
    trace(head, made / GRAPH)
    found = TracedHead(head, made / GRAPH, batch_size=RUN, threads=1)
    texts = probes(classifier.names)
    off = float(np.abs(head.predict_proba(texts) - found.predict_proba(texts)).max())
    if not off <= TOLERANCE:
        raise ConfigError(f"in ONNX a probability is off by {off:.1g}")
    return found, off


def _exported(folder: Path, embedder: str | Embedder | None, made: Path) -> tuple[Head, float]:
    """A head over an encoder, likewise; the export has compared them."""
    from labelspace.finetune.export.onnx import export_onnx

    off = export_onnx(folder, made / "model", embedder=embedder if isinstance(embedder, str) else None)
    head: Any = load_classifier(made / "model", cached=False).head
    inner = encoder_of(head)
    inner.batch_size, inner.threads = RUN, 1
    return head, off


def encoder_of(head: Any) -> Any:
    """What embeds texts for a head, without the TF-IDF beside it."""
    fitted = head.fitted_embedder
    return fitted.inner if isinstance(fitted, WithWords) else fitted


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
