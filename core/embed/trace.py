"""A sentence-transformers model as a graph of ONNX Runtime, which embeds single texts two to three times as fast."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from labelspace.embed.sentences import SentenceEmbedder
from labelspace.errors import ConfigError, MissingExtra

GRAPH, TOKENIZER, SETTINGS = "encoder.onnx", "tokenizer.json", "encoder.json"
TOLERANCE = 1e-5
"""Largest difference of a coordinate that passes."""
_OPSET = 17
_PROBES = ("a", "Where is my parcel?", "日本語のテキスト", "parcel " * 40, "Where is the second payment? " * 400)


def trace_encoder(model: str, folder: Path) -> None:
    """Write the graph, the tokenizer and the settings of an encoder.

    Args:
        model: Folder or Hub name of a sentence-transformers model.
        folder: Made here.

    Raises:
        MissingExtra: A package is not installed.
    """
    try:
        import onnx  # noqa: F401 - torch asks for it when it has traced all
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra(str(error.name), "onnx") from error
    # The kernels of torch can't be traced; those written out are the same.
    encoder = SentenceTransformer(model, device="cpu", model_kwargs={"attn_implementation": "eager"}).eval()

    class Encoder(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder

        def forward(self, ids: Any, mask: Any) -> Any:
            found = self.model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]
            return torch.nn.functional.normalize(found, dim=1)

    folder.mkdir()
    rows: dict[str, dict[int, str]] = {name: {0: "n", 1: "length"} for name in ("input_ids", "attention_mask")}
    example = torch.full((2, 7), 5, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what might not hold for other inputs: the comparison tells
        torch.onnx.export(
            Encoder(),
            (example, torch.ones_like(example)),
            str(folder / GRAPH),
            dynamo=False,
            input_names=list(rows),
            output_names=["embedding"],
            dynamic_axes={**rows, "embedding": {0: "n"}},
            opset_version=_OPSET,
        )
    tokenizer = encoder.tokenizer
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    (folder / SETTINGS).write_text(json.dumps({"max_length": int(encoder.max_seq_length)}) + "\n", encoding="utf-8")


def traced(encoder: SentenceEmbedder, cache: Path) -> Path:
    """The folder of an encoder's graph, written at the first call and kept.

    Args:
        encoder: The encoder itself, with which the graph is compared.
        cache: Where graphs are kept, by the encoder's version.

    Raises:
        ConfigError: The graph does not say what the encoder says.
        MissingExtra: A package is not installed.
    """
    from labelspace.embed.onnx import OnnxEmbedder

    folder = cache / "onnx" / "".join(c if c.isalnum() else "-" for c in encoder.version)
    if (folder / GRAPH).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as beside:
        made = Path(beside) / "encoder"
        trace_encoder(encoder.model, made)
        off = float(np.abs(OnnxEmbedder(made).embed(_PROBES) - encoder.embed(_PROBES)).max())
        if not off <= TOLERANCE:
            raise ConfigError(f"{encoder.model}: in ONNX a vector is off by {off:.2g}; use it as it is, without onnx:")
        try:
            made.replace(folder)
        except OSError:  # another process was faster
            if not (folder / GRAPH).exists():
                raise
    return folder
