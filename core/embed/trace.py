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
POOL = "pool"
"""The input by which a packed graph is known."""
TOLERANCE = 1e-5
"""Largest difference of a coordinate that passes."""
_OPSET = 17
_PROBES = ("a", "Where is my parcel?", "日本語のテキスト", "parcel " * 40, "Where is the second payment? " * 400)


def trace_encoder(model: str, folder: Path, *, packed: bool = False) -> None:
    """Write the graph, the tokenizer and the settings of an encoder.

    Args:
        model: Folder or Hub name of a sentence-transformers model.
        folder: Made here.
        packed: Have texts stand behind each other in one row instead of padded below each other, where the encoder is
            a BERT whose states are averaged (see `labelspace.embed.onnx.run_packed`).

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

    class Packed(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder[0].auto_model

        def forward(self, ids: Any, positions: Any, pool: Any) -> Any:
            hidden = self.model.embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))
            apart = pool.T @ pool == 0  # tokens of different texts
            seen = torch.zeros_like(apart, dtype=hidden.dtype).masked_fill(apart, torch.finfo(hidden.dtype).min)
            for layer in self.model.encoder.layer:
                found = layer(hidden, seen[None, None])
                hidden = found[0] if isinstance(found, tuple) else found
            return torch.nn.functional.normalize(pool @ hidden[0], dim=1)

    example = torch.full((2, 7), 5, dtype=torch.long)
    inputs: tuple[Any, ...] = (example, torch.ones_like(example))
    axes: dict[str, dict[int, str]] = {name: {0: "n", 1: "length"} for name in ("input_ids", "attention_mask")}
    if packed and _averages_bert(encoder):
        pool = torch.zeros(2, 7)
        pool[0, :4], pool[1, 4:] = 1 / 4, 1 / 3
        inputs = (example[:1], torch.tensor([[0, 1, 2, 3, 0, 1, 2]]), pool)
        axes = {"input_ids": {1: "length"}, "position_ids": {1: "length"}, POOL: {0: "n", 1: "length"}}
    folder.mkdir()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of what might not hold for other inputs: the comparison tells
        torch.onnx.export(
            Packed() if POOL in axes else Encoder(),
            inputs,
            str(folder / GRAPH),
            dynamo=False,
            input_names=list(axes),
            output_names=["embedding"],
            dynamic_axes={**axes, "embedding": {0: "n"}},
            opset_version=_OPSET,
        )
    tokenizer = encoder.tokenizer
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    (folder / SETTINGS).write_text(json.dumps({"max_length": int(encoder.max_seq_length)}) + "\n", encoding="utf-8")


def _averages_bert(encoder: Any) -> bool:
    """Whether it is nothing but a BERT and the mean of its states."""
    kinds = [type(module).__name__ for module in encoder]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Normalize"}:
        return False
    pooling = encoder[1].get_config_dict()
    # Told by one name, or by a flag for each way, as the version of sentence-transformers is.
    named = pooling.get("pooling_mode") in ("mean", ("mean",), ["mean"])
    flags = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
    is_bert: bool = encoder[0].auto_model.config.model_type == "bert"
    return is_bert and (named or flags == ["pooling_mode_mean_tokens"])


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

    folder = cache / "onnx" / "".join(c if c.isalnum() else "-" for c in f"packed-{encoder.version}")
    if (folder / GRAPH).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as beside:
        made = Path(beside) / "encoder"
        trace_encoder(encoder.model, made, packed=True)
        off = float(np.abs(OnnxEmbedder(made).embed(_PROBES) - encoder.embed(_PROBES)).max())
        if not off <= TOLERANCE:
            raise ConfigError(f"{encoder.model}: in ONNX a vector is off by {off:.2g}; use it as it is, without onnx:")
        try:
            made.replace(folder)
        except OSError:  # another process was faster
            if not (folder / GRAPH).exists():
                raise
    return folder
