"""A trained head taken apart into layers, its temperature worked into the last of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelspace.errors import ConfigError
from labelspace.finetune.heads import DescriptionHead, EquiangularHead, MLPHead
from labelspace.serve.outer_head import OuterHead, Pooled


def scaled_linear(layer: nn.Linear, temperature: float) -> nn.Linear:
    """The layer whose outputs are those of `layer` over a temperature."""
    made = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    made.weight = nn.Parameter(layer.weight.detach() / temperature, requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach() / temperature, requires_grad=False)
    return made


def outer_head_of(head: nn.Module, *, pooling: Pooled, temperature: float) -> OuterHead:
    """A head as layers of numpy.

    Raises:
        ConfigError: It has others than those.
    """
    if isinstance(head, nn.Linear):
        layers: list[nn.Module] = [head]
    elif isinstance(head, MLPHead):
        layers = [layer for layer in head.layers if not isinstance(layer, nn.Dropout)]
    elif isinstance(head, EquiangularHead):
        basis = nn.Linear(head.basis.shape[1], head.basis.shape[0], bias=False)
        basis.weight = nn.Parameter(head.basis.detach() / head.temperature, requires_grad=False)
        layers = [head.project, nn.Identity(), basis]
    elif isinstance(head, DescriptionHead):
        return OuterHead(_attention(head, temperature), pooling=pooling)
    else:
        raise ConfigError(
            f"a {type(head).__name__} can't be exported; serve it with: labelspace serve MODEL_DIR --engine local"
        )
    layers[-1] = scaled_linear(layers[-1], temperature)
    return OuterHead([_step(layer) for layer in layers], pooling=pooling)


def _attention(head: DescriptionHead, temperature: float) -> list[tuple[str, list[Any]]]:
    """Its labels' words as they are now; other labels want another export."""
    with torch.inference_mode():
        keys, values = _array(head.key(head.words)), _array(head.value(head.words))
    mask = np.where(head.mask.cpu().numpy(), 0.0, np.finfo(np.float32).min / 2).astype(np.float32)
    scale, offset = float(head.log_scale.detach().exp()) / temperature, float(head.offset.detach()) / temperature
    numbers = np.array([head.sharpness, scale, offset], np.float32)
    return [("linear", [_array(head.query.weight)]), ("attend", [keys, values, mask, numbers])]


def _step(layer: nn.Module) -> tuple[str, list[Any]]:
    if isinstance(layer, nn.Linear):
        return "linear", [_array(part) for part in (layer.weight, layer.bias) if part is not None]
    return ("gelu" if isinstance(layer, nn.GELU) else "unit"), []


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().cpu().numpy()
