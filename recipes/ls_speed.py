"""Our training loop and inference beside transformers' Trainer: same model, texts, adapters and machine, one run.

    labelspace run ls_speed                                   # needs the data sets in ../shared/data
    labelspace run ls_speed data=FOLDER base=FOLDER_OF_AN_ENCODER
    labelspace run ls_speed shape=7b texts=600                # a GPU: a random Llama of 7B parameters

`padded` is Trainer with AutoModelForSequenceClassification and peft, texts padded to `max_length`; `grouped`
is the same with padding to the longest in a batch and batches by length. All take one epoch over the same token
ids in steps of the same size; each arm warms up first. Tokens are real ones, padding not counted.

Measured, shape=7b texts=640 batch_size=16 max_length=512 on an H100, `grouped` and ours in turn, twice, in one run:
    grouped       2,075 then 5,163 tokens/s trained (14% of the chip's peak), 4,320 then 15,877 predicted; 55.2 GB
    labelspace    3,880 then 6,120 tokens/s trained (16%), 18,545 then 21,607 predicted; 59.5 GB when alone in memory
Whatever runs first in a process is slower: kernels are loaded and memory is taken. `padded`, run last after one
turn of each: 1,923 tokens/s, where `grouped` had 3,955.

Measured, all-MiniLM-L6-v2, texts=640 (10,202 tokens) on two idle cores of an AMD EPYC, float32:
                 train tokens/s  predict tokens/s  peak MB
    labelspace            1,880             5,242    1,666
    grouped               1,253             3,655    1,633
    padded                  208               665    2,266
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.finetune.adapters import LoraSettings
from labelspace.finetune.train_settings import TrainSettings
from labelspace.recipes._memory import peak_megabytes

Arm = Literal["labelspace", "grouped", "padded"]
H100_FLOPS = 989e12
"""Multiply-adds, counted twice, that an H100 does in a second in bfloat16 by its data sheet."""


class LsSpeedConfig(Config):
    """What `labelspace run ls_speed` reads."""

    data: Path = Path("../shared/data")
    """Folder of the data sets; banking77 is read."""
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A model by name or folder."""
    shape: Literal["base", "7b"] = "base"
    """base loads `base`; 7b makes a random Llama of that size, and random texts of lognormal length."""
    arms: tuple[Arm, ...] = ("labelspace", "grouped", "padded")
    """What to time."""
    texts: int = 1500
    """Texts to train on and to predict."""
    batch_size: int = 32
    """Texts in a step."""
    max_length: int = 128
    """Tokens that `padded` pads to, and that texts are cut at."""
    tokens: int = 16384
    """Tokens that we run at once, padding counted."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision, for all arms; the 7B model is in bfloat16 anyway."""
    seed: int = 0
    """Of texts and weights."""


def main(config: LsSpeedConfig) -> dict[str, dict[str, float]]:
    """Time each arm and print a table; returns tokens a second in training and in inference, and peak memory."""
    rows = examples(config)
    click.echo(
        f"{len(rows):,} texts, {sum(len(ids) for ids, _ in rows):,} tokens, longest {max(len(ids) for ids, _ in rows)}"
    )
    click.echo(f"{'':12} train tokens/s  predict tokens/s  peak MB")
    found: dict[str, dict[str, float]] = {}
    for arm in config.arms:
        # A process for each, so that none profits from what another has loaded, and each has its own peak of memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            figures = process.submit(measure, rows, arm, config).result()
        found[arm] = figures
        share = f", {figures['share']:.0%} of an H100's peak in training" if "share" in figures else ""
        click.echo(f"{arm:12} {figures['train']:14,.0f} {figures['predict']:17,.0f} {figures['peak']:8,.0f}{share}")
    return found


def measure(rows: list[tuple[list[int], int]], arm: Arm, config: LsSpeedConfig) -> dict[str, float]:
    """Time an arm."""
    return (ours if arm == "labelspace" else theirs)(rows, arm, config)


def ours(rows: list[tuple[list[int], int]], _arm: str, config: LsSpeedConfig) -> dict[str, float]:
    """Time our loop."""
    import torch
    from torch.nn.functional import cross_entropy

    from labelspace.finetune.adapters import adapt
    from labelspace.finetune.backbone import Backbone, without_pooler
    from labelspace.finetune.batches import Example
    from labelspace.finetune.finetuned import CPU_TOKENS
    from labelspace.finetune.label_model import LabelModel, logits_of
    from labelspace.finetune.training import train

    stack, _ = make(config, classifier=False)
    backbone = Backbone(without_pooler(stack))
    adapt(backbone, "lora", lora=LoraSettings(), base=config.base)
    model = LabelModel(backbone, torch.nn.Linear(backbone.width, 77, bias=False), pooling="last")
    known = [Example(ids, label) for ids, label in rows]
    settings = TrainSettings(
        epochs=1, batch_size=config.batch_size, tokens=config.tokens, precision=precision(config), seed=config.seed
    )
    train(model, known[: 4 * config.batch_size], loss=cross_entropy, settings=settings, title="warming up")
    reset_peak()
    history = train(model, known, loss=cross_entropy, settings=settings)
    rate = history.tokens / history.seconds
    tokens = config.tokens if torch.cuda.is_available() else CPU_TOKENS  # as `LabelSupervised` predicts
    return timed(lambda: logits_of(model, known, tokens=tokens, precision=precision(config)), rows, rate, config)


