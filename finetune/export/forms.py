"""How vLLM serves a trained head: by classes of its own where it has them, by our plugin where not, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import find_layers
from labelspace.finetune.export.plugin import DECODERS
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.pooling import Pooling
from labelspace.serve.outer_head import Pooled
from labelspace.serve.served import Asks

POOLINGS = {"last": "LAST", "mean": "MEAN", "first": "CLS"}
"""Ours to vLLM's own."""
ENCODERS = ("bert", "modernbert", "roberta", "xlm-roberta")
"""Types of encoders that vLLM 0.32 gives the same hidden states of as transformers does.

RoBERTa's kin with one exception: transformers does not count positions of a padding token that a text spells out.
"""
_PER_TOKEN: dict[Pooling, Pooled] = {"max": "max", "max-hidden": "max-hidden"}
_OTHER = "serve it with: labelspace serve MODEL_DIR --engine local"


@dataclass(frozen=True)
class Form:
    """How one head is served."""

    asks: Asks
    """What vLLM is asked for; where that are vectors, the head is applied outside."""
    plugin: bool
    """Whether vLLM needs our classes."""
    unmask_from: int = 0
    """First layer without causal mask, where the plugin has to know."""
    pooled: Pooled = "given"
    """Where it is pooled, with a head outside."""


def form_of(model: FineTuned) -> Form:
    """How vLLM serves a head with the same answers.

    Raises:
        ConfigError: It can't; with what does.
    """
    trained = model._trained()
    backbone = trained.backbone
    kind = str(backbone.config.get_text_config().model_type)
    pooling: Pooling = getattr(model, "pooling", "last")
    _refuse(model, kind)
    pooled = _PER_TOKEN.get(pooling, "given")
    outer = Form("embed" if pooled == "given" else "token_embed", plugin=False, pooled=pooled)
    if not backbone.is_causal:
        return Form("token_embed", plugin=False) if model.kind == "ls-token" else outer
    start = 0 if backbone.unmask_from is None else backbone.unmask_from % len(find_layers(backbone.model))
    partly = start > 0
    if model.kind == "ls-token":
        return Form("token_classify", plugin=partly, unmask_from=start)
    if isinstance(trained.head, torch.nn.Linear) and (pooling in POOLINGS or (pooling == "max" and kind in DECODERS)):
        return Form("classify", plugin=partly or pooling == "max", unmask_from=start)
    return Form(outer.asks, plugin=partly, unmask_from=start, pooled=outer.pooled)


def _refuse(model: FineTuned, kind: str) -> None:
    backbone = model._trained().backbone
    config = backbone.config.get_text_config()
    if not backbone.is_causal and kind not in ENCODERS:
        raise ConfigError(f"vLLM has no {kind}; of encoders it has {', '.join(ENCODERS)}. {_OTHER.capitalize()}")
    if model.legacy_padding:
        raise ConfigError("a model with the reference's padding leak answers by its neighbours in a batch; train anew")
    if model.quantization != "none":
        raise ConfigError(f"{model.quantization} weights can't be merged; train with quantization=none, or {_OTHER}")
    if backbone.unmask_from is not None:
        if kind not in DECODERS:
            raise ConfigError(f"vLLM does not lift the causal mask of {kind}; {_OTHER}")
        window = getattr(config, "sliding_window", None)
        if window is not None and getattr(config, "use_sliding_window", True) and window < longest(model):
            raise ConfigError(f"vLLM does not unmask a sliding window of {window} as we do; set max_length below it")
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and kind in ("roberta", "xlm-roberta"):
        most -= int(config.pad_token_id) + 1  # positions count from there
    if most is not None and longest(model) > most:
        raise ConfigError(f"the model reads {longest(model)} tokens, its prompt counted, but its base only {most}")


def longest(model: FineTuned) -> int:
    """Tokens of the longest text as the model sees it, its soft prompt counted."""
    prompt = model._trained().prompt
    return model.max_length + (0 if prompt is None else len(prompt))


def tokens_of_nothing(model: FineTuned) -> list[int]:
    """Ids of an empty text, without soft prompt."""
    from labelspace.finetune.align import encode_texts

    return encode_texts(model.tokenizer, [""], max_length=model.max_length)[0][0]
