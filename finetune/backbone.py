"""Any decoder or encoder of transformers as a stack that gives hidden states, causal or unmasked.

Padding never changes a result: rows are aligned to the left edge before the model sees them, so
position ids, windows and masks are those of the bare text, and padded keys are never attended to.

Unmasking removes the causal mask from a chosen layer on (LS-unLLaMA, arXiv 2310.01208). The
reference code overwrites the whole mask with zeros, and so attends to padding as well;
`legacy_padding=True` does the same, for comparison only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError, MissingExtra

Quantization = Literal["none", "8bit", "4bit"]
Dtype = Literal["float32", "bfloat16", "float16"]


class Backbone(nn.Module):
    """A pre-trained stack: token ids in, the hidden states after the final norm out."""

    def __init__(self, model: Any, *, unmask_from: int | None = None, legacy_padding: bool = False) -> None:
        """Wrap a model as transformers' AutoModel gives it.

        Args:
            model: The stack, without a head.
            unmask_from: First layer that sees the whole text: 0 for all, None to leave the model as it is,
                negative to count from the top. An encoder sees the whole text anyway.
            legacy_padding: Reproduce the reference code, where an unmasked layer attends to padding too.

        Raises:
            ConfigError: The model has no such layer, or none whose mask can be lifted.
        """
        super().__init__()
        self.model = model
        self.config = model.config
        self.config.use_cache = False
        self.is_causal = _is_causal(model)
        self.unmask_from = unmask_from if self.is_causal else None
        self.legacy_padding = legacy_padding
        if self.unmask_from is not None:
            _unmask(model, self.unmask_from, everything=legacy_padding)

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def embedding(self) -> nn.Module:
        """The token embeddings."""
        return self.model.get_input_embeddings()

    def forward(self, ids: Tensor, mask: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Run the stack.

        Args:
            ids: [n, length] token ids, padded with any id on either side.
            mask: [n, length], 1 at real tokens.
            prefix: [p, d] vectors put before the first real token of each row: a soft prompt.

        Returns:
            [n, p + length, d] hidden states; what stands at padded positions has no meaning.
        """
        # Padding on the right, or none, needs no move. Legacy padding is left where it is, as the reference does.
        if self.legacy_padding or not bool((mask[:, 1:] > mask[:, :-1]).any()):
            return self._run(ids, mask, prefix)
        order = torch.argsort(1 - mask.long(), dim=1, stable=True)
        hidden = self._run(ids.gather(1, order), mask.gather(1, order), prefix)
        taken = hidden.shape[1] - ids.shape[1]
        back = order.argsort(dim=1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return torch.cat([hidden[:, :taken], hidden[:, taken:].gather(1, back)], dim=1)

    def _run(self, ids: Tensor, mask: Tensor, prefix: Tensor | None) -> Tensor:
        if prefix is None:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        embedded = self.embedding(ids)
        rows = prefix.to(embedded.dtype).unsqueeze(0).expand(ids.shape[0], -1, -1)
        ones = mask.new_ones(ids.shape[0], len(prefix))
        return self.model(
            inputs_embeds=torch.cat([rows, embedded], dim=1), attention_mask=torch.cat([ones, mask], dim=1)
        ).last_hidden_state


def load_backbone(
    base: str | Path,
    *,
    unmask_from: int | None = None,
    legacy_padding: bool = False,
    dtype: Dtype = "float32",
    attention: str = "sdpa",
    quantization: Quantization = "none",
    dropout: float | None = None,
    writes: bool = False,
) -> tuple[Any, Any]:
    """Load a model and its tokenizer from a folder or by name on the Hub; weights only as safetensors.

    Args:
        base: Folder or name.
        unmask_from: See `Backbone`.
        legacy_padding: See `Backbone`.
        dtype: Of the weights in memory.
        attention: Implementation, as transformers names it; a model without it gets `eager`.
        quantization: `8bit` or `4bit` through bitsandbytes; the weights can then not be trained themselves.
        dropout: Of the layers while they train; None leaves what the model comes with.
        writes: Give the language model with its own head instead of a `Backbone`.

    Raises:
        ConfigError: There is no such model, or it can't be used.
        MissingExtra: A package it needs is not installed.
    """
    try:
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("transformers", "finetune") from error
    folder = Path(base).expanduser()
    name = str(folder) if folder.is_dir() else str(base)
    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "use_safetensors": True}
    if quantization != "none":
        settings["quantization_config"] = _quantize(quantization, dtype)
    try:
        with quiet_hub():  # it reports weights that we leave out on purpose; those that lack, we do
            config = AutoConfig.from_pretrained(name)
            if dropout is not None:
                _set_dropout(config, dropout)
            tokenizer = AutoTokenizer.from_pretrained(name)
            auto = AutoModelForCausalLM if writes else AutoModel
            model, report = _first_that_loads(auto, name, config, attention, settings)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"the base {str(base)!r} can't be loaded: {first}; give the folder of a transformers model with "
            "safetensors weights, or a name on the Hub that this machine can reach"
        ) from error
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise ConfigError(
            f"the base {str(base)!r} lacks weights: {', '.join(missing[:3])}; it may be another kind of model"
        )
    if writes:
        return model, tokenizer
    return Backbone(without_pooler(model), unmask_from=unmask_from, legacy_padding=legacy_padding), tokenizer


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep transformers' bars and reports off the terminal in this block."""
    from transformers.utils import logging as hub_logging

    shows_bars, verbosity = hub_logging.is_progress_bar_enabled(), hub_logging.get_verbosity()
    hub_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(verbosity)
        if shows_bars:
            hub_logging.enable_progress_bar()