def theirs(rows: list[tuple[list[int], int]], arm: str, config: LsSpeedConfig) -> dict[str, float]:
    """Time transformers' Trainer."""
    import tempfile

    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import Trainer, TrainingArguments

    whole, pad = make(config, classifier=True)
    lora = LoraSettings()
    targets = ["q_proj", "v_proj"] if config.shape == "7b" else None
    model = get_peft_model(
        whole,
        LoraConfig(
            TaskType.SEQ_CLS, r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets
        ),
    )

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        width = config.max_length if arm == "padded" else max(len(item["input_ids"]) for item in items)
        lists = [item["input_ids"] for item in items]
        return {
            "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids in lists]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in lists]),
            "labels": torch.tensor([item["labels"] for item in items]),
        }

    known = [{"input_ids": ids, "labels": label} for ids, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=config.batch_size,
            train_sampling_strategy="group_by_length" if arm == "grouped" else "random",
            bf16=precision(config) == "bf16",
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
            seed=config.seed,
            remove_unused_columns=False,
        )
        warm_up = Trainer(model, arguments, train_dataset=known[: 4 * config.batch_size], data_collator=collate)
        warm_up.train()
        reset_peak()
        trainer = Trainer(model, arguments, train_dataset=known, data_collator=collate)
        seconds = trainer.train().metrics["train_runtime"]
        rate = sum(len(ids) for ids, _ in rows) / seconds
        return timed(lambda: trainer.predict(known), rows, rate, config)


def timed(predict: Callable[[], Any], rows: list[Any], rate: float, config: LsSpeedConfig) -> dict[str, float]:
    """Time inference; gather the figures of an arm, and free its memory."""
    import gc

    import torch

    on_gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else peak_megabytes()
    started = time.perf_counter()
    predict()
    figures = {
        "train": rate,
        "predict": sum(len(ids) for ids, _ in rows) / (time.perf_counter() - started),
        "peak": peak,
    }
    if config.shape == "7b":
        # Forward, and backward to the activations: weights that are not trained need no gradient of theirs.
        figures["share"] = rate * 4 * 6.5e9 / H100_FLOPS
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    return figures


def make(config: LsSpeedConfig, *, classifier: bool) -> tuple[Any, int]:
    """A model, with transformers' head or without, and the id it pads with."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, LlamaConfig

    torch.manual_seed(config.seed)
    auto = AutoModelForSequenceClassification if classifier else AutoModel
    if config.shape == "base":
        settings = AutoConfig.from_pretrained(config.base, num_labels=77)
        return auto.from_pretrained(config.base, config=settings, dtype=torch.float32), settings.pad_token_id or 0
    shape = LlamaConfig(num_labels=77, pad_token_id=0)  # the defaults are those of Llama 7B
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return auto.from_config(shape, dtype=torch.bfloat16, attn_implementation="sdpa"), 0


def examples(config: LsSpeedConfig) -> list[tuple[list[int], int]]:
    """Token ids and a label of each text."""
    if config.shape == "7b":
        draw = np.random.default_rng(config.seed)
        lengths = np.clip(np.exp(draw.normal(4.0, 0.8, config.texts)), 4, config.max_length).astype(int)
        return [(draw.integers(5, 32000, length).tolist(), int(draw.integers(77))) for length in lengths]
    from transformers import AutoTokenizer

    path = config.data / "banking77" / "train.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    records = list(read_records(path))
    chosen = np.random.default_rng(config.seed).permutation(len(records))[: config.texts]
    names = sorted({record.label or "" for record in records})
    tokenizer = AutoTokenizer.from_pretrained(config.base)
    encoded = tokenizer([records[at].text for at in chosen], truncation=True, max_length=config.max_length)["input_ids"]
    return [(ids, names.index(records[at].label or "")) for ids, at in zip(encoded, chosen, strict=True)]


def precision(config: LsSpeedConfig) -> Literal["no", "bf16"]:
    """Mixed precision of the run."""
    return "bf16" if config.shape == "7b" else config.precision


def reset_peak() -> None:
    """Count peak memory anew."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
