"""Heads: hidden states in, logits out.

Each maps [..., d] to [..., k], so that it fits one vector a text, one a token, and logits that are pooled
after it.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelspace.errors import ConfigError
from labelspace.finetune.basis import equiangular_basis

HeadName = Literal["linear", "mlp", "equiangular"]
"""Heads that need nothing but the number of labels; the other two are told labels or examples."""


def head_of(name: str, width: int, labels: int) -> nn.Module:
    """Make a head by its name, with its defaults.

    Args:
        name: Of `HeadName`.
        width: d.
        labels: k.

    Raises:
        ConfigError: There is no such head.
    """
    made = {"linear": AffineHead, "mlp": MLPHead, "equiangular": EquiangularHead}.get(name)
    if made is None:
        raise ConfigError(f"there is no head {name!r}; there are: {', '.join(get_args(HeadName))}")
    return made(width, labels)


class AffineHead(nn.Module):
    """One linear layer, as LS-LLaMA (no bias) and PTEC have it."""

    def __init__(self, width: int, labels: int, *, bias: bool = False) -> None:
        """Make k = `labels` rows for hidden states of d = `width`."""
        super().__init__()
        self.linear = nn.Linear(width, labels, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] to logits [..., k]."""
        return self.linear(hidden)


class MLPHead(nn.Module):
    """Hidden layers with GELU and dropout, then a linear layer."""

    def __init__(self, width: int, labels: int, *, hidden: int = 256, layers: int = 1, dropout: float = 0.1) -> None:
        """Make the layers.

        Args:
            width: d.
            labels: k.
            hidden: Units of each hidden layer.
            layers: Hidden layers.
            dropout: After each of them, while training.
        """
        super().__init__()
        parts: list[nn.Module] = []
        for layer in range(layers):
            parts += [nn.Linear(hidden if layer else width, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden if layers else width, labels))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] to logits [..., k]."""
        return self.layers(hidden)


class EquiangularHead(nn.Module):
    """Equiangular basis vectors (Shen et al., CVPR 2023, arXiv 2303.11637): fixed directions, learned projection.

    Logits are cosines between the projected hidden state and the fixed vector of each label, over a
    temperature (eq. 6). What is trained does not grow with the labels: d x m numbers, whatever k.
    """

    basis: Tensor

    def __init__(
        self, width: int, labels: int, *, dimension: int | None = None, temperature: float = 0.07, seed: int = 0
    ) -> None:
        """Make the basis; see `equiangular_basis` for what it takes.

        Args:
            width: d.
            labels: k.
            dimension: m, of the basis vectors; None takes the lower of d and k. Far fewer than k will do.
            temperature: Cosines are divided by it; the paper's default.
            seed: Of the basis, so that it need not be stored, though it is.
        """
        super().__init__()
        dimension = min(width, labels) if dimension is None else dimension
        self.project = nn.Linear(width, dimension)
        self.temperature = temperature
        self.register_buffer("basis", equiangular_basis(labels, dimension, seed=seed))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] to logits [..., k], between -1 and 1 over the temperature."""
        return F.normalize(self.project(hidden), dim=-1) @ self.basis.T / self.temperature


