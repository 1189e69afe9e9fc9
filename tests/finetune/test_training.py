"""The loop: it learns, a step is the same however it is cut, and a killed run ends as it would have."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from labelspace.errors import ConfigError
from labelspace.finetune.adapters import LoraSettings, adapt
from labelspace.finetune.backbone import Backbone
from labelspace.finetune.batches import Example, collate
from labelspace.finetune.checkpoint import gathered, read_tensors, trainable, write_tensors
from labelspace.finetune.label_model import LabelModel, logits_of
from labelspace.finetune.losses import basic as losses
from labelspace.finetune.losses.longtail import Comic
from labelspace.finetune.run_state import BEST, STATE
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import train
from labelspace.finetune.weights import save_weights


def make_model(tuning: str = "lora", *, dropout: float = 0.1) -> LabelModel:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    backbone = Backbone(LlamaModel(config))
    adapt(backbone, tuning, lora=LoraSettings(dropout=dropout), base="tiny")  # type: ignore[arg-type]
    return LabelModel(backbone, torch.nn.Linear(16, 3, bias=False), dropout=dropout)


def make_examples(n: int = 48, seed: int = 0) -> list[Example]:
    """Texts whose label is which of three ids they end in."""
    draw = np.random.default_rng(seed)
    rows = [draw.integers(5, 50, draw.integers(2, 12)).tolist() for _ in range(n)]
    return [Example([*row, 5 + i % 3], i % 3) for i, row in enumerate(rows)]


def accuracy(model: LabelModel, examples: list[Example]) -> float:
    return float(
        np.mean([row.argmax() == e.target for row, e in zip(logits_of(model, examples), examples, strict=True)])
    )


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in trainable(model).values()])


QUICK = TrainSettings(epochs=2, batch_size=8, learning_rate=1e-2, device="cpu")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_it_learns(tuning: str) -> None:
    model, examples = make_model(tuning, dropout=0.0), make_examples()
    settings = QUICK.model_copy(update={"epochs": 15, "learning_rate": 3e-2 if tuning == "lora" else 1e-2})
    history = train(model, examples, loss=cross_entropy, settings=settings)
    assert history.losses[-1] < 0.2 < 0.5 < history.losses[0]
    assert accuracy(model, examples) == 1.0
    assert (history.epochs, history.steps, history.texts) == (15, 90, 720)
    assert history.tokens == 15 * sum(len(example.ids) for example in examples)


def test_only_what_requires_a_gradient_changes() -> None:
    model = make_model("frozen")
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(model, make_examples(), loss=cross_entropy, settings=QUICK)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"head.weight"}


@pytest.mark.parametrize("tokens", [1, 40])
def test_a_step_cut_into_parts_has_the_gradient_of_the_whole(tokens: int) -> None:
    ends = []
    for budget in (10**6, tokens):
        model = make_model("full", dropout=0.0)
        settings = QUICK.model_copy(update={"tokens": budget, "schedule": "constant"})
        train(model, make_examples(), loss=cross_entropy, settings=settings)
        ends.append(flat(model))
    # AdamW divides by the size of a gradient, so rounding shows a little
    torch.testing.assert_close(ends[0], ends[1], atol=2e-3, rtol=0)


@pytest.mark.parametrize("tokens", [10_000, 60, 14])
def test_a_step_weighs_its_texts_however_it_is_cut(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = make_model("full", dropout=0.0), make_model("full", dropout=0.0)
    weights = [0.25, 1.0, 1.0, 3.0, 0.5, 2.0]
    examples = [
        Example(one.ids, one.target, weight=weight) for one, weight in zip(make_examples(6), weights, strict=True)
    ]
    each = [
        cross_entropy(whole(collate([one], pad=0)), torch.tensor([one.target]), reduction="sum") for one in examples
    ]
    wanted = (torch.stack(each) * torch.tensor(weights)).sum() / sum(weights)
    wanted.backward()
    grads: dict[str, torch.Tensor] = {}

    def watch(self: torch.optim.AdamW, *args: object) -> None:
        grads.update({name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None})

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    settings = QUICK.model_copy(update={"epochs": 1, "batch_size": 6, "tokens": tokens, "max_gradient_norm": 1e9})
    history = train(model, examples, loss=losses.cross_entropy, settings=settings)
    assert history.steps == 1
    assert history.losses[0] == pytest.approx(wanted.item(), rel=1e-5)
    for name, value in whole.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(grads[name], value.grad, atol=1e-6, rtol=1e-4)


def test_the_same_seed_gives_the_same_weights() -> None:
    ends = []
    for seed in (0, 0, 1):
        model = make_model()
        torch.manual_seed(seed)
        train(model, make_examples(), loss=cross_entropy, settings=QUICK.model_copy(update={"seed": seed}))
        ends.append(flat(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_the_best_weights_on_dev_are_kept_and_training_stops_early() -> None:
    scores = iter([0.1, 0.5, 0.5, 0.4, 0.9])
    seen = []
    model = make_model()

    def evaluate() -> float:
        seen.append(flat(model))
        return next(scores)

    settings = QUICK.model_copy(update={"epochs": 5, "patience": 2})
    history = train(model, make_examples(), loss=cross_entropy, settings=settings, evaluate=evaluate)
    assert (history.scores, history.best_epoch, history.epochs) == ([0.1, 0.5, 0.5, 0.4], 2, 4)
    assert torch.equal(flat(model), seen[1])


@pytest.mark.parametrize("on_dev", [False, True])
def test_the_mean_of_the_last_weights_is_scored_and_kept(on_dev: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen, scored = make_model(), [], []
    step = torch.optim.AdamW.step

    def watch(self: torch.optim.AdamW, *args: object) -> object:
        outcome = step(self, *args)
        seen.append(flat(model))
        return outcome

    def evaluate() -> float:
        scored.append(flat(model))
        return float(len(scored))

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    settings = QUICK.model_copy(update={"average": 0.25})
    train(model, make_examples(), loss=cross_entropy, settings=settings, evaluate=evaluate if on_dev else None)
    torch.testing.assert_close(flat(model), torch.stack(seen[9:]).mean(0))
    assert len(seen) == 12 and not torch.equal(flat(model), seen[-1])
    if on_dev:  # nothing is averaged yet after the first epoch, and averaging does not touch the run itself
        assert torch.equal(scored[0], seen[5]) and torch.equal(scored[1], flat(model))


@pytest.mark.parametrize(
    ("schedule", "last"),
    [("linear", 1 / 12), ("cosine", 0.017037), ("constant", 1.0), ("exponential", 0.01 ** (11 / 12))],
)
def test_the_rate_follows_the_schedule(schedule: str, last: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    step = torch.optim.AdamW.step

    def watch(self: torch.optim.AdamW, *args: object) -> object:
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    settings = QUICK.model_copy(update={"schedule": schedule, "head_learning_rate": 1.0, "learning_rate": 2.0})
    train(make_model(), make_examples(), loss=cross_entropy, settings=settings)
    assert len(seen) == 12
    assert seen[0] == [2.0, 1.0]
    assert seen[-1] == pytest.approx([2 * last, last], rel=1e-4)


def test_a_state_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(make_model(), make_examples(), loss=cross_entropy, settings=QUICK, folder=tmp_path)
    again = train(make_model(), make_examples(seed=1), loss=cross_entropy, settings=QUICK, folder=tmp_path)
    assert "this one starts anew" in capsys.readouterr().err
    assert again.steps == 12
    # and the very same run has nothing left to do
    model = make_model()
    history = train(model, make_examples(seed=1), loss=cross_entropy, settings=QUICK, folder=tmp_path)
    assert history.seconds == again.seconds
    saved = read_tensors(tmp_path / STATE)[0]
    assert all(torch.equal(value, saved[f"model.{name}"]) for name, value in trainable(model).items())


def test_a_loss_that_remembers_goes_on_from_what_it_knew(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Stopped(Comic):
        calls, stop = 0, 0

        def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls == self.stop:
                raise Stop
            return super().forward(logits, targets)

    examples = [Example(e.ids, np.eye(3, dtype=np.float32)[e.target]) for e in make_examples()]
    settings = QUICK.model_copy(update={"checkpoint_seconds": 0.0})
    ends = []
    for stop in (0, 8):
        for at in (stop, 0):
            model, loss = make_model("frozen"), Stopped([16, 16, 16], warmup=10, tau=0.4)
            torch.manual_seed(5)
            loss.stop = at
            with pytest.raises(Stop) if at else contextlib.nullcontext():
                train(model, examples, loss=loss, settings=settings, folder=tmp_path / str(stop))
        ends.append(flat(model))
    assert torch.equal(*ends)
    assert int(loss.rows) == 96


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    settings = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ConfigError, match=r"the loss of epoch 1 is nan, .*lower the rate of learning, 1e\+30"):
        train(make_model("full"), make_examples(), loss=cross_entropy, settings=settings)


@pytest.mark.parametrize("setting", ["learning_rate", "warmup", "weight_decay", "min_delta", "checkpoint_seconds"])
def test_settings_are_numbers(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        TrainSettings.model_validate({setting: float("nan")})


def test_figures_can_not_be_sent_to_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelspace.finetune.training.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="log=wandb needs .*: pip install wandb"):
        train(make_model(), make_examples(), loss=cross_entropy, settings=QUICK.model_copy(update={"log": "wandb"}))


def test_figures_for_tensorboard_stay_when_the_state_goes(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"log": "tensorboard", "log_folder": str(tmp_path / "logs")})
    train(make_model("frozen"), make_examples(), loss=cross_entropy, settings=settings, folder=tmp_path / "state")
    assert [path for path in (tmp_path / "logs").rglob("events*") if path.stat().st_size > 500]
    assert {path.name for path in (tmp_path / "state").iterdir()} == {STATE}


def test_a_damaged_state_says_so(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="remove it and train again"):
        train(make_model(), make_examples(), loss=cross_entropy, settings=QUICK, folder=tmp_path)


def long_run(folder: Path, dies_at: int = -1) -> None:
    """Three epochs with dropout and dev, the state kept after each step; leaves its last weights, unless it is killed.

    `dies_at` counts steps over all epochs; the process kills itself in the middle of that one.
    """
    torch.set_num_threads(1)
    model, examples = make_model("full"), make_examples(240)  # without peft, which takes seconds to import
    examples = [Example(one.ids, one.target, weight=0.5 + at % 3) for at, one in enumerate(examples)]
    torch.manual_seed(5)
    settings = QUICK.model_copy(update={"epochs": 3, "checkpoint_seconds": 0.0, "average": 0.6})
    steps = itertools.count(1)

    def loss(logits: torch.Tensor, targets: torch.Tensor, *, weights: torch.Tensor) -> torch.Tensor:
        if next(steps) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return (cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()

    train(
        model,
        examples,
        loss=loss,
        settings=settings,
        evaluate=lambda: accuracy(model, examples[:30]),
        folder=folder,
    )
    write_tensors(folder / "end.safetensors", trainable(model), {})


RUN = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("this", {file!r})
this = importlib.util.module_from_spec(spec)
spec.loader.exec_module(this)
this.long_run(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    def run(dies_at: int) -> int:
        command = [sys.executable, "-c", RUN.format(file=__file__), tmp_path / "broken", str(dies_at)]
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode

    long_run(tmp_path / "whole")
    assert run(dies_at=47) == -signal.SIGKILL
    stopped_at = read_tensors(tmp_path / "broken" / STATE)[1]
    assert (stopped_at["epoch"], stopped_at["done"]) == (1, 16)
    assert run(dies_at=-1) == 0
    for name in ("end.safetensors", BEST):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    ends = [read_tensors(tmp_path / folder / STATE)[1]["history"] for folder in ("whole", "broken")]
    assert ends[0]["steps"] == ends[1]["steps"] == 90
    assert ends[0]["losses"] == ends[1]["losses"] and ends[0]["scores"] == ends[1]["scores"]


SHARE = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("this", {file!r})
this = importlib.util.module_from_spec(spec)
spec.loader.exec_module(this)
this.short_run(pathlib.Path(sys.argv[1]) / "copied")
this.shard_on_cpus()
this.short_run(pathlib.Path(sys.argv[1]) / "sharded")
"""


