"""`labelspace export --to vllm`: write, check, and only then give it its name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelspace.errors import ConfigError
from labelspace.finetune.export.check import compare, expected, found, probes
from labelspace.finetune.export.folder import written_whole
from labelspace.finetune.export.merged import write_merged
from labelspace.finetune.pooling import Pooling
from labelspace.finetune.store import read_model
from labelspace.finetune.tuned_store import KINDS, head_class
from labelspace.serve.served import FILE, Served
from labelspace.space import LabelSpace


def export_merged(source: str | Path, out: str | Path, *, base: str | None = None) -> tuple[Served, float]:
    """Export a trained head on a language model as a checkpoint for vLLM.

    Args:
        source: Folder of the model.
        out: Folder to make; an export that is there is replaced when the new one has passed.
        base: Where the base is, if it has moved.

    Returns:
        What it serves, and the largest difference of logits that transformers found between the two.

    Raises:
        ConfigError: vLLM can't serve it, or what was written does not say the same.
        DataError: The model is damaged, or `out` holds something else.
    """
    model, space = load_head(source, base=base)
    texts = probes(model.classes_)
    want, dtype = expected(model, texts), next(model.model.backbone.parameters()).dtype
    pooling: Pooling = getattr(model, "pooling", "last")

    def write(folder: Path) -> tuple[Served, float]:
        served = write_merged(model, space, folder)
        return served, compare(want, found(folder, served, pooling, texts), texts, dtype)

    return replace(Path(out), write)


def load_head(source: str | Path, *, base: str | None) -> tuple[Any, LabelSpace]:
    """A fine-tuned model on the CPU, and its space.

    Raises:
        ConfigError: It is no head on a language model.
    """
    data = read_model(source)
    kind = data["head"]["kind"]
    if kind not in KINDS:
        raise ConfigError(
            f"a {kind} head stands on an embedder, and has no adapter; serve it with: labelspace serve MODEL_DIR, or "
            "export it with --to vllm or --to onnx"
        )
    return head_class(kind).load(Path(source), base=base, device="cpu"), LabelSpace.from_data(data["space"])


def replace(out: Path, write: Callable[[Path], tuple[Served, float]]) -> tuple[Served, float]:
    """Write an export for vLLM, with its README, into a folder that appears when all went well."""

    def whole(folder: Path) -> tuple[Served, float]:
        served, difference = write(folder)
        (folder / "README.md").write_text(_readme(served, difference), encoding="utf-8")
        return served, difference

    return written_whole(out, FILE, whole)


def _readme(served: Served, difference: float) -> str:
    flags = " ".join(map(shlex.quote, served.flags))
    return (
        f"# {served.model}\n\nA `{served.head}` head for {len(served.names)} labels, exported by labelspace. "
        f"Loaded by transformers, what it says is within {difference:.1e} of what the model says.\n\n"
        f"    labelspace serve FOLDER --engine vllm\n    vllm serve FOLDER {flags}\n\n"
        f"Send `truncate_prompt_tokens: {served.truncate}` with each request and never `truncation_side`.\n"
        + (f"vLLM gives vectors (`/pooling`, task `{served.asks}`); `labelspace serve` and `VLLMClassifier` apply the "
           "head, which lies in `head`.\n" if served.has_outer_head else "")
    )  # fmt: skip
