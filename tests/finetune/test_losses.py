"""Losses: values worked out in plain Python, floors, extreme logits, gradients, half precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor

from labelspace.errors import ConfigError
from labelspace.finetune.losses.basic import (
    asymmetric,
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    distillation,
    focal,
    positive_weight,
)
from labelspace.finetune.losses.choice import HARD, OPTIONS, SOFT, MultiLoss, SingleLoss, check_targets, loss_of
from labelspace.finetune.losses.contrast import cosine_contrast, supervised_contrastive
from labelspace.finetune.losses.longtail import (
    Comic,
    head_tail_factor,
    logit_adjusted,
    multi_focal,
)
from labelspace.finetune.losses.noise import EarlyLearning, symmetric_cross_entropy
from labelspace.finetune.losses.partial import candidates, mixed_consistency, positive_unlabelled

Z = [[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]]
Y = [2, 1]
MANY = [[1, 0, 1], [0, 1, 0]]
WEIGHT = [0.5, 2.0, 1.0]
COUNTS = [100, 10, 1]


def loss_names(several: bool) -> set[str]:
    return set(get_args(MultiLoss if several else SingleLoss))


def s(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


P = [softmax(row) for row in Z]
TRUE = [P[0][2], P[1][1]]
CELLS = [(z, y) for row, wanted in zip(Z, MANY, strict=True) for z, y in zip(row, wanted, strict=True)]
H = [(1 - math.log(count / 100)) ** (1 / 6) for count in COUNTS]


def bce(z: float, y: float, weight: float = 1.0) -> float:
    return -weight * y * math.log(s(z)) - (1 - y) * math.log(1 - s(z))


def kl(q: list[float], p: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0)


def asl(z: float, y: int) -> float:
    p, shifted = s(z), max(s(z) - 0.05, 0)
    return -((1 - p) ** 1 * math.log(p)) if y else -(shifted**4 * math.log(1 - shifted))


def mfm(z: float, y: int, h: float) -> float:
    p = s(z)
    return -((1 - p) ** h * math.log(p)) if y else -(p ** (4 + h) * math.log(1 - p))


def pu(zs: list[float], ys: list[int], temperature: float) -> float:
    balance = mean([s(z) for z in zs]) ** 0.55
    positives = [math.log(s(z / temperature)) for z, y in zip(zs, ys, strict=True) if y]
    return balance * math.log(mean([s(z / temperature) for z in zs])) - mean(positives)


def std(zs: list[float]) -> float:
    return math.sqrt(mean([(z - mean(zs)) ** 2 for z in zs]))


COLUMNS = list(zip(*Z, strict=True))
TEACHER = [[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]]


def soften(row: list[float], temperature: float) -> list[float]:
    raised = [q ** (1 / temperature) for q in row]
    return [q / sum(raised) for q in raised]


BY_HAND: dict[str, tuple[Callable[..., Tensor], object, float]] = {
    "cross-entropy": (cross_entropy, Y, mean([-math.log(p) for p in TRUE])),
    "cross-entropy, weights": (
        partial(cross_entropy, class_weight=torch.tensor(WEIGHT)),
        Y,
        (-1.0 * math.log(TRUE[0]) - 2.0 * math.log(TRUE[1])) / 3.0,
    ),
    "cross-entropy, smoothed": (
        partial(cross_entropy, smoothing=0.3),
        Y,
        mean([-0.7 * math.log(t) - 0.1 * sum(map(math.log, row)) for t, row in zip(TRUE, P, strict=True)]),
    ),
    "cross-entropy, soft": (
        cross_entropy,
        [[0.1, 0.0, 0.9], [0.2, 0.3, 0.5]],
        mean(
            [
                -0.1 * math.log(P[0][0]) - 0.9 * math.log(P[0][2]),
                -0.2 * math.log(P[1][0]) - 0.3 * math.log(P[1][1]) - 0.5 * math.log(P[1][2]),
            ]
        ),
    ),
    "cross-entropy, a row left out": (cross_entropy, [2, -100], -math.log(TRUE[0])),
    "bce": (binary_cross_entropy, MANY, mean([bce(z, y) for z, y in CELLS])),
    "bce, pos_weight": (
        partial(binary_cross_entropy, pos_weight=torch.tensor(WEIGHT)),
        MANY,
        mean([bce(z, y, w) for (z, y), w in zip(CELLS, WEIGHT * 2, strict=True)]),
    ),
    "bce, smoothed": (
        partial(binary_cross_entropy, smoothing=0.2),
        MANY,
        mean([bce(z, 0.9 if y else 0.1) for z, y in CELLS]),
    ),
    "bce, some unknown": (
        binary_cross_entropy,
        [[1, -1, 1], [-1, -1, 0]],
        mean([bce(0.5, 1), bce(2.0, 1), bce(-0.5, 0)]),
    ),
    "focal": (focal, Y, mean([-((1 - p) ** 2) * math.log(p) for p in TRUE])),
    "focal, alpha": (
        partial(focal, gamma=1.5, class_weight=torch.tensor(WEIGHT)),
        Y,
        mean([-w * (1 - p) ** 1.5 * math.log(p) for p, w in zip(TRUE, [1.0, 2.0], strict=True)]),
    ),
    "focal, many": (
        focal,
        MANY,
        mean([-((1 - s(z)) ** 2) * math.log(s(z)) if y else -(s(z) ** 2) * math.log(1 - s(z)) for z, y in CELLS]),
    ),
    "asymmetric": (partial(asymmetric, gamma_positive=1.0), MANY, mean([asl(z, y) for z, y in CELLS])),
    "asymmetric, no margin": (
        partial(asymmetric, margin=0.0),
        MANY,
        mean([-math.log(s(z)) if y else -(s(z) ** 4) * math.log(1 - s(z)) for z, y in CELLS]),
    ),
    "distillation": (distillation, TEACHER, mean([kl(q, p) for q, p in zip(TEACHER, P, strict=True)])),
    "distillation, warm and half hard": (
        partial(distillation, temperature=2.0, hard=0.5),
        TEACHER,
        0.5 * 4 * mean([kl(soften(q, 2), softmax([z / 2 for z in row])) for q, row in zip(TEACHER, Z, strict=True)])
        + 0.5 * mean([-math.log(P[0][0]), -math.log(P[1][2])]),
    ),
    "distillation, independent": (
        partial(distillation, independent=True),
        TEACHER,
        mean(
            [
                kl([q, 1 - q], [s(z), 1 - s(z)])
                for z, q in zip([z for row in Z for z in row], [q for row in TEACHER for q in row], strict=True)
            ]
        ),
    ),
    "distillation, independent, warm": (
        partial(distillation, independent=True, temperature=3.0),
        [[0.9, 0.5, 0.5], [0.5, 0.5, 0.5]],
        9
        * mean(
            [
                kl([q, 1 - q], [s(z / 3), 1 - s(z / 3)])
                for z, q in zip(
                    [z for row in Z for z in row],
                    [0.9 ** (1 / 3) / (0.9 ** (1 / 3) + 0.1 ** (1 / 3)), *[0.5] * 5],
                    strict=True,
                )
            ]
        ),
    ),
    "symmetric": (symmetric_cross_entropy, Y, mean([-0.1 * math.log(p) + 4 * (1 - p) for p in TRUE])),
    "symmetric, as in circulation": (
        partial(symmetric_cross_entropy, log_zero=math.log(1e-4)),
        Y,
        mean([-0.1 * math.log(p) - math.log(1e-4) * (1 - p) for p in TRUE]),
    ),
    "positive-unlabelled": (
        positive_unlabelled,
        MANY,
        mean([pu(list(zs), [row[at] for row in MANY], min(std(list(zs)), 1)) for at, zs in enumerate(COLUMNS)]),
    ),
    "positive-unlabelled, no positive of two": (
        positive_unlabelled,
        [[0, 0, 0], [0, 1, 0]],
        pu([-1.0, 0.0], [0, 1], 0.5),
    ),
    "mixed consistency": (
        lambda z, y: mixed_consistency(z, z + 1.0, y, share=0.25),
        MANY,
        mean([(math.log(s(z)) - math.log(0.25 + 0.75 * s(z + 1))) ** 2 for z, y in CELLS if y]),
    ),
    "candidates": (candidates, MANY, mean([-math.log(P[0][0] + P[0][2]), -math.log(P[1][1])])),
    "candidates, a row without": (candidates, [[1, 0, 1], [0, 0, 0]], -math.log(P[0][0] + P[0][2])),
    "logit-adjusted": (
        partial(logit_adjusted, counts=torch.tensor(COUNTS)),
        Y,
        mean(
            [
                -math.log(softmax([z + math.log(c / 111) for z, c in zip(row, COUNTS, strict=True)])[y])
                for row, y in zip(Z, Y, strict=True)
            ]
        ),
    ),
    "multi-focal": (
        partial(multi_focal, head_tail=torch.tensor(H)),
        MANY,
        mean([mfm(z, y, h) for (z, y), h in zip(CELLS, H * 2, strict=True)]),
    ),
}


def as_target(values: object) -> Tensor:
    wanted = torch.tensor(values)
    return wanted.double() if wanted.ndim == 2 else wanted


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name: str) -> None:
    loss, targets, expected = BY_HAND[name]
    found = loss(torch.tensor(Z, dtype=torch.float64), as_target(targets))
    assert found.dtype == torch.float64 and found.ndim == 0
    assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", BY_HAND)
def test_gradient(name: str) -> None:
    loss, targets, _ = BY_HAND[name]
    # What a loss holds fixed on purpose must be fixed for the finite differences too.
    if name.startswith("positive-unlabelled"):
        loss = partial(positive_unlabelled, gamma=0.0, temperature=0.7)
    if name == "mixed consistency":
        other = torch.tensor(Z, dtype=torch.float64) + 1
        loss = lambda z, y: mixed_consistency(z, other, y, share=0.25)  # noqa: E731
    wanted = targets if isinstance(targets, Tensor) else as_target(targets)
    logits = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, wanted), (logits,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", BY_HAND)
def test_extreme_logits_stay_finite(name: str, sign: int, dtype: torch.dtype) -> None:
    loss, targets, _ = BY_HAND[name]
    logits = (torch.tensor([[1e4, -1e4, 1e4], [-1e4, 1e4, -1e4]]) * sign).to(dtype).requires_grad_()
    wanted = torch.tensor(targets)
    value = loss(logits, wanted.float() if wanted.ndim == 2 else wanted)
    assert value.dtype == torch.float32 and torch.isfinite(value)
    value.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.dtype == dtype


@pytest.mark.parametrize("name", BY_HAND)
def test_half_precision_is_near_and_autocast_changes_nothing(name: str) -> None:
    loss, targets, expected = BY_HAND[name]
    wanted = torch.tensor(targets)
    wanted = wanted.float() if wanted.ndim == 2 else wanted
    assert float(loss(torch.tensor(Z).bfloat16(), wanted)) == pytest.approx(expected, rel=0.02, abs=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(torch.tensor(Z), wanted)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


ONE = torch.tensor([2, 1])
SURE_ONE = torch.tensor([[-60.0, -60.0, 60.0], [-60.0, 60.0, -60.0]])
SURE_MANY = (torch.tensor(MANY) * 2 - 1) * 60.0
FLOORS: dict[str, tuple[Callable[..., Tensor], Tensor, Tensor, float]] = {
    "cross-entropy": (cross_entropy, SURE_ONE, ONE, 0.0),
    "cross-entropy, weights": (partial(cross_entropy, class_weight=torch.tensor(WEIGHT)), SURE_ONE, ONE, 0.0),
    # The smoothed target itself: its own entropy.
    "cross-entropy, smoothed": (
        partial(cross_entropy, smoothing=0.3),
        torch.tensor([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]).log(),
        ONE,
        -0.8 * math.log(0.8) - 0.2 * math.log(0.1),
    ),
    "cross-entropy, soft": (
        cross_entropy,
        torch.tensor(TEACHER).clamp(min=1e-30).log(),
        torch.tensor(TEACHER),
        mean([-sum(q * math.log(q) for q in row if q) for row in TEACHER]),
    ),
    "bce": (binary_cross_entropy, SURE_MANY, torch.tensor(MANY), 0.0),
    "bce, pos_weight": (
        partial(binary_cross_entropy, pos_weight=torch.tensor(WEIGHT)),
        SURE_MANY,
        torch.tensor(MANY),
        0.0,
    ),
    "bce, smoothed": (
        partial(binary_cross_entropy, smoothing=0.2),
        (torch.tensor(MANY) * 2 - 1) * math.log(9),
        torch.tensor(MANY),
        -0.9 * math.log(0.9) - 0.1 * math.log(0.1),
    ),
    "focal": (focal, SURE_ONE, ONE, 0.0),
    "focal, many": (focal, SURE_MANY, torch.tensor(MANY).float(), 0.0),
    "asymmetric": (asymmetric, SURE_MANY, torch.tensor(MANY), 0.0),
    "distillation": (distillation, torch.tensor(TEACHER).clamp(min=1e-30).log(), torch.tensor(TEACHER), 0.0),
    "distillation, warm": (
        partial(distillation, temperature=4.0),
        torch.tensor(TEACHER).clamp(min=1e-30).log(),
        torch.tensor(TEACHER),
        0.0,
    ),
    "distillation, independent": (
        partial(distillation, independent=True, temperature=2.0),
        torch.tensor([[0.9, 0.2]]).logit(),
        torch.tensor([[0.9, 0.2]]),
        0.0,
    ),
    "symmetric": (symmetric_cross_entropy, SURE_ONE, ONE, 0.0),
    "positive-unlabelled": (positive_unlabelled, SURE_MANY, torch.tensor(MANY), 0.5**0.55 * math.log(0.5)),
    "candidates": (candidates, SURE_ONE, torch.tensor(MANY), 0.0),
    "candidates, all": (candidates, torch.tensor(Z), torch.ones(2, 3), 0.0),
    "mixed consistency": (
        lambda z, y: mixed_consistency(z, torch.full_like(z, -60.0), y, share=0.5),
        torch.zeros(2, 3),
        torch.tensor(MANY),
        0.0,
    ),
    "multi-focal": (partial(multi_focal, head_tail=torch.tensor(H)), SURE_MANY, torch.tensor(MANY), 0.0),
    "logit-adjusted": (partial(logit_adjusted, counts=torch.tensor(COUNTS)), SURE_ONE, ONE, 0.0),
    "comic": (Comic(COUNTS), SURE_MANY, torch.tensor(MANY), 0.0),
}


@pytest.mark.parametrize("name", FLOORS)
def test_perfect_prediction_reaches_the_floor_and_nothing_goes_below(name: str) -> None:
    loss, logits, targets, floor = FLOORS[name]
    assert float(loss(logits, targets)) == pytest.approx(floor, abs=1e-6)
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 10.0):
        assert float(loss(torch.randn(logits.shape) * scale, targets)) >= floor - 1e-6


def test_embetter_s_mistake_is_not_ours() -> None:
    """Sigmoid outputs in cross-entropy can't fall below 1.46 for ten classes; logits can."""
    target = torch.tensor([3])
    sure = torch.full((1, 10), -30.0).index_fill(1, target, 30.0)
    assert float(cross_entropy(sure.sigmoid(), target)) == pytest.approx(math.log(math.e + 9) - 1)
    assert float(cross_entropy(sure, target)) < 1e-12


