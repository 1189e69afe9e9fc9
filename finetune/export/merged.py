"""A trained head and its base as one checkpoint of transformers, in a form that vLLM serves.

The adapters are merged, an unmasked stack says `is_causal: false`, and a soft prompt becomes rows of the embedding
table. A linear head on a decoder is the layer `score`, and several labels say `problem_type:
multi_label_classification`; any other head lies beside the bare stack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import quiet_hub
from labelspace.finetune.export.forms import POOLINGS, Form, form_of, longest, tokens_of_nothing
from labelspace.finetune.export.layers import outer_head_of, scaled_linear
from labelspace.finetune.export.plugin import SETTINGS, architecture
from labelspace.finetune.export.tokens import with_prompt
from labelspace.finetune.finetuned import FineTuned
from labelspace.serve.served import Served
from labelspace.space import LabelSpace


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
    form = form_of(model)
    trained, labels = model._trained(), model.classes_
    stack = trained.backbone.model
    dtype = next(stack.parameters()).dtype
    if model.tuning == "lora":
        stack = stack.to(torch.float32).merge_and_unload()
    first = stack.get_input_embeddings().num_embeddings
    rows = 0 if trained.prompt is None else len(trained.prompt)
    if trained.prompt is not None:
        append_rows(stack, trained.prompt)
    stack.config.use_cache = True
    if stack.config.model_type == "xlm-roberta":  # vLLM asks for it, and transformers 5 no longer writes it
        stack.config.position_embedding_type = "absolute"
    if trained.backbone.unmask_from is not None:
        stack.config.is_causal = False
    temperature = float(getattr(model, "temperature_", 1.0))
    several = bool(getattr(model, "multi_label", False))
    outer = form.asks in ("embed", "token_embed")
    if outer:
        outer_head_of(trained.head, pooling=form.pooled, temperature=temperature).save(folder)
        whole = stack
    else:
        whole = _classifier(model, stack, several=several)
        whole.score = scaled_linear(trained.head, temperature)
    whole.to(dtype)
    whole.config.dtype = dtype
    if isinstance(ending := model.tokenizer.pad_token_id or model.tokenizer.eos_token_id, int) and not outer:
        whole.config.pad_token_id = ending  # transformers asks for one to classify a batch
    with quiet_hub():
        whole.save_pretrained(str(folder))
    with_prompt(model.tokenizer, first, rows).save_pretrained(str(folder))
    if form.plugin:
        wanted = {
            "max_pooled": getattr(model, "pooling", "last") == "max" and not outer,
            "unmask_from": form.unmask_from,
        }
        kind = str(stack.config.get_text_config().model_type)
        _rewrite(folder / "config.json", architectures=[architecture(kind, embeds=outer)], **{SETTINGS: wanted})
    served = Served(
        model=folder.name,
        head=model.kind,
        space=space,
        names=tuple(labels),
        thresholds=tuple(map(float, model.thresholds_)) if several else None,  # type: ignore[attr-defined]
        task="token_classify" if model.kind == "ls-token" else "classify",
        asks=form.asks,
        temperature=temperature,
        truncate=longest(model),
        empty=(*range(first, first + rows), *tokens_of_nothing(model)),
        logits=outer,
        decoding=getattr(model, "decoding", None),
        flags=_flags(model, form, str(dtype).removeprefix("torch.")),
    )
    served.save(folder)
    return served


def _flags(model: FineTuned, form: Form, dtype: str) -> tuple[str, ...]:
    """Arguments of `vllm serve`."""
    pooling = getattr(model, "pooling", "last")
    pooler: dict[str, str] = {} if form.asks == "classify" else {"task": form.asks}
    if form.asks in ("classify", "embed") and (pooling != "last" or not model._trained().backbone.is_causal):
        # Under max the plugin pools; vLLM is told MEAN so that it gives it whole texts.
        pooler["seq_pooling_type"] = POOLINGS.get(pooling, "MEAN")
    flags = ("--runner", "pooling", "--dtype", dtype, "--max-model-len", str(longest(model)))
    return (*flags, "--pooler-config", json.dumps(pooler)) if pooler else flags


def _classifier(model: FineTuned, stack: Any, *, several: bool) -> Any:
    """The stack in transformers' classifier."""
    from transformers import AutoModelForSequenceClassification

    config = stack.config
    config.id2label = dict(enumerate(model.classes_))  # num_labels follows from it
    config.label2id = {name: number for number, name in enumerate(model.classes_)}
    config.problem_type = "multi_label_classification" if several else "single_label_classification"
    whole = AutoModelForSequenceClassification.from_config(config)
    if not isinstance(getattr(whole, "score", None), torch.nn.Linear):
        raise ConfigError(f"transformers' classifier of {config.model_type} has no layer `score`, which vLLM reads")
    setattr(whole, whole.base_model_prefix, stack)
    return whole


def append_rows(stack: Any, prompt: torch.Tensor) -> None:
    """Make a soft prompt the last rows of the embedding table."""
    table = stack.get_input_embeddings()
    # Some models scale what they look up; the prompt was trained behind that.
    rows = prompt.detach().to(table.weight.dtype) / float(getattr(table, "embed_scale", 1.0))
    table.weight = torch.nn.Parameter(torch.cat([table.weight.detach(), rows]), requires_grad=False)
    table.num_embeddings = len(table.weight)
    stack.config.get_text_config().vocab_size = table.num_embeddings


def _rewrite(path: Path, **settings: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **settings}, indent=2) + "\n", encoding="utf-8")
