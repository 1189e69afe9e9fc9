"""What vLLM has no class for: the highest logit over tokens, and a causal mask that is lifted from a middle layer on.

Both are LS-unLLaMA's (arXiv 2310.01208). vLLM calls `register` through the entry point `vllm.general_plugins`, in
each of its processes. It adds two architectures for each decoder that vLLM can run unmasked, one with a linear head
and one that gives hidden states; `config.json` of an export names one, and says under `labelspace` what is wanted.
"""

from __future__ import annotations

from typing import Any

PREFIX = "Labelspace"
"""Of the architectures."""
SETTINGS = "labelspace"
"""Key of `config.json`: `max_pooled`, and `unmask_from`, the first layer that sees the whole text."""
DECODERS = {"apertus": "Apertus", "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""Types of models that vLLM 0.32 runs without the causal mask where their config says so, and their names there."""
_CLASSIFIES, _EMBEDS = "ForSequenceClassification", "Model"


def architecture(model_type: str, *, embeds: bool) -> str:
    """Name of our architecture for a type of model."""
    return f"{PREFIX}{DECODERS[model_type]}{_EMBEDS if embeds else _CLASSIFIES}"


def register() -> None:
    """Add the architectures; nothing is imported before one is asked for."""
    from vllm import ModelRegistry

    known = ModelRegistry.get_supported_archs()
    for name in DECODERS.values():
        for form in (_CLASSIFIES, _EMBEDS):
            if f"{PREFIX}{name}{form}" not in known and f"{name}ForCausalLM" in known:
                ModelRegistry.register_model(f"{PREFIX}{name}{form}", f"labelspace.finetune.export.plugin:{name}{form}")


def __getattr__(name: str) -> Any:
    """The class of one architecture, made when vLLM looks for it."""
    for form in (_CLASSIFIES, _EMBEDS):
        if name.removesuffix(form) in DECODERS.values():
            return _make(name.removesuffix(form), form)
    raise AttributeError(name)


def _make(name: str, form: str) -> Any:
    """A decoder of vLLM whose first layers are causal, and which takes the highest logits if asked to."""
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.adapters import as_embedding_model, as_seq_cls_model

    adapted = as_seq_cls_model if form == _CLASSIFIES else as_embedding_model
    plain: Any = adapted(ModelRegistry._try_load_model_cls(f"{name}ForCausalLM"))

    class Ours(plain):
        def __init__(self, *, vllm_config: Any, prefix: str = "", **more: Any) -> None:
            super().__init__(vllm_config=vllm_config, prefix=prefix, **more)
            start = _settings(vllm_config).get("unmask_from") or 0
            for layer in list(self.model.layers)[:start]:
                _mask(layer.self_attn, vllm_config)

        def _init_pooler(self, vllm_config: Any, prefix: str = "") -> Any:
            pooler = super()._init_pooler(vllm_config, prefix)  # makes the layer `score`
            if not _settings(vllm_config).get("max_pooled"):
                return pooler
            return _max_pooler(vllm_config.model_config.pooler_config, self.score)

    Ours.__name__ = Ours.__qualname__ = f"{PREFIX}{name}{form}"
    return Ours


def _settings(vllm_config: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(vllm_config.model_config.hf_config, SETTINGS, {})
    return found


def _mask(attention: Any, vllm_config: Any) -> None:
    """Put a causal attention, with a cache of its own, where vLLM made an unmasked one."""
    from vllm.model_executor.layers.attention import Attention

    old = attention.attn
    # Attentions are found by name in the run, and each name may be taken once.
    del vllm_config.compilation_config.static_forward_context[old.layer_name]
    attention.attn = Attention(
        old.num_heads,
        old.head_size,
        old.impl.scale,
        num_kv_heads=old.num_kv_heads,
        cache_config=vllm_config.cache_config,
        quant_config=vllm_config.quant_config,
        prefix=old.layer_name,
    )


def _max_pooler(config: Any, score: Any) -> Any:
    """A pooler that takes the highest logit of each label over the tokens, so the head comes before it."""
    from vllm.model_executor.layers.pooler import DispatchPooler
    from vllm.model_executor.layers.pooler.seqwise import pooler_for_classify

    def highest(hidden: Any, metadata: Any) -> Any:
        import torch

        cursor = metadata.get_pooling_cursor()
        if cursor.is_partial_prefill():
            raise RuntimeError("max pooling needs whole texts: start vLLM with --no-enable-chunked-prefill")
        lengths = cursor.prompt_lens_cpu.tolist()
        logits = score(hidden.to(score.weight.dtype))
        return torch.stack([part.amax(dim=0) for part in logits.split(lengths)])

    return DispatchPooler({"classify": pooler_for_classify(config, pooling=highest)})