def test_every_row_left_out_costs_nothing() -> None:
    logits = torch.tensor(Z, requires_grad=True)
    for value in (
        cross_entropy(logits, torch.tensor([-100, -100])),
        binary_cross_entropy(logits, torch.full((2, 3), -1.0)),
        positive_unlabelled(logits, torch.zeros(2, 3)),
        candidates(logits, torch.zeros(2, 3)),
    ):
        value.backward()
        assert float(value.detach()) == 0 and not logits.grad.any()


def test_class_weights_by_hand() -> None:
    inverse = [1 / 100, 1 / 10, 1.0]
    assert class_weights([100, 10, 1]).tolist() == pytest.approx([3 * w / sum(inverse) for w in inverse])
    effective = [0.1 / (1 - 0.9**100), 0.1 / (1 - 0.9**10), 1.0]
    assert class_weights([100, 10, 1], beta=0.9).tolist() == pytest.approx([3 * w / sum(effective) for w in effective])
    assert class_weights([7, 7, 7]).tolist() == [1, 1, 1]
    assert class_weights([4, 0, 4]).tolist() == [1, 0, 1]
    assert positive_weight([100, 10, 0]).tolist() == [1, 10, 100]
    assert head_tail_factor([100, 10, 1]).tolist() == pytest.approx(H)
    with pytest.raises(ConfigError, match="below 1"):
        class_weights([1], beta=1.0)


