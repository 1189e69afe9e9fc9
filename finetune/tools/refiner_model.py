"""The network of `ToolRefiner`: a query's tokens and candidates' vectors through one encoder, a logit for each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelspace.errors import ConfigError

SCALE, BIAS = 20.0, -10.0
"""Of the cosine at the start: a tool at 60 degrees to the query is as likely needed as not."""
PLAIN = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
"""Kinds whose layers take states and a mask and nothing else: positions are added to the tokens."""


class RefinerModel(nn.Module):
    """An encoder that scores candidate vectors for a query."""

    def __init__(self, encoder: Any, *, tool_width: int, alone: int = 0, cosine: bool = False) -> None:
        """Put projection and scorer around an encoder.

        Args:
            encoder: A BERT-like model of transformers, with `embeddings` and `encoder`.
            tool_width: Size of a tool's vector.
            alone: Layers that read the query before candidates join it; they stay as they are.
            cosine: Add the cosine of a tool and the mean of the query's last states, times a learnt scale; the rest
                starts at nothing.

        Raises:
            ConfigError: The model is built in another way, or has no such layers; or cosines are asked for between
                vectors of unlike sizes.
        """
        super().__init__()
        kind, width = encoder.config.model_type, encoder.config.hidden_size
        if not hasattr(encoder, "embeddings") or not hasattr(encoder, "encoder"):
            raise ConfigError(f"a {kind!r} model can't take tool vectors; give a BERT or DeBERTa")
        if alone and (kind not in PLAIN or not alone < len(encoder.encoder.layer)):
            raise ConfigError(f"candidates can't join a {kind!r} model of {encoder.config.num_hidden_layers} layers "
                              f"after {alone}; give fewer, and one of {', '.join(PLAIN)}")  # fmt: skip
        if cosine and tool_width != width:
            raise ConfigError(f"tools of {tool_width} numbers have no cosine with states of {width}: embed them by "
                              "the encoder that is refined with")  # fmt: skip
        self.encoder, self.alone = encoder, alone
        self.project = nn.Linear(tool_width, width)
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.project.weight, std=0.2)
        nn.init.zeros_(self.project.bias)
        self.scale = nn.Parameter(torch.tensor(SCALE)) if cosine else None
        if cosine:
            nn.init.zeros_(self.score.weight)
            nn.init.constant_(self.score.bias, BIAS)
        if alone:
            encoder.embeddings.requires_grad_(False)
            encoder.encoder.layer[:alone].requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor, tools: Tensor, offered: Tensor) -> Tensor:
        """Score candidates.

        Args:
            ids: [n, length] tokens of the queries, padded on the right.
            mask: [n, length], 1 at real tokens.
            tools: [n, N, d] vectors of the candidates.
            offered: [n, N], 1 at real candidates.

        Returns:
            [n, N] logits; what stands at places without a candidate has no meaning.
        """
        return self.judge(self.read(ids, mask), mask, tools, offered)

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States of the queries' tokens where candidates join them [n, length, width]."""
        if self.encoder.config.model_type.startswith("deberta"):
            words: Tensor = self.encoder.embeddings(input_ids=ids, mask=mask)
        else:
            words = self.encoder.embeddings(input_ids=ids)
        if self.alone:
            words = _through(self.encoder.encoder.layer[: self.alone], words, _additive(mask, words))
        return words

    def judge(self, words: Tensor, mask: Tensor, tools: Tensor, offered: Tensor) -> Tensor:
        """Logits of the candidates [n, N] for what `read` gave."""
        together = torch.cat([words, self.project(tools)], dim=1)
        seen = torch.cat([mask, offered.to(mask.dtype)], dim=1)
        if not self.encoder.config.model_type.startswith("deberta"):
            seen = _additive(seen, together)
        if self.alone:
            hidden = _through(self.encoder.encoder.layer[self.alone :], together, seen)
        else:
            hidden = self.encoder.encoder(together, attention_mask=seen)[0]
        length = words.shape[1]
        found: Tensor = self.score(hidden[:, length:]).squeeze(-1).float()
        if self.scale is not None:
            query = functional.normalize((hidden[:, :length] * mask[..., None]).sum(dim=1).float(), dim=-1)
            found = found + self.scale * torch.einsum("nd,nkd->nk", query, functional.normalize(tools, dim=-1))
        return found


def alone_of(base: str | Path, *, joined: int = 2) -> int:
    """Layers that may read a query alone where so many of the last are left to candidates; 0 where it can't be."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(base))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the encoder {str(base)!r} can't be loaded: {str(error).splitlines()[0]}") from error
    return max(config.num_hidden_layers - joined, 0) if config.model_type in PLAIN else 0


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to attention [n, 1, 1, length]."""
    found = torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask == 0, torch.finfo(like.dtype).min)
    return found[:, None, None, :]


def _through(layers: Iterable[Any], hidden: Tensor, seen: Tensor) -> Tensor:
    for layer in layers:
        found = layer(hidden, seen)
        hidden = found[0] if isinstance(found, tuple) else found
    return hidden
