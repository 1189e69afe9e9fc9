"""A LoRA head as an adapter of its own, so that one vLLM serves many heads on one base.

The adapter holds the low-rank pairs and the layer `score`; the shared base is a checkpoint whose own `score` is
zero. Names of labels and the activation would come from the base's config, so clients ask for logits and apply
both themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.export.check import compare, expected, found, probes, quiet
from labelspace.finetune.export.merged import POOLINGS, longest, refuse_unservable, tokens_of_nothing
from labelspace.finetune.export.tokens import with_prompt
from labelspace.finetune.export.vllm import load_head, replace
from labelspace.finetune.pooling import Pooling
from labelspace.serve.served import FILE, Served

SHARED = "shared_base"
"""Kind of head of a base without one."""


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
    refuse_unservable(model)
    trained = model.model
    pooling: Pooling = getattr(model, "pooling", "last")
    if model.kind != "ls" or model.tuning == "full" or trained.head.bias is not None or model.lora.dora:
        raise ConfigError(
            "as an adapter go ls heads with tuning lora or frozen, without bias and without DoRA; "
            "export this one by itself with --to vllm"
        )
    if pooling == "max":
        raise ConfigError("max pooling is for --to vllm: adapters share the pooling of stock vLLM")
    form = {"pooling": pooling, "unmasked": trained.backbone.unmask_from is not None}
    texts = probes(model.classes_)
    want = expected(model, texts)
    if not Path(shared_base).exists():
        replace(Path(shared_base), lambda folder: (_write_base(source, base, form, folder), 0.0))
    shared = Path(shared_base).resolve()
    _check_base(shared, form, longest(model))

    def write(folder: Path) -> tuple[Served, float]:
        served = Served(
            model=folder.name,
            head=model.kind,
            space=space,
            names=tuple(model.classes_),
            thresholds=tuple(map(float, model.thresholds_)) if model.multi_label else None,
            truncate=longest(model),
            empty=tuple(tokens_of_nothing(model)),
            logits=True,
        )
        _write_adapter(model, shared, folder)
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
    config.id2label, config.label2id = {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}
    if form["unmasked"]:
        config.is_causal = False
    whole = AutoModelForSequenceClassification.from_config(config)
    setattr(whole, whole.base_model_prefix, stack)
    torch.nn.init.zeros_(whole.score.weight)
    with quiet():
        whole.save_pretrained(str(folder))
    with_prompt(model.tokenizer, 0, 0).save_pretrained(str(folder))
    pooler = json.dumps({"seq_pooling_type": POOLINGS[form["pooling"]]})
    flags = ("--runner", "pooling", "--dtype", "float32", "--max-model-len", str(longest(model)))
    served = Served(
        folder.name, SHARED, space, ("LABEL_0", "LABEL_1"), logits=True, truncate=longest(model),
        empty=tuple(tokens_of_nothing(model)), flags=(*flags, "--pooler-config", pooler),
    )  # fmt: skip
    served.save(folder)
    (folder / "shared.json").write_text(json.dumps(form) + "\n", encoding="utf-8")
    return served


def _check_base(shared: Path, form: dict[str, Any], tokens: int) -> None:
    try:
        known = json.loads((shared / "shared.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("is no shared base", path=str(shared), advice=f"it needs a {FILE} and a shared.json") from error
    if known != form:
        raise ConfigError(f"{shared}: the base has {known}, the head {form}; export it onto another base")
    if (most := Served.load(shared).truncate) is not None and tokens > most:
        raise ConfigError(
            f"{shared}: reads {most} tokens, the head {tokens}; make the base with the longest head first"
        )


def _write_adapter(model: Any, shared: Path, folder: Path) -> None:
    """Write it in peft's form, as if it had been trained on the classifier and not on its bare stack."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    stack, inner = model.model.backbone.model, "base_model.model."
    tensors: dict[str, torch.Tensor] = {}
    settings: dict[str, Any]
    if model.tuning == "lora":
        prefix = _stack_name(model)
        for name, tensor in get_peft_model_state_dict(stack).items():
            tensors[f"{inner}{prefix}.{name.removeprefix(inner)}"] = tensor
        config = stack.peft_config["default"]
        names = {name.split(".lora_")[0].rpartition(".")[2] for name in tensors}
        settings = {"r": config.r, "lora_alpha": config.lora_alpha, "use_rslora": config.use_rslora}
        settings["target_modules"] = sorted(names)
    else:  # vLLM takes no adapter without a pair
        matrices = [(name, part) for name, part in stack.named_modules() if isinstance(part, torch.nn.Linear)]
        target = matrices[0][0].rpartition(".")[2]
        for name, matrix in matrices:
            if name.endswith(f".{target}"):
                start = f"{inner}{_stack_name(model)}.{name}"
                tensors[f"{start}.lora_A.weight"] = torch.zeros(1, matrix.in_features)
                tensors[f"{start}.lora_B.weight"] = torch.zeros(matrix.out_features, 1)
        settings = {"r": 1, "lora_alpha": 1.0, "use_rslora": False, "target_modules": [target]}
    tensors[f"{inner}score.weight"] = model.model.head.weight
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.detach().to(torch.float32).contiguous() for name, tensor in tensors.items()},
        str(folder / "adapter_model.safetensors"),
    )
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": str(shared), "bias": "none"}
    config |= {"modules_to_save": ["score"], "lora_dropout": 0.0, "inference_mode": True, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _stack_name(model: Any) -> str:
    """What transformers' classifier calls its stack."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return str(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(model.model.backbone.config)].base_model_prefix)