def test_early_learning_by_hand() -> None:
    loss = EarlyLearning(5, 3, weight=2.0, momentum=0.6)
    targets = torch.tensor([[2.0, 4.0], [1.0, 0.0]])  # label and row, as the training loop hands them over
    logits = torch.tensor(Z)
    cross = mean([-math.log(p) for p in TRUE])
    once = [[0.4 * p for p in row] for row in P]
    first = mean([math.log(1 - sum(p * t for p, t in zip(*both, strict=True))) for both in zip(P, once, strict=True)])
    assert float(loss(logits, targets)) == pytest.approx(cross + 2 * first, rel=1e-5)
    twice = [[0.6 * t + 0.4 * p for p, t in zip(*both, strict=True)] for both in zip(P, once, strict=True)]
    second = mean([math.log(1 - sum(p * t for p, t in zip(*both, strict=True))) for both in zip(P, twice, strict=True)])
    assert float(loss(logits, targets)) == pytest.approx(cross + 2 * second, rel=1e-5)
    assert loss.running[[4, 0]].tolist() == [pytest.approx(row) for row in twice]
    assert not loss.running[[1, 2, 3]].any()
    loss.eval()
    assert loss(logits, targets) == loss(logits, targets)
    checked = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (checked,))


def test_early_learning_floor_and_extremes() -> None:
    loss = EarlyLearning(2, 3, momentum=0.0)
    targets = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert float(loss(SURE_ONE, targets)) == pytest.approx(3 * math.log(1e-4))
    for sign in (1, -1):
        logits = (SURE_ONE.sign() * 1e4 * sign).bfloat16().requires_grad_()
        value = loss(logits, targets)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
    with pytest.raises(ConfigError, match="16777216"):
        EarlyLearning(2**24 + 1, 0)