class DescriptionHead(nn.Module):
    """Documents attend to the words of each label's description; a new label needs words, not training.

    The document's vector is the query; what it attends to in a label's text, word by word, is that
    label's vector as seen from this document; the cosine of the two, over a learned temperature, is the
    logit. No weight belongs to a label, so labels come and go by `set_labels`, and the logit of one does
    not depend on which others there are. Untrained, it is the cosine between text and label text.
    """

    words: Tensor
    mask: Tensor

    def __init__(self, width: int, *, temperature: float = 0.07, border: float = 0.0, sharpness: float = 1.0) -> None:
        """Make the maps of query, key and value, each starting as the identity.

        Args:
            width: d, of documents and of label words.
            temperature: Where the learned one starts.
            border: Cosine at which a logit is 0 at the start; matters where labels are independent.
            sharpness: Factor on attention scores; 0 averages the words.
        """
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        for layer in (self.query, self.key, self.value):
            nn.init.eye_(layer.weight)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.offset = nn.Parameter(torch.tensor(-border / temperature))
        self.sharpness = sharpness
        self.register_buffer("words", torch.zeros(0, 1, width), persistent=False)
        self.register_buffer("mask", torch.zeros(0, 1, dtype=torch.bool), persistent=False)

    def set_labels(self, words: Tensor, mask: Tensor | None = None) -> None:
        """Say which labels there are. They are not kept with the weights: whoever loads those sets them again.

        Args:
            words: [k, m, d], a vector for each token of each label's text, from the same backbone; or [k, d],
                one for each label. A gradient goes back through them where they have one.
            mask: [k, m], 1 at real tokens; None where all are.

        Raises:
            ConfigError: The shapes don't fit, or a label has no token.
        """
        if words.ndim == 2:
            words = words.unsqueeze(1)
        mask = torch.ones(words.shape[:2]) if mask is None else mask
        if words.shape[:2] != mask.shape or words.shape[2] != self.query.in_features:
            raise ConfigError(
                f"label words of shape {tuple(words.shape)} and a mask of {tuple(mask.shape)} were given; they "
                f"should be [labels, tokens, {self.query.in_features}] and [labels, tokens]"
            )
        if not bool(mask.bool().any(dim=1).all()):
            raise ConfigError("a label has no words; give each at least its name")
        self.words = words.to(self.log_scale)
        self.mask = mask.bool().to(self.log_scale.device)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] to logits [..., k] of the labels set last."""
        query = self.query(hidden)
        keys, values = self.key(self.words), self.value(self.words)
        scores = torch.einsum("...d,kmd->...km", query, keys) * (self.sharpness / math.sqrt(hidden.shape[-1]))
        weights = scores.masked_fill(~self.mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
        # The cosine with the weighted sum of values, without holding that sum for each text and label.
        products = (weights * torch.einsum("...d,kmd->...km", query, values)).sum(dim=-1)
        gram = torch.einsum("kmd,kpd->kmp", values, values)
        lengths = torch.einsum("...km,kmp,...kp->...k", weights, gram, weights).clamp(min=1e-12).sqrt()
        cosines = products / lengths / query.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return cosines * self.log_scale.exp() + self.offset


class NeighbourHead(nn.Module):
    """k nearest neighbours by cosine; nothing is trained, `remember` fills it.

    Probabilities are votes of the nearest, weighted by softmax(cosine / temperature); logits are their
    logarithms (log-odds for independent labels), so that softmax or sigmoid gives the votes back.
    """

    bank: Tensor
    answers: Tensor

    def __init__(
        self,
        width: int,
        labels: int,
        *,
        neighbours: int = 10,
        temperature: float = 0.1,
        multi_label: bool = False,
        floor: float = 1e-6,
    ) -> None:
        """Start without memory.

        Args:
            width: d.
            labels: k.
            neighbours: How many vote.
            temperature: Low lets the nearest alone decide; infinite gives each the same vote.
            multi_label: Whether labels are independent.
            floor: Probability of a label without votes; keeps logits finite.
        """
        super().__init__()
        self.neighbours, self.temperature = neighbours, temperature
        self.multi_label, self.floor = multi_label, floor
        self.register_buffer("bank", torch.zeros(0, width))
        self.register_buffer("answers", torch.zeros(0, labels))

    def remember(self, hidden: Tensor, targets: Tensor) -> None:
        """Add examples.

        Args:
            hidden: [n, d].
            targets: [n] label numbers, or [n, k] shares.
        """
        if targets.ndim == 1:
            targets = F.one_hot(targets, self.answers.shape[1])
        self.bank = torch.cat([self.bank, F.normalize(hidden.detach().to(self.bank), dim=1)])
        self.answers = torch.cat([self.answers, targets.to(self.answers)])

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d] to logits [..., k].

        Raises:
            ConfigError: It remembers nothing.
        """
        if not len(self.bank):
            raise ConfigError("a head of nearest neighbours has no examples; call remember(hidden, targets) first")
        queries = F.normalize(hidden.reshape(-1, hidden.shape[-1]), dim=1)
        block = max(1, 2**24 // len(self.bank))  # the cosines of so many rows fit in 64 MiB
        votes = torch.cat([self._votes(rows) for rows in queries.split(block)])
        p = votes.clamp(self.floor, 1 - self.floor)
        logits = p.log() - (1 - p).log() if self.multi_label else p.log()
        return logits.reshape(*hidden.shape[:-1], -1)

    def _votes(self, queries: Tensor) -> Tensor:
        nearest, rows = (queries @ self.bank.T.to(queries)).topk(min(self.neighbours, len(self.bank)), dim=1)
        weights = (nearest / self.temperature).softmax(dim=1)
        return torch.einsum("nm,nmk->nk", weights, self.answers[rows].to(weights))
