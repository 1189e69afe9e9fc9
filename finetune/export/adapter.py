"""A head as an adapter of its own, so that one vLLM serves many heads on one base.

The adapter holds the low-rank pairs and the layer `score`; the shared base is a checkpoint whose own `score` is
zero. Names of labels and the activation would come from the base's config, so clients ask for logits and apply
both themselves.

A soft prompt is a low-rank pair too: the base keeps rows of its embedding table free, all zero, and the adapter's
pair for `embed_tokens` puts the prompt there. Its rank is the length of the prompt. The tokenizer of the base knows
nothing of it, so texts for such a head are sent as ids, by the tokenizer that lies beside the adapter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.backbone import quiet_hub
from labelspace.finetune.export.check import compare, expected, found, probes
from labelspace.finetune.export.forms import POOLINGS, form_of, longest, tokens_of_nothing
from labelspace.finetune.export.layers import scaled_linear
from labelspace.finetune.export.merged import append_rows
from labelspace.finetune.export.tokens import with_prompt
from labelspace.finetune.export.vllm import load_head, replace
from labelspace.finetune.pooling import Pooling
from labelspace.serve.served import FILE, Served

SHARED = "shared_base"
"""Kind of head of a base without one."""
_PROMPTED = ("llama", "mistral")
"""Types of models whose embeddings vLLM 0.32 gives adapters."""
_FREE = 128
"""Rows that a base keeps free for soft prompts."""


def export_adapter(
    source: str | Path, out: str | Path, shared_base: str | Path, *, base: str | None = None
) -> tuple[Served, float]:
    """Export a head as an adapter, and the base if it is not there yet.

    Args:
        source: Folder of the model.
        out: Folder of the adapter.
        shared_base: Folder of the base that all adapters share.
        base: Where the model's base is, if it has moved.

    Raises:
        ConfigError: vLLM can't serve it so, or it does not fit the shared base.
    """
    model, space = load_head(source, base=base)
    trained = model.model
    form = form_of(model)
    if form.asks != "classify" or form.plugin or model.tuning == "full" or model.lora.dora:
        raise ConfigError(
            "as an adapter go ls heads with tuning lora or frozen, and ptec heads, on a decoder, with a linear head, "
            "without DoRA, by the poolings of stock vLLM; export this one by itself with --to vllm"
        )
    rows = prompt_rows(model)
    pooling: Pooling = getattr(model, "pooling", "last")
    shape = {"pooling": pooling, "unmasked": trained.backbone.unmask_from is not None}
    texts = probes(model.classes_)
    want = expected(model, texts)
    if not Path(shared_base).exists():
        replace(Path(shared_base), lambda folder: (_write_base(source, base, shape, folder), 0.0))
    shared = Path(shared_base).resolve()
    first = _check_base(shared, shape, longest(model), rows)

    def write(folder: Path) -> tuple[Served, float]:
        served = Served(
            model=folder.name,
            head=model.kind,
            space=space,
            names=tuple(model.classes_),
            thresholds=tuple(map(float, model.thresholds_)) if model.multi_label else None,
            temperature=float(model.temperature_),
            truncate=longest(model),
            empty=(*range(first, first + rows), *tokens_of_nothing(model)),
            logits=True,
            sends_ids=rows > 0,
        )
        _write_adapter(model, shared, folder, first)
        if rows:
            with_prompt(model.tokenizer, first, rows).save_pretrained(str(folder))
        served.save(folder)
        return served, compare(want, found(shared, served, pooling, texts, adapter=folder), texts, torch.float32)

    return replace(Path(out), write)


def _write_base(source: str | Path, base: str | None, form: dict[str, Any], folder: Path) -> Served:
    from transformers import AutoModelForSequenceClassification

    model, space = load_head(source, base=base)
    stack = model.model.backbone.model
    if model.tuning == "lora":
        stack = stack.unload()  # the base as it was
    config = stack.config
    free = max(_FREE, prompt_rows(model)) if config.model_type in _PROMPTED else 0
    first = stack.get_input_embeddings().num_embeddings
    if free:
        append_rows(stack, torch.zeros(free, config.hidden_size))
    config.id2label, config.label2id = {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}
    if form["unmasked"]:
        config.is_causal = False
    whole = AutoModelForSequenceClassification.from_config(config)
    setattr(whole, whole.base_model_prefix, stack)
    torch.nn.init.zeros_(whole.score.weight)
    with quiet_hub():
        whole.save_pretrained(str(folder))
    with_prompt(model.tokenizer, 0, 0).save_pretrained(str(folder))
    pooler = json.dumps({"seq_pooling_type": POOLINGS[form["pooling"]]})
    tokens = min(model.max_length + free, getattr(config, "max_position_embeddings", None) or model.max_length + free)
    flags = ("--runner", "pooling", "--dtype", "float32", "--max-model-len", str(tokens))
    served = Served(
        folder.name, SHARED, space, ("LABEL_0", "LABEL_1"), logits=True, truncate=tokens,
        empty=tuple(tokens_of_nothing(model)), flags=(*flags, "--pooler-config", pooler),
    )  # fmt: skip
    served.save(folder)
    about = {**form, "free": [first, first + free]}
    (folder / "shared.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    return served


def prompt_rows(model: Any) -> int:
    """Rows of the soft prompt.

    Raises:
        ConfigError: vLLM has no adapters for the embeddings of this type of model.
    """
    if model.model.prompt is None:
        return 0
    kind = model.model.backbone.config.model_type
    if kind not in _PROMPTED:
        raise ConfigError(
            f"vLLM has no adapters for the embeddings of {kind}, only of {', '.join(_PROMPTED)}; export this "
            "soft prompt by itself with --to vllm"
        )
    return len(model.model.prompt)


def _check_base(shared: Path, form: dict[str, Any], tokens: int, rows: int) -> int:
    """Refuse a base that does not fit; returns its first free row."""
    try:
        known = json.loads((shared / "shared.json").read_text(encoding="utf-8"))
        first, end = known.pop("free")
    except OSError as error:
        raise DataError("is no shared base", path=str(shared), advice=f"it needs a {FILE} and a shared.json") from error
    except (ValueError, KeyError) as error:
        raise DataError(
            "is a shared base of another version", path=str(shared), advice="remove it, and export all heads again"
        ) from error
    if known != form:
        raise ConfigError(f"{shared}: the base has {known}, the head {form}; export it onto another base")
    if (most := Served.load(shared).truncate) is not None and tokens > most:
        raise ConfigError(
            f"{shared}: reads {most} tokens, the head {tokens}; make the base with the longest head first"
        )
    if rows > end - first:
        raise ConfigError(
            f"{shared}: keeps {end - first} rows free, the prompt has {rows}; make the base with the longest "
            "prompt first"
        )
    return int(first)


def _write_adapter(model: Any, shared: Path, folder: Path, first: int) -> None:
    """Write it in peft's form, as if it had been trained on the classifier and not on its bare stack."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    stack, inner = model.model.backbone.model, "base_model.model."
    start = f"{inner}{_stack_name(model)}."
    tensors: dict[str, torch.Tensor] = {}
    settings: dict[str, Any] = {"r": 1, "lora_alpha": 1.0, "use_rslora": False}
    if model.tuning == "lora":
        for name, tensor in get_peft_model_state_dict(stack).items():
            tensors[f"{start}{name.removeprefix(inner)}"] = tensor
        lora = stack.peft_config["default"]
        names = {name.split(".lora_")[0].rpartition(".")[2] for name in tensors}
        settings = {"r": lora.r, "lora_alpha": lora.lora_alpha, "use_rslora": lora.use_rslora}
        settings["target_modules"] = sorted(names)
    elif model.model.prompt is not None:
        prompt = model.model.prompt
        whole = int(json.loads((shared / "config.json").read_text(encoding="utf-8"))["vocab_size"])
        places = torch.zeros(len(prompt), whole)
        places[range(len(prompt)), range(first, first + len(prompt))] = 1.0
        tensors[f"{start}embed_tokens.lora_embedding_A"] = places
        tensors[f"{start}embed_tokens.lora_embedding_B"] = prompt.T
        settings |= {"r": len(prompt), "lora_alpha": float(len(prompt)), "target_modules": ["embed_tokens"]}
    else:  # vLLM takes no adapter without a pair
        matrices = [(name, part) for name, part in stack.named_modules() if isinstance(part, torch.nn.Linear)]
        target = matrices[0][0].rpartition(".")[2]
        for name, matrix in matrices:
            if name.endswith(f".{target}"):
                tensors[f"{start}{name}.lora_A.weight"] = torch.zeros(1, matrix.in_features)
                tensors[f"{start}{name}.lora_B.weight"] = torch.zeros(matrix.out_features, 1)
        settings["target_modules"] = [target]
    head = scaled_linear(model.model.head, model.temperature_)
    tensors |= {f"{inner}score.{name}": tensor for name, tensor in head.state_dict().items()}
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.detach().to(torch.float32).contiguous() for name, tensor in tensors.items()},
        str(folder / "adapter_model.safetensors"),
    )
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(shared),
        "bias": "none",
    }
    config |= {"modules_to_save": ["score"], "lora_dropout": 0.0, "inference_mode": True, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _stack_name(model: Any) -> str:
    """What transformers' classifier calls its stack."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return str(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(model.model.backbone.config)].base_model_prefix)