@pytest.mark.parametrize("rows", [1, 2])
def test_positive_unlabelled_survives_what_divides_the_paper_by_zero(rows: int) -> None:
    logits = torch.zeros(rows, 2, requires_grad=True)
    value = positive_unlabelled(logits, torch.ones(rows, 2))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()


def test_positive_unlabelled_learns_from_positives_alone() -> None:
    """One feature tells; a tenth of the positives are labelled, no negative is."""
    torch.manual_seed(0)
    truth = torch.arange(400) % 2
    inputs = torch.stack([truth * 2.0 - 1 + 0.3 * torch.randn(400), torch.ones(400)], dim=1)
    labelled = (truth.bool() & (torch.rand(400) < 0.1)).float().unsqueeze(1)
    weight = torch.zeros(2, 1, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        positive_unlabelled(inputs @ weight, labelled).backward()
        optimizer.step()
    scores = (inputs @ weight).detach().squeeze(1)
    assert float((scores[truth == 1].unsqueeze(1) > scores[truth == 0]).float().mean()) > 0.99
    assert float(((scores > 0) == truth.bool()).float().mean()) > 0.9


def test_comic_recalls_missing_labels() -> None:
    loss = Comic([50, 5], tau=0.7, warmup=1)
    given = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    logits = torch.tensor([[2.0, 1.5], [-1.0, 0.5]])  # probabilities 0.88, 0.82; 0.27, 0.62
    assert loss.correct(logits, given).tolist() == given.tolist()  # nothing is believed yet
    loss(logits, given)
    assert loss.correct(logits, given).tolist() == [[1, 1], [0, 0]]
    assert loss.correct(logits - 0.7, given).tolist() == [[1, 0], [0, 0]]  # 0.69 is below tau
    # The first label's positives had 0.88 so far: what is less sure is not recalled, though above tau.
    assert loss.correct(torch.tensor([[2.0, 0.0], [1.5, 0.0]]), given)[1, 0] == 0
    assert loss.correct(torch.tensor([[2.0, 0.0], [2.5, 0.0]]), given)[1, 0] == 1
    value = loss(logits, given)
    factor = head_tail_factor([50, 6]).tolist()  # one label of the second kind came to light
    cells = [(2.0, 1, factor[0]), (1.5, 1, factor[1]), (-1.0, 0, factor[0]), (0.5, 0, factor[1])]
    assert float(value) == pytest.approx(mean([mfm(*cell) for cell in cells]), rel=1e-5)
    loss.eval()
    before = loss.state_dict()["given"].clone()
    loss(logits, given)
    assert torch.equal(loss.given, before)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 3\) and targets \(2, 2\)"):
        binary_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="class weights"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), class_weight=torch.ones(3))
    with pytest.raises(ConfigError, match=r"\(2, 3\) and targets \(2,\)"):
        candidates(torch.zeros(2, 3), ONE)
    with pytest.raises(ConfigError, match="share"):
        mixed_consistency(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3), share=1.0)


