"""Max pooling for vLLM, whose own poolings are first, last and mean: LS-unLLaMA's default (arXiv 2310.01208).

vLLM calls `register` through the entry point `vllm.general_plugins`, in each of its processes. It adds one
architecture for each decoder that it can run unmasked; an export with max pooling names one of them. The highest
logit of each label over the tokens is taken, so the head comes before the pooling.
"""

from __future__ import annotations

from typing import Any

MAX_POOLED = "LabelspaceMaxPooled"
"""Prefix of the architectures."""
DECODERS = {"apertus": "Apertus", "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""Types of models that vLLM 0.32 runs without the causal mask where their config says so, and their names there."""


def register() -> None:
    """Add the architectures; nothing is imported before one is asked for."""
    from vllm import ModelRegistry

    known = ModelRegistry.get_supported_archs()
    for name in DECODERS.values():
        architecture = f"{MAX_POOLED}{name}ForSequenceClassification"
        if architecture not in known and f"{name}ForCausalLM" in known:
            ModelRegistry.register_model(architecture, f"labelspace.finetune.export.plugin:{name}")


def __getattr__(name: str) -> Any:
    """The class of one architecture, made when vLLM looks for it."""
    if name not in DECODERS.values():
        raise AttributeError(name)
    return max_pooled(name)


def max_pooled(name: str) -> Any:
    """A decoder of vLLM as a classifier that takes the highest logits over the tokens."""
    from vllm.model_executor.layers.pooler import DispatchPooler
    from vllm.model_executor.layers.pooler.seqwise import pooler_for_classify
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.adapters import as_seq_cls_model

    plain: Any = as_seq_cls_model(ModelRegistry._try_load_model_cls(f"{name}ForCausalLM"))

    class MaxPooled(plain):
        def _init_pooler(self, vllm_config: Any, prefix: str = "") -> Any:
            super()._init_pooler(vllm_config, prefix)  # makes the layer `score`
            pooler = vllm_config.model_config.pooler_config

            def highest(hidden: Any, metadata: Any) -> Any:
                import torch

                cursor = metadata.get_pooling_cursor()
                if cursor.is_partial_prefill():
                    raise RuntimeError("max pooling needs whole texts: start vLLM with --no-enable-chunked-prefill")
                lengths = cursor.prompt_lens_cpu.tolist()
                logits = self.score(hidden.to(self.score.weight.dtype))
                return torch.stack([part.amax(dim=0) for part in logits.split(lengths)])

            return DispatchPooler({"classify": pooler_for_classify(pooler, pooling=highest)})

    MaxPooled.__name__ = MaxPooled.__qualname__ = f"{MAX_POOLED}{name}ForSequenceClassification"
    return MaxPooled