def shard_on_cpus() -> None:
    """Have accelerate use FSDP, which it sets up for GPUs only, over processes of the CPU, where torch's own runs."""
    import accelerate
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    class Sharded(accelerate.Accelerator):  # type: ignore[misc]
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)
            plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
            )
            AcceleratorState._shared_state |= {"fsdp_plugin": plugin, "distributed_type": DistributedType.FSDP}

    accelerate.Accelerator = Sharded


def short_run(folder: Path) -> None:
    """Two epochs in parts of few tokens, 50 texts: parts and steps that two processes can't share evenly."""
    torch.set_num_threads(1)
    model, examples = make_model("full", dropout=0.0), make_examples(50)
    settings = QUICK.model_copy(update={"tokens": 20, "schedule": "constant", "average": 0.5})
    history = train(
        model,
        examples,
        loss=cross_entropy,
        settings=settings,
        evaluate=lambda: accuracy(model, examples),
        folder=folder,
    )
    save_weights(folder / "saved", model, None, tuning="frozen")
    end = gathered(trainable(model))
    if os.environ.get("RANK", "0") == "0":
        write_tensors(folder / "end.safetensors", end, {"losses": history.losses, "scores": history.scores})


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SHARE.format(file=__file__), tmp_path],
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.DEVNULL,
        )
        for rank in ("0", "1")
    ]
    short_run(tmp_path / "one")
    assert [process.wait(timeout=200) for process in started] == [0, 0]
    for kind in ("copied", "sharded"):  # the whole model in each process, or spread over both by FSDP
        for file in ("end.safetensors", "saved/head.safetensors", STATE, BEST):
            one, two = (read_tensors(tmp_path / name / file) for name in ("one", kind))
            assert one[0].keys() == two[0].keys()
            for name, value in one[0].items():
                torch.testing.assert_close(two[0][name], value, atol=1e-4, rtol=0)
        assert two[1]["score"] == one[1]["score"]
        losses = [read_tensors(tmp_path / name / "end.safetensors")[1]["losses"] for name in ("one", kind)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-4)
