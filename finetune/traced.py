"""A fine-tuned head as a graph of ONNX Runtime, which on a CPU runs small models several times as fast as torch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelspace.embed.onnx import open_graph, run_graph
from labelspace.errors import ConfigError, MissingExtra
from labelspace.finetune.text_head import TextHead
from labelspace.readout import to_probabilities

GRAPH = "classifier.onnx"
MOST_BYTES = 1 << 30
"""Of weights: a file of ONNX holds no more than twice that, and a large model gains little."""
_OPSET = 17


class TracedHead:
    """What a `TextHead` says, by a graph: texts to probabilities. Several threads may ask it at once."""

    def __init__(self, head: TextHead, graph: Path, *, batch_size: int, threads: int | None) -> None:
        """Take what belongs to the graph.

        Args:
            head: What it was made of; its weights are not kept.
            graph: What `trace` wrote.
            batch_size: Texts of one run.
            threads: Cores of one run; all of them if None.
        """
        from tokenizers import Tokenizer

        self.multi_label, self.classes_, self.thresholds_ = head.multi_label, head.classes_, head.thresholds_
        self._size, self._temperature = batch_size, np.float32(head.temperature_)
        self._stand_in = head._encode([""])[0]
        # A copy of its own: transformers sets truncation anew at each call, which other threads must not see.
        self._tokenizer = Tokenizer.from_str(head.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(head.max_length, direction=head.tokenizer.truncation_side)
        self._session = open_graph(graph, threads=threads)

    def predict_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Probabilities [n, k]: rows that sum to 1, or one probability a label if multi-label."""
        if not len(texts):
            return np.zeros((0, len(self.classes_)), np.float32)
        rows = [encoded.ids or self._stand_in for encoded in self._tokenizer.encode_batch_fast(list(texts))]
        logits = run_graph(self._session, rows, batch_size=self._size) / self._temperature
        return to_probabilities(logits, multi_label=self.multi_label)


def trace(head: TextHead, path: Path) -> None:
    """Write the graph of a head: input_ids, attention_mask [n, length] -> logits [n, k].

    Args:
        head: A trained head on a CPU, in float32.
        path: Of the graph.

    Raises:
        ConfigError: It is none that can be traced.
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx  # noqa: F401 - torch asks for it when it has traced all
        import torch
    except ImportError as error:
        raise MissingExtra(str(error.name), "onnx") from error
    from labelspace.finetune.batches import Batch

    model = head._trained()
    weight = next(model.parameters())
    if weight.device.type != "cpu" or head.dtype != "float32" or head.quantization != "none" or head.legacy_padding:
        raise ConfigError("only a float32 head on a CPU, without the reference's padding leak, goes into a graph")
    if sum(one.numel() for one in model.parameters()) * 4 > MOST_BYTES:
        raise ConfigError(f"its weights take more than {MOST_BYTES >> 20:,} MB")
    if getattr(head.tokenizer, "backend_tokenizer", None) is None:
        raise ConfigError("its tokenizer is none of Hugging Face's fast ones")
    model = copy.deepcopy(model).eval()
    if head.tuning == "lora":
        model.backbone.model = model.backbone.model.merge_and_unload()
    model.backbone.model.set_attn_implementation("eager")  # the kernels of torch can't be traced

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.model(Batch(ids, mask, None, None))

    rows = {name: {0: "n", 1: "length"} for name in ("input_ids", "attention_mask")}
    ids, mask = torch.full((2, 7), 5, dtype=torch.long), torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of what might not hold for other inputs: the comparison tells
        torch.onnx.export(
            Logits(),
            (ids, mask),
            str(path),
            dynamo=False,
            input_names=list(rows),
            output_names=["logits"],
            dynamic_axes={**rows, "logits": {0: "n"}},
            opset_version=_OPSET,
        )