@pytest.mark.parametrize(("multi_label", "names"), [(False, get_args(SingleLoss)), (True, get_args(MultiLoss))])
def test_every_loss_has_a_name(multi_label: bool, names: tuple[str, ...]) -> None:
    soft = {"distillation", "candidates"}
    for name in names:
        targets = torch.tensor(MANY).float() if multi_label or name in soft else ONE
        if name == "early-learning":
            targets = torch.stack([ONE, torch.arange(2)], dim=1).float()
        logits = torch.tensor(Z, requires_grad=True)
        value = loss_of(name, COUNTS, multi_label=multi_label)(logits, targets)
        value.backward()
        assert value.ndim == 0 and torch.isfinite(value) and logits.grad.any()
    with pytest.raises(ConfigError, match=f"no loss 'hinge'.*{names[0]}, {names[1]}"):
        loss_of("hinge", COUNTS, multi_label=multi_label)


@pytest.mark.parametrize(
    ("multi_label", "name"),
    [
        *((False, name) for name in get_args(SingleLoss) if name != "early-learning"),  # tested by itself
        *((True, name) for name in get_args(MultiLoss) if name != "positive-unlabelled"),  # it is of the whole batch
    ],
)
def test_parts_of_a_batch_add_up_to_it(multi_label: bool, name: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3)
    shares = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]]).float()
    whole_rows = shares if multi_label or name in ("distillation", "candidates") else torch.tensor([2, 1, 0, 0, 1])
    if name == "distillation" and not multi_label:
        whole_rows = shares / shares.sum(dim=1, keepdim=True)

    def loss(rows: slice) -> Tensor:
        return loss_of(name, COUNTS, multi_label=multi_label, warmup=9)(logits[rows], whole_rows[rows])

    parts = sum(loss(slice(at, at + 1)) for at in range(2)) / 5 + loss(slice(2, 5)) * 3 / 5
    assert float(parts) == pytest.approx(float(loss(slice(0, 5))), rel=1e-5)


