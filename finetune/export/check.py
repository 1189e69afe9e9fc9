"""Whether an exported checkpoint, loaded by transformers alone, says what the model says that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import ConfigError
from labelspace.finetune.align import encode_texts
from labelspace.finetune.batches import Example
from labelspace.finetune.export.tokens import PIECE
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.pooling import Pooling, pool
from labelspace.serve.served import Served

Rows = list[npt.NDArray[np.float32]]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest difference of logits that passes, as a share of the largest logit; by the precision of the weights."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' remarks and bars."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


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
    return model._run([Example(row, words=range(len(row)) if words else None) for row in ids])


def found(folder: Path, served: Served, pooling: Pooling, texts: Sequence[str], *, adapter: Path | None = None) -> Rows:
    """Logits by transformers, and peft for an adapter, from the exported folder."""
    from safetensors import safe_open
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with quiet():  # it would say that it has no place for the bias of a head; we add that ourselves
        whole = AutoModelForSequenceClassification.from_pretrained(str(folder), dtype="auto").eval()
    if adapter is not None:
        whole = _adapted(whole, adapter, len(served.names))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    bias: torch.Tensor | float = 0.0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as tensors:
            if "score.bias" in tensors.keys():  # noqa: SIM118 - not a mapping
                bias = tensors.get_tensor("score.bias").float()
    stack, rows = getattr(whole, whole.base_model_prefix), []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=served.truncate)["input_ids"]
            if not text:
                ids = list(served.empty or ())
            hidden = stack(input_ids=torch.tensor([ids])).last_hidden_state
            logits = whole.score(hidden).float() + bias
            if served.task == "classify":
                # The head is linear, so that the mean of logits is the logit of the mean.
                logits = pool(logits, torch.ones(1, len(ids), dtype=torch.long), pooling)
            rows.append(logits[0].numpy())
    return rows


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