def _set_dropout(config: Any, share: float) -> None:
    """Set every dropout that a config knows, under whatever name; that of a classifier is none of the layers."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or "pdrop" in name) and "classifier" not in name:
            setattr(config, name, share)


def without_pooler(model: Any) -> Any:
    """Drop the pooler of BERT and its kin: we pool ourselves, and its weights would never get a gradient."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def pad_id(tokenizer: Any) -> int:
    """An id to fill padded positions with; which one does not matter, since nothing ever looks there."""
    return next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def _first_that_loads(auto: Any, name: str, config: Any, attention: str, settings: Mapping[str, Any]) -> Any:
    if attention == "sdpa" and getattr(config.get_text_config(), "attn_logit_softcapping", None):
        attention = "eager"  # torch's kernel has no cap on the scores, and transformers leaves it out in silence
    try:
        return auto.from_pretrained(
            name, config=config, attn_implementation=attention, output_loading_info=True, **settings
        )
    except ValueError as error:
        if "attention" not in str(error) or attention == "eager":
            raise
        return auto.from_pretrained(
            name, config=config, attn_implementation="eager", output_loading_info=True, **settings
        )


def _quantize(quantization: Quantization, dtype: Dtype) -> Any:
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise ConfigError("quantized weights need bitsandbytes, which is not installed: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def find_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a stack: the longest list of modules that each take an attention mask."""
    lists = [
        list(module)
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module)
        and all("attention_mask" in inspect.signature(layer.forward).parameters for layer in module)
    ]
    return max(lists, key=len, default=[])


def _is_causal(model: Any) -> bool:
    if any(getattr(module, "is_causal", False) is True for layer in find_layers(model) for module in layer.modules()):
        return True
    # A few old stacks (BLOOM, MPT) do not say so of themselves.
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(model.config)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


def _unmask(model: nn.Module, start: int, *, everything: bool) -> None:
    layers = find_layers(model)
    if not -len(layers) <= start < len(layers):
        raise ConfigError(f"the model has {len(layers)} layers, so it can't be unmasked from layer {start} on")
    for layer in layers[start:]:
        for module in layer.modules():
            if getattr(module, "is_causal", False) is True:
                module.is_causal = False
        layer.register_forward_pre_hook(_lift_mask(layer, everything=everything), with_kwargs=True)


def _lift_mask(layer: nn.Module, *, everything: bool) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """A hook that gives a layer the two-sided mask in place of the causal one.

    It works on what the layer is called with, so it does not matter how this version of transformers
    makes masks, and a layer that is run again for gradient checkpointing gets the same mask again.
    """
    names = list(inspect.signature(layer.forward).parameters)

    def lift(
        _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        at = names.index("attention_mask")
        given = args[at] if at < len(args) else kwargs.get("attention_mask")
        lifted = None if everything else two_sided(given)
        if "is_causal" in kwargs:  # where the config of a model says it outright
            kwargs = {**kwargs, "is_causal": False}
        if at < len(args):
            return (*args[:at], lifted, *args[at + 1 :]), kwargs
        return args, {**kwargs, "attention_mask": lifted}

    return lift


def two_sided(mask: Tensor | None) -> Tensor | None:
    """Mirror a causal mask, so that each real token sees every real token that sees it.

    A sliding window becomes a window to both sides, as wide to each as it was to the left. (The masks
    that transformers makes for `is_causal: false` reach one token further; its flash kernels do not.)
    The diagonal says which keys are real: under a causal mask every real token sees itself, and
    no padded one is seen.

    Args:
        mask: [n, 1, length, length], boolean (True attends) or additive (0 attends); None where all attend
            and for flash attention, which takes a [n, length] mask of real tokens and asks the layer whether it is
            causal.
    """
    if mask is None or mask.dim() != 4:
        return mask
    seen, keys = mask, mask.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
    if mask.dtype != torch.bool:
        seen, keys = seen == 0, keys == 0
    seen = (seen | seen.transpose(-2, -1)) & keys
    if mask.dtype == torch.bool:
        return seen
    return torch.zeros_like(mask).masked_fill(~seen, torch.finfo(mask.dtype).min)