def test_rows_of_a_rare_label_weigh_more_though_they_stand_alone() -> None:
    balanced = loss_of("balanced", [3, 1], multi_label=False)
    common, rare = (float(balanced(torch.zeros(1, 2), torch.tensor([label]))) for label in (0, 1))
    assert (common, rare) == (pytest.approx(math.log(2) * 2 / 3), pytest.approx(math.log(2) * 2))


@pytest.mark.parametrize(
    ("multi_label", "name"), [(several, name) for several in (False, True) for name in sorted(loss_names(several))]
)
def test_a_row_of_weight_two_counts_as_two_rows(multi_label: bool, name: str) -> None:
    torch.manual_seed(0)
    logits, times = torch.randn(5, 3), torch.tensor([2, 1, 0, 3, 1])
    targets = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]]).float()
    if not multi_label:
        targets = targets / targets.sum(dim=1, keepdim=True) if name in SOFT else torch.tensor([2, 1, 0, 0, 1])
    if name == "early-learning":
        targets = torch.stack([targets, torch.arange(5)], dim=1).float()
    # the temperature is of the rows there are, whatever they weigh
    loss = loss_of(name, [5] * 3, multi_label=multi_label, options={"temperature": 0.7} if "positive" in name else None)
    if isinstance(loss, torch.nn.Module):
        loss.eval()
    weighed = loss(logits, targets, weights=times * 0.5)
    repeated = loss(logits.repeat_interleave(times, dim=0), targets.repeat_interleave(times, dim=0))
    assert float(weighed) == pytest.approx(float(repeated), rel=1e-5)
    assert float(weighed) != pytest.approx(float(loss(logits, targets)), rel=1e-3)


