"""A head over text embeddings for vLLM: the encoder as vLLM serves it, and the head beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.embed.joined import WithWords
from labelspace.embed.sentences import SentenceEmbedder
from labelspace.errors import ConfigError
from labelspace.finetune.export.check import probes
from labelspace.finetune.export.vllm import replace
from labelspace.finetune.store import load_classifier, save_model
from labelspace.serve.outer_head import FOLDER, outer_head
from labelspace.serve.served import Served

TOLERANCE = 1e-5
"""Largest difference of a probability that passes."""


def export_embedded(source: str | Path, out: str | Path, *, embedder: str | None = None) -> tuple[Served, float]:
    """Export a head over the vectors of a sentence-transformers model, nearest neighbours included.

    vLLM serves a copy of that model; the head, with TF-IDF where that stands beside, is applied to what it gives.

    Args:
        source: Folder of the model.
        out: Folder to make.
        embedder: Where the encoder is, if it has moved.

    Returns:
        What it serves, and the largest difference of a probability, with vectors by the copy.

    Raises:
        ConfigError: vLLM has nothing to do in it.
    """
    classifier = load_classifier(source, embedder=embedder, cached=False)
    head: Any = classifier.head
    fitted = head.fitted_embedder
    inner = fitted.inner if isinstance(fitted, WithWords) else fitted
    encoder = Path(inner.model).expanduser() if isinstance(inner, SentenceEmbedder) else Path("-")
    if not isinstance(inner, SentenceEmbedder) or not encoder.is_dir():
        raise ConfigError(
            f"the embedder {inner.name!r} is no folder that vLLM could serve; serve it with: labelspace serve "
            "MODEL_DIR --engine local, or export it with --to onnx"
        )
    texts = [text for text in probes(classifier.names) if text.strip()]
    wanted = head.predict_proba(texts)
    longest = int(inner._encoder.max_seq_length)

    def write(folder: Path) -> tuple[Served, float]:
        for path in encoder.iterdir():
            if not path.name.startswith("."):
                (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
        save_model(folder / FOLDER, head, classifier.space)
        served = Served(
            model=folder.name,
            head=head.kind,
            space=classifier.space,
            names=tuple(classifier.names),
            thresholds=tuple(map(float, head.thresholds_)) if head.multi_label else None,
            asks="embed",
            temperature=float(head.temperature_),
            truncate=longest,
            flags=("--runner", "pooling", "--dtype", "float32", "--max-model-len", str(longest),
                   "--pooler-config", json.dumps({"task": "embed"})),
        )  # fmt: skip
        served.save(folder)
        found = outer_head(folder)(texts, list(SentenceEmbedder(str(folder)).embed(texts)))
        worst = float(np.abs(np.asarray(found) - wanted).max())
        if not worst <= TOLERANCE:
            raise ConfigError(f"nothing was exported: a probability is off by {worst:.2g}")
        return served, worst

    return replace(Path(out), write)
