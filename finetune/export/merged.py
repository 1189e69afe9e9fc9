"""A trained head on a decoder as one checkpoint of transformers, in the form that stock vLLM serves.

The adapters are merged, the head is the layer `score`, an unmasked stack says `is_causal: false`, several labels
say `problem_type: multi_label_classification`, and a soft prompt becomes rows of the embedding table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import find_layers
from labelspace.finetune.export.check import quiet
from labelspace.finetune.export.plugin import DECODERS, MAX_POOLED
from labelspace.finetune.export.tokens import with_prompt
from labelspace.finetune.finetuned import FineTuned
from labelspace.serve.served import Served, Task
from labelspace.space import LabelSpace

POOLINGS = {"last": "LAST", "mean": "MEAN", "first": "CLS"}
"""Ours to vLLM's own."""


def refuse_unservable(model: FineTuned) -> None:
    """Refuse what stock vLLM, or our plugin, can't serve with the same answers.

    Raises:
        ConfigError: With what else to do.
    """
    trained = model._trained()
    backbone, other = trained.backbone, "serve it with: labelspace serve MODEL_DIR --engine local"
    config = backbone.config.get_text_config()
    pooling = getattr(model, "pooling", "last")
    if not backbone.is_causal:
        raise ConfigError(f"{model.base} is an encoder, which vLLM gives a pooler of its own; {other}")
    if not isinstance(trained.head, torch.nn.Linear):
        raise ConfigError(f"vLLM serves linear heads only, and this one is a {type(trained.head).__name__}; {other}")
    if pooling not in (*POOLINGS, "max"):
        raise ConfigError(f"vLLM does not pool by {pooling!r}; {other}")
    if pooling == "max" and config.model_type not in DECODERS:
        raise ConfigError(f"our plugin for vLLM has no max pooling for {config.model_type}; {other}")
    if model.legacy_padding:
        raise ConfigError("a model with the reference's padding leak answers by its neighbours in a batch; train anew")
    if model.quantization != "none":
        raise ConfigError(f"{model.quantization} weights can't be merged; train with quantization=none, or {other}")
    if backbone.unmask_from is not None:
        if backbone.unmask_from % len(find_layers(backbone.model)):
            raise ConfigError(f"vLLM can't unmask from layer {backbone.unmask_from} on, only all layers; {other}")
        if config.model_type not in DECODERS:
            raise ConfigError(f"vLLM does not lift the causal mask of {config.model_type}; {other}")
        window = getattr(config, "sliding_window", None)
        if window is not None and getattr(config, "use_sliding_window", True) and window < longest(model):
            raise ConfigError(f"vLLM does not unmask a sliding window of {window} as we do; set max_length below it")
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and longest(model) > most:
        raise ConfigError(f"the model reads {longest(model)} tokens, its prompt counted, but its base only {most}")


def longest(model: FineTuned) -> int:
    """Tokens of the longest text as the model sees it, its soft prompt counted."""
    prompt = model._trained().prompt
    return model.max_length + (0 if prompt is None else len(prompt))


def write_merged(model: FineTuned, space: LabelSpace, folder: Path) -> Served:
    """Write the checkpoint.

    Args:
        model: A trained model; it is changed and must not be used afterwards.
        space: The space of its labels.
        folder: Is made.

    Returns:
        What is said of it to servers and clients, which is written beside it too.

    Raises:
        ConfigError: vLLM can't serve it.
    """
    from transformers import AutoModelForSequenceClassification

    refuse_unservable(model)
    trained, labels = model._trained(), model.classes_
    stack = trained.backbone.model
    dtype = next(stack.parameters()).dtype
    if model.tuning == "lora":
        stack = stack.to(torch.float32).merge_and_unload()
    config = stack.config
    task: Task = "token_classify" if model.kind == "ls-token" else "classify"
    several = bool(getattr(model, "multi_label", False))
    config.id2label = dict(enumerate(labels))  # num_labels follows from it
    config.label2id = {name: number for number, name in enumerate(labels)}
    config.problem_type = "multi_label_classification" if several else "single_label_classification"
    config.use_cache = True
    if trained.backbone.unmask_from is not None:
        config.is_causal = False
    whole = AutoModelForSequenceClassification.from_config(config)
    if not isinstance(getattr(whole, "score", None), torch.nn.Linear):
        raise ConfigError(f"transformers' classifier of {config.model_type} has no layer `score`, which vLLM reads")
    first = stack.get_input_embeddings().num_embeddings
    rows = 0 if trained.prompt is None else len(trained.prompt)
    if trained.prompt is not None:
        _append(stack, trained.prompt)
    setattr(whole, whole.base_model_prefix, stack)
    whole.score = trained.head
    whole.to(dtype)
    whole.config.dtype = dtype
    if isinstance(ending := model.tokenizer.pad_token_id or model.tokenizer.eos_token_id, int):
        whole.config.pad_token_id = ending  # transformers asks for one to classify a batch
    with quiet():
        whole.save_pretrained(str(folder))
    with_prompt(model.tokenizer, first, rows).save_pretrained(str(folder))
    pooling = getattr(model, "pooling", "last")
    if pooling == "max":
        _rename(folder / "config.json", f"{MAX_POOLED}{type(whole).__name__}")
    pooler = {"task": "token_classify"} if task == "token_classify" else {}
    if task == "classify" and pooling != "last":
        # Under max the plugin pools; vLLM is told MEAN so that it gives it whole texts.
        pooler = {"seq_pooling_type": POOLINGS.get(pooling, "MEAN")}
    flags = ["--runner", "pooling", "--dtype", str(dtype).removeprefix("torch."), "--max-model-len"]
    flags += [str(longest(model)), *(["--pooler-config", json.dumps(pooler)] if pooler else [])]
    served = Served(
        model=folder.name,
        head=model.kind,
        space=space,
        names=tuple(labels),
        thresholds=tuple(map(float, model.thresholds_)) if several else None,  # type: ignore[attr-defined]
        task=task,
        truncate=longest(model),
        empty=(*range(first, first + rows), *tokens_of_nothing(model)),
        decoding=getattr(model, "decoding", None),
        flags=tuple(flags),
    )
    served.save(folder)
    return served


def tokens_of_nothing(model: FineTuned) -> list[int]:
    """Ids of an empty text, without soft prompt."""
    from labelspace.finetune.align import encode_texts

    return encode_texts(model.tokenizer, [""], max_length=model.max_length)[0][0]


def _append(stack: Any, prompt: torch.Tensor) -> None:
    """Make a soft prompt the last rows of the embedding table."""
    table = stack.get_input_embeddings()
    # Some models scale what they look up; the prompt was trained behind that.
    rows = prompt.detach().to(table.weight.dtype) / float(getattr(table, "embed_scale", 1.0))
    table.weight = torch.nn.Parameter(torch.cat([table.weight.detach(), rows]), requires_grad=False)
    table.num_embeddings = len(table.weight)
    stack.config.get_text_config().vocab_size = table.num_embeddings


def _rename(path: Path, architecture: str) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, "architectures": [architecture]}, indent=2) + "\n", encoding="utf-8")