@pytest.mark.parametrize("alike", [0, 1])
def test_a_text_of_weight_two_is_two_anchors_and_in_twice_the_pairs(alike: int) -> None:
    vectors, targets = torch.eye(3)[[0, 0, 1, 2]] + 0.1, torch.tensor([0, 0, 1, alike])
    light = torch.tensor([1.0, 1.0, 1.0, 1e-9])
    for contrast in (cosine_contrast, supervised_contrastive):
        found = contrast(vectors, targets, weights=torch.full((4,), 0.3))
        assert float(found) == pytest.approx(float(contrast(vectors, targets)), rel=1e-5)
    left = cosine_contrast(vectors[:3], targets[:3])
    assert float(cosine_contrast(vectors, targets, weights=light)) == pytest.approx(float(left), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "multi_label", "options", "function", "targets"),
    [
        ("focal", False, {"gamma": 1.0}, partial(focal, gamma=1.0), ONE),
        ("smoothed", False, {"smoothing": 0.3}, partial(cross_entropy, smoothing=0.3), ONE),
        ("symmetric", False, {"alpha": 6.0, "beta": 0.1}, partial(symmetric_cross_entropy, alpha=6.0, beta=0.1), ONE),
        ("distillation", True, {"temperature": 2.0}, partial(distillation, temperature=2.0, independent=True), MANY),
        ("asymmetric", True, {"margin": 0.0}, partial(asymmetric, margin=0.0), MANY),
    ],
)
def test_options_of_a_loss(name: str, multi_label: bool, options: dict[str, float], function: object, targets) -> None:
    wanted = targets if isinstance(targets, Tensor) else torch.tensor(targets)
    made = loss_of(name, COUNTS, multi_label=multi_label, options=options)
    assert torch.equal(made(torch.tensor(Z), wanted), function(torch.tensor(Z), wanted))  # type: ignore[operator]
    with pytest.raises(ConfigError, match=f"loss={name} has no option 'gama'; it has: .*{next(iter(options))}"):
        loss_of(name, COUNTS, multi_label=multi_label, options={"gama": 1.0})


def test_every_option_there_is_named_can_be_set() -> None:
    for several in (False, True):
        for name in loss_names(several):
            options = {one: 0.5 for one in OPTIONS[name] if not (several and one == "hard")}
            assert callable(loss_of(name, COUNTS, multi_label=several, options=options))


@pytest.mark.parametrize("name", sorted(loss_names(False)))
def test_what_a_loss_learns_from_is_said(name: str) -> None:
    check_targets(name, soft=name in SOFT)
    if name in HARD:
        with pytest.raises(ConfigError, match=f"loss={name} learns from labels, not from probabilities"):
            check_targets(name, soft=True)
    if name in SOFT:
        with pytest.raises(ConfigError, match=f"loss={name} learns from probabilities of labels"):
            check_targets(name, soft=False)
