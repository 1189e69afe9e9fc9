"""Heads: shapes, values by hand, and what each promises."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labelspace.errors import ConfigError
from labelspace.finetune.basis import equiangular_basis
from labelspace.finetune.heads import (
    AffineHead,
    DescriptionHead,
    EquiangularHead,
    HeadName,
    MLPHead,
    NeighbourHead,
    head_of,
)


def description_head(words: torch.Tensor, mask: torch.Tensor | None = None) -> DescriptionHead:
    head = DescriptionHead(words.shape[-1])
    head.set_labels(words, mask)
    return head


def neighbour_head(**settings: object) -> NeighbourHead:
    head = NeighbourHead(2, 3, **settings)  # type: ignore[arg-type]
    head.remember(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1, 2, 1]))
    return head


def heads(width: int, labels: int) -> dict[str, nn.Module]:
    torch.manual_seed(1)
    bank = NeighbourHead(width, labels, neighbours=3)
    bank.remember(torch.randn(20, width), torch.arange(20) % labels)
    return {
        "affine": AffineHead(width, labels),
        "mlp": MLPHead(width, labels, hidden=7, layers=2),
        "equiangular": EquiangularHead(width, labels),
        "description": description_head(torch.randn(labels, 4, width)),
        "neighbour": bank,
    }


@pytest.mark.parametrize("name", ["affine", "mlp", "equiangular", "description", "neighbour"])
def test_one_vector_or_one_a_token(name: str) -> None:
    head = heads(6, 5)[name].eval()
    hidden = torch.randn(2, 3, 6)
    logits = head(hidden)
    assert logits.shape == (2, 3, 5) and torch.isfinite(logits).all()
    torch.testing.assert_close(logits[1, 2], head(hidden[1:, 2])[0])
    assert torch.isfinite(head(torch.zeros(1, 6))).all()


@pytest.mark.parametrize("name", ["affine", "mlp", "equiangular", "description"])
def test_it_learns_and_its_state_comes_back(name: str) -> None:
    head = heads(6, 3)[name].eval()
    torch.manual_seed(0)
    centres = torch.randn(3, 6) * 2
    targets = torch.arange(60) % 3
    hidden = centres[targets] + 0.3 * torch.randn(60, 6)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(head(hidden), targets).backward()
        optimizer.step()
    assert (head(hidden).argmax(dim=1) == targets).all()
    other = heads(6, 3)[name].eval()
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(hidden), head(hidden))


def test_affine_has_no_bias_unless_asked() -> None:
    assert [name for name, _ in AffineHead(4, 2).named_parameters()] == ["linear.weight"]
    assert AffineHead(4, 2, bias=True)(torch.zeros(1, 4)).shape == (1, 2)


def test_equiangular_logits_by_hand() -> None:
    head = EquiangularHead(2, 2, temperature=0.5)
    with torch.no_grad():
        head.project.weight.copy_(torch.eye(2))
        head.project.bias.zero_()
    head.basis = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [pytest.approx([0.6 / 0.5, 0.8 / 0.5])]
    assert "basis" in head.state_dict() and "basis" not in dict(head.named_parameters())


@pytest.mark.parametrize(("labels", "dimension"), [(10, 10), (5, 40), (64, 32), (300, 100)])
def test_basis_is_nearly_at_right_angles(labels: int, dimension: int) -> None:
    basis = equiangular_basis(labels, dimension)
    assert basis.shape == (labels, dimension)
    torch.testing.assert_close(basis.norm(dim=1), torch.ones(labels))
    cosines = (basis @ basis.T).fill_diagonal_(0).abs()
    welch = math.sqrt(max(labels - dimension, 0) / (dimension * (labels - 1)))
    assert welch - 1e-6 <= float(cosines.max()) <= max(0.002, 1.51 * welch)
    assert torch.equal(basis, equiangular_basis(labels, dimension))
    assert not torch.equal(basis, equiangular_basis(labels, dimension, seed=1))


def test_description_logits_by_hand() -> None:
    """Two words [1, 0] and [0, 1]; the document [2, 1] looks mostly at the first."""
    head = description_head(
        torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [9.0, 9.0]]]), torch.tensor([[1, 1], [1, 0]])
    )
    first = 1 / (1 + math.exp((1 - 2) / math.sqrt(2)))
    seen = [first, 1 - first]
    cosine = (2 * seen[0] + seen[1]) / math.hypot(*seen) / math.sqrt(5)
    found = head(torch.tensor([[2.0, 1.0]])).detach()
    assert found.tolist() == [pytest.approx([cosine / 0.07, 1 / math.sqrt(5) / 0.07], rel=1e-5)]


def test_untrained_description_head_is_the_cosine() -> None:
    torch.manual_seed(0)
    labels, texts = torch.randn(4, 8), torch.randn(3, 8)
    wanted = F.cosine_similarity(texts.unsqueeze(1), labels.unsqueeze(0), dim=-1) / 0.07
    torch.testing.assert_close(description_head(labels)(texts), wanted, rtol=1e-4, atol=1e-4)


def test_new_labels_work_without_retraining() -> None:
    """Text and label text differ by a rotation; learned on twelve labels, it holds for eight unseen ones."""
    torch.manual_seed(0)
    width = 16
    turn = torch.linalg.qr(torch.randn(width, width))[0]
    labels = F.normalize(torch.randn(28, width), dim=1)
    number = torch.arange(560) % 28
    texts = labels[number] @ turn + 0.05 * torch.randn(560, width)
    old = number < 20
    head = description_head(labels[20:])
    before = (head(texts[~old]).argmax(dim=1) == number[~old] - 20).float().mean()
    head.set_labels(labels[:20])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(head(texts[old]), number[old]).backward()
        optimizer.step()
    logits = head(texts[old]).detach()
    head.set_labels(labels)
    together = head(texts).detach()
    torch.testing.assert_close(together[old][:, :20], logits)  # the old ones don't notice
    head.set_labels(labels[20:])
    after = (head(texts[~old]).argmax(dim=1) == number[~old] - 20).float().mean()
    assert float(before) < 0.4 and float(after) > 0.85


def test_padding_of_descriptions_does_not_matter() -> None:
    torch.manual_seed(0)
    words, texts = torch.randn(3, 4, 8), torch.randn(2, 8)
    padded = torch.cat([words, torch.full((3, 5, 8), 1e3)], dim=1)
    mask = torch.tensor([[1] * 4 + [0] * 5] * 3)
    torch.testing.assert_close(description_head(padded, mask)(texts), description_head(words)(texts))


@pytest.mark.parametrize(
    ("words", "mask", "says"),
    [
        (torch.zeros(2, 3, 5), None, r"\[labels, tokens, 8\]"),
        (torch.zeros(2, 3, 8), torch.ones(2, 2), r"mask of \(2, 2\)"),
        (torch.zeros(2, 3, 8), torch.tensor([[1, 1, 1], [0, 0, 0]]), "no words"),
    ],
)
def test_descriptions_that_do_not_fit(words: torch.Tensor, mask: torch.Tensor | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        DescriptionHead(8).set_labels(words, mask)


def test_neighbours_by_hand() -> None:
    head = neighbour_head(neighbours=2, temperature=0.5)
    near, next_ = 1.0, math.sqrt(0.5)  # cosines of [5, 0] with [1, 0] and [1, 1]
    weight = math.exp(near / 0.5) / (math.exp(near / 0.5) + math.exp(next_ / 0.5))
    votes = head(torch.tensor([[5.0, 0.0]])).softmax(dim=1)
    assert votes.tolist() == [pytest.approx([weight, 1 - weight, 1e-6], rel=1e-4)]
    independent = neighbour_head(neighbours=2, temperature=0.5, multi_label=True)
    odds = independent(torch.tensor([[5.0, 0.0]])).sigmoid()
    assert odds.tolist() == [pytest.approx([weight, 1 - weight, 1e-6], rel=1e-3)]


def test_neighbours_take_what_there_is() -> None:
    head = neighbour_head(neighbours=50, temperature=math.inf)
    assert head(torch.tensor([[0.0, 1.0]])).exp().tolist() == [pytest.approx([0.25, 0.5, 0.25])]
    with pytest.raises(ConfigError, match="remember"):
        NeighbourHead(2, 3)(torch.zeros(1, 2))


def test_every_head_has_a_name() -> None:
    for name in get_args(HeadName):
        assert head_of(name, 6, 4)(torch.zeros(2, 6)).shape == (2, 4)
    with pytest.raises(ConfigError, match="no head 'tree'; there are: linear, mlp, equiangular"):
        head_of("tree", 6, 4)
