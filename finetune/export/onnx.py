"""A head over text embeddings in ONNX: its encoder as a graph, and a linear head as another.

    model.json, model.safetensors, vocabulary.json   as `labelspace train` writes them; the embedder is `onnx:encoder`
    encoder/encoder.onnx    input_ids, attention_mask [n, length] -> embedding [n, d], rows of length 1
    encoder/tokenizer.json  of Hugging Face's tokenizers
    head.onnx               vectors [n, d] -> probabilities [n, k]; of a linear head

Another head, such as nearest neighbours, is what model.safetensors holds: numpy applies it, as it does without ONNX.
TF-IDF, alone or beside an encoder, stays numpy: the vectors that `head.onnx` takes are the encoder's, then those of
TF-IDF, at the lengths that `WithWords` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from labelspace.embed.joined import WithWords
from labelspace.embed.onnx import OnnxEmbedder
from labelspace.embed.sentences import SentenceEmbedder
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.embed.trace import trace_encoder
from labelspace.errors import ConfigError, MissingExtra
from labelspace.finetune.export.check import probes
from labelspace.finetune.export.folder import written_whole
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import EMBEDDED, MODEL, load_classifier, read_model, save_model

ENCODER, HEAD = "encoder", "head.onnx"
TOLERANCE = 1e-5
"""Largest difference of a probability that passes."""
_OPSET = 17


def export_onnx(source: str | Path, out: str | Path, *, embedder: str | None = None) -> float:
    """Export a head over text embeddings and its encoder.

    Args:
        source: Folder of the model.
        out: Folder to make.
        embedder: Where the encoder is, if it has moved.

    Returns:
        The largest difference of a probability, over texts of all lengths and scripts.

    Raises:
        ConfigError: The head is none that goes into ONNX, or what was written does not say the same.
        MissingExtra: A package is not installed.
    """
    data = read_model(source)
    kind = data["head"]["kind"]
    if kind not in EMBEDDED:
        raise ConfigError(f"a {kind} head stands on a language model; export it with --to vllm")
    classifier = load_classifier(source, embedder=embedder, cached=False)
    head: Any = classifier.head
    texts = probes(classifier.names)
    wanted = head.predict_proba(texts)

    def write(folder: Path) -> float:
        fitted = head.fitted_embedder
        inner = fitted.inner if isinstance(fitted, WithWords) else fitted
        if not isinstance(inner, TfidfEmbedder):
            if not isinstance(inner, SentenceEmbedder):
                raise ConfigError(f"the embedder {inner.name} is no sentence-transformers model, so it has no graph")
            trace_encoder(inner.model, folder / ENCODER)
            moved: Any = OnnxEmbedder(folder / ENCODER, name=f"onnx:{ENCODER}")
            fitted = WithWords(moved, fitted.words, fitted.weight) if isinstance(fitted, WithWords) else moved
        tensors, settings = head.to_tensors()
        # Beside, because saving replaces a folder whole.
        save_model(
            folder / "model", EMBEDDED[kind].from_tensors(tensors, settings, fitted), classifier.space, data["card"]
        )
        for path in (folder / "model").iterdir():
            path.rename(folder / path.name)
        (folder / "model").rmdir()
        exported: Any = load_classifier(folder, cached=False).head
        found = [exported.predict_proba(texts)]
        if kind == LinearHead.kind:
            _write_head(folder / HEAD, tensors, float(head.temperature_), several=head.multi_label)
            found.append(_run(folder / HEAD, exported.fitted_embedder.embed(texts)))
        worst = max(float(np.abs(rows - wanted).max()) for rows in found)
        if not worst <= TOLERANCE:
            raise ConfigError(f"nothing was exported: in ONNX a probability is off by {worst:.2g}")
        return worst

    return written_whole(Path(out), MODEL, write)


def _write_head(path: Path, tensors: dict[str, Any], temperature: float, *, several: bool) -> None:
    """Write vectors [n, d] to probabilities [n, k]; the temperature is worked into the weights."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper, save
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    weight, bias = tensors["weight"] / np.float32(temperature), tensors["bias"] / np.float32(temperature)
    last = helper.make_node("Sigmoid", ["logits"], ["probabilities"])
    if not several:
        last = helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["vectors", "weight", "bias"], ["logits"]), last],
        "head",
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", weight.shape[0]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    # The versions that ONNX Runtime 1.20 reads too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))


def _run(path: Path, vectors: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"vectors": np.asarray(vectors, np.float32)})[0]
