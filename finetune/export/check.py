"""Whether an exported checkpoint, loaded by transformers alone, says what the model says that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import ConfigError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import Backbone, quiet_hub
from labelspace.finetune.batches import Example
from labelspace.finetune.export.plugin import SETTINGS
from labelspace.finetune.export.tokens import PIECE
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.pooling import Pooling, pool
from labelspace.serve.outer_head import OuterHead
from labelspace.serve.served import Served

Rows = list[npt.NDArray[np.float32]]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest difference of logits that passes, as a share of the largest logit; by the precision of the weights."""


def probes(names: Sequence[str]) -> list[str]:
    """Texts that bring out what goes wrong: lengths, scripts, label names, and the name of the soft prompt."""
    words = ["Where", "is", "my", "parcel", "today", "?", "42", "the", "second", "payment", "Straße", "日本語", "😀"]
    return [
        "", "a", "Where is my parcel?", "  two  blanks ", "line\nline\ttab", "НЕТ", "مرحبا بالعالم", "日本語のテキスト",
        "👩‍👩‍👧 emoji é", PIECE, f"{PIECE}0 {PIECE}1", "<s> </s> <unk> [CLS] [SEP] <|endoftext|>",
        *names[:4],
        *[" ".join(words[(i * 7 + j) % len(words)] for j in range(length)) for i, length in enumerate((3, 17, 60))],
        " ".join(words[j % len(words)] for j in range(3000)),
    ]  # fmt: skip


def expected(model: FineTuned, texts: Sequence[str]) -> Rows:
    """Logits of the model itself: [k] for each text, or [tokens, k] for a tagger."""
    ids = encode_texts(model.tokenizer, texts, max_length=model.max_length)[0]
    words = model.kind == "ls-token"
    rows = model._run([Example(row, words=range(len(row)) if words else None) for row in ids])
    return [row / np.float32(getattr(model, "temperature_", 1.0)) for row in rows]


def found(folder: Path, served: Served, pooling: Pooling, texts: Sequence[str], *, adapter: Path | None = None) -> Rows:
    """Logits by transformers, and peft for an adapter, from the exported folder."""
    from transformers import AutoTokenizer

    whole, stack = _loaded(folder, outer=served.has_outer_head)
    if adapter is not None:
        whole = _adapted(whole, adapter, len(served.names))
    bias, rows = _bias(adapter or folder), []
    tokenizer = AutoTokenizer.from_pretrained(str(adapter if adapter and served.sends_ids else folder))
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=served.truncate)["input_ids"]
        if not text:
            ids = list(served.empty or ())
        with torch.inference_mode():
            hidden = stack(input_ids=torch.tensor([ids])).last_hidden_state
            mask = torch.ones(1, len(ids), dtype=torch.long)
            if served.has_outer_head:
                rows.append(_outside(folder, served, pool(hidden, mask, pooling) if served.asks == "embed" else hidden))
                continue
            logits = whole.score(hidden).float() + bias
            if served.task == "classify":
                # The head is linear, so that the mean of logits is the logit of the mean.
                logits = pool(logits, mask, pooling)
            rows.append(logits[0].numpy())
    return rows


def _loaded(folder: Path, *, outer: bool) -> tuple[Any, Any]:
    """The exported classifier and its stack, or the stack twice; unmasked from a middle layer on where it says so."""
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(str(folder))
    start = (getattr(config, SETTINGS, None) or {}).get("unmask_from") or None
    if start is not None:
        config.is_causal = True  # transformers would lift the mask of all layers
    auto: Any = AutoModel if outer else AutoModelForSequenceClassification
    with quiet_hub():  # it would say that it has no place for the bias of a head; we add that ourselves
        whole = auto.from_pretrained(str(folder), config=config, dtype="auto").eval()
    stack = whole if outer else getattr(whole, whole.base_model_prefix)
    if start is not None:
        Backbone(stack, unmask_from=start)
    return whole, stack


def _bias(folder: Path) -> torch.Tensor | float:
    """The bias of the head in a folder, for which transformers has no place."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if name.endswith("score.bias"):
                    return tensors.get_tensor(name).float()
    return 0.0


def _outside(folder: Path, served: Served, hidden: torch.Tensor) -> npt.NDArray[np.float32]:
    """What the head beside the export makes of hidden states."""
    head = OuterHead.load(folder)
    rows = hidden.float().numpy()
    return head.logits(rows[0]) if served.task == "token_classify" else head([""], [rows.reshape(-1)])[0]


def _adapted(whole: Any, adapter: Path, labels: int) -> Any:
    """The classifier with an adapter and its head, through peft."""
    from peft import PeftModel

    whole.score = torch.nn.Linear(whole.score.in_features, labels, bias=False)
    return PeftModel.from_pretrained(whole, str(adapter)).merge_and_unload().eval()


def compare(want: Rows, got: Rows, texts: Sequence[str], dtype: torch.dtype) -> float:
    """The largest difference.

    Raises:
        ConfigError: It is too large, or a text has another number of tokens.
    """
    scale = max(1.0, *(float(np.abs(row).max(initial=0)) for row in want))
    worst = 0.0
    for text, ours, theirs in zip(texts, want, got, strict=True):
        difference = float(np.abs(ours - theirs).max(initial=0)) if ours.shape == theirs.shape else np.inf
        if not difference <= TOLERANCE[dtype] * scale:
            raise ConfigError(
                f"nothing was exported: for the text {text[:40]!r} the export is off by {difference:.2g} of logits up "
                f"to {scale:.2g}; this kind of base can't be exported yet"
            )
        worst = max(worst, difference)
    return worst
