"""Requests a second at concurrency 64: our server, a plain FastAPI + transformers endpoint, and vLLM, same weights.

    labelspace run serve_speed                            # a tiny random Llama; needs no data
    labelspace run serve_speed base=FOLDER_OF_MINILM      # an encoder by name or folder
    labelspace run serve_speed arms="[labelspace,plain,vllm,gateway]"   # where vLLM is installed; not for an encoder

One text in a request, the messages of sample:support in turn. `plain` is what one writes first: an endpoint that
tokenizes its text, runs the model and answers, in FastAPI's threads, without batches. `vllm` is `vllm serve` on the
export, asked directly; `gateway` is `labelspace serve --engine vllm` before it. Each server is a process of its own,
answers are compared before the clock starts, and warm-up requests are not counted.

Measured on two idle cores of an AMD EPYC, the best of two or three rounds:
                                              requests/s            CPU ms/request
                                              plain  labelspace     plain  labelspace
    tiny Llama, sample:support (150 tokens)     164       1,700      9.53        0.96    10.4 times as many requests
    MiniLM, clinc150 (11 tokens)                 83         621     20.79        2.99     7.5 times
    MiniLM, sample:support (49 tokens)           57         159     31.70       12.18     2.8 times
On long texts MiniLM can't reach five times: of our 12 ms a request nearly all are the model in ONNX Runtime, some 70
GFLOP/s a core, for 4 texts at once as for 8. Under other load (3 to 10) the first gave 2.2 to 3.9 times, the second
3.5.

The tiny one in one run with vLLM 0.32 on the CPU (400 requests, idle):
    plain 168 requests/s (9.25 ms), labelspace 1,760 (0.95 ms), vllm 183 (10.75 ms), gateway 448 (4.38 ms)
The gateway asks vLLM about several texts at once.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import ModelError
from labelspace.recipes._serve_load import LENGTH, ask

Arm = Literal["labelspace", "torch", "plain", "vllm", "gateway"]
LABELS = 18
CACHE = f"--kv-cache-memory-bytes={256 << 20}"
"""By itself vLLM takes most of the memory, and does not start where others have it."""
WIDTH, LAYERS = 64, 2


class ServeSpeedConfig(Config):
    """What `labelspace run serve_speed` reads."""

    base: str | None = None
    """An encoder by name or folder, whose tokenizer the tiny model has as well; none makes a tokenizer of bytes."""
    tiny: bool = False
    """With a base: measure the tiny Llama, with that tokenizer."""
    arms: tuple[Arm, ...] = ("plain", "labelspace")
    """What to measure, in this order."""
    concurrency: int = 64
    """Requests in flight."""
    texts: str = "sample:support"
    """What is asked, in turn: any file of texts."""
    requests: int = 2000
    """Requests that count."""
    rounds: int = 2
    """Times that each arm is measured; the best one is stated, as others on the machine only slow it down."""
    seed: int = 0
    """Of weights."""


def main(config: ServeSpeedConfig) -> dict[str, float]:
    """Measure each arm and print a table; returns requests a second."""
    texts = [record.text for record in islice(read_records(config.texts), 2 * config.requests) if not record.is_blank]
    found: dict[str, list[float]] = {arm: [] for arm in config.arms}
    costs: dict[str, list[float]] = {arm: [] for arm in config.arms}
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="labelspace-speed-") as folder:
        model = make_model(Path(folder), config)
        for _ in range(config.rounds):
            for arm in config.arms:
                with serving(arm, model) as (address, pid):
                    answers[arm] = asyncio.run(ask(address, texts[:32], 1))[0]
                    asyncio.run(ask(address, texts[:128], config.concurrency))
                    asked = [texts[n % len(texts)] for n in range(config.requests)]
                    used = worked(pid)
                    found[arm].append(config.requests / asyncio.run(ask(address, asked, config.concurrency))[1])
                    costs[arm].append((worked(pid) - used) / config.requests)
    first = answers[config.arms[0]]
    click.echo(f"{'':11} requests/s  CPU ms/request    each round")
    for arm in config.arms:
        rates = found[arm]
        each = ", ".join(f"{rate:,.0f}" for rate in rates)
        click.echo(f"{arm:11} {max(rates):10,.0f}  {1000 * min(costs[arm]):14.2f}    {each}")
        if not (off := float(np.abs(np.subtract(answers[arm], first)).max())) < 1e-5:
            raise ModelError(f"{arm} answers otherwise than {config.arms[0]}, by {off:.1e}")
    best = {arm: max(rates) for arm, rates in found.items()}
    if "plain" in best and "labelspace" in best:
        click.echo(f"our server does {best['labelspace'] / best['plain']:.1f} times what the plain endpoint does")
    return best


def make_model(folder: Path, config: ServeSpeedConfig) -> Path:
    """A head with random weights, saved as a trained one."""
    import torch

    from labelspace.finetune.ls import LabelSupervised
    from labelspace.finetune.tuned_store import save_tuned
    from labelspace.space import LabelSpace

    torch.manual_seed(config.seed)
    base = config.base or ""
    if config.tiny or config.base is None:
        base = str(tiny_llama(folder / "base", config.base))
    classes = [f"label {n}" for n in range(LABELS)]
    head = LabelSupervised(base, classes=classes, pooling="mean", tuning="frozen", max_length=LENGTH)
    head._prepare()
    assert head.model is not None
    torch.nn.init.normal_(head.model.head.weight, std=0.5)
    save_tuned(folder / "model", head, LabelSpace.of(classes))
    return folder / "model"


def tiny_llama(folder: Path, tokenizer: str | None) -> Path:
    """A random Llama of two layers, with the tokenizer of a model or one of bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    if tokenizer is None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE({sign: at for at, sign in enumerate(["<s>", *alphabet])}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<s>", eos_token="<s>")
    else:
        fast = AutoTokenizer.from_pretrained(tokenizer)
    fast.save_pretrained(folder)
    LlamaModel(
        LlamaConfig(
            vocab_size=len(fast), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS,
            num_attention_heads=2, num_key_value_heads=2, head_dim=32, max_position_embeddings=512,
            bos_token_id=None, eos_token_id=0, pad_token_id=0,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


@contextmanager
def serving(arm: Arm, model: Path) -> Iterator[tuple[str, int]]:
    """A server in a process of its own, for as long as the block lasts; gives its address and process."""
    if arm == "vllm":
        from labelspace.finetune.export.vllm import export_merged
        from labelspace.serve.vllm import VLLMServer

        served, _ = export_merged(model, model.with_name("exported"))
        probe = ("/classify", {"input": "a"})
        server = VLLMServer(model.with_name("exported"), [*served.flags, CACHE], name="exported", probe=probe)
        with server as address:
            assert server._process is not None
            yield address, server._process.pid
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from labelspace.recipes.serve_speed import plain; plain({str(model)!r}, {port})"
    command = [sys.executable, "-c", code]
    if arm != "plain":
        engine = "vllm" if arm == "gateway" else "local"
        command = [sys.executable, "-m", "labelspace", "serve", str(model), "--port", str(port), "--engine", engine]
        command += {"torch": ["--runtime", "torch"], "gateway": [f"--vllm-argument={CACHE}"]}.get(arm, [])
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(wait(f"http://127.0.0.1:{port}", process))
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def worked(pid: int) -> float:
    """Seconds that a process and those that it started have kept cores busy; NaN where there is no /proc."""
    seconds = 0.0
    try:
        # Behind the name, which may hold anything, the 12th and 13th number are its time and that of the kernel for it.
        times = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{pid}/task").iterdir():
            seconds += sum(map(worked, map(int, (task / "children").read_text(encoding="utf-8").split())))
    except OSError:
        return math.nan
    return seconds


def plain(folder: str, port: int) -> None:
    """The endpoint that one writes first."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    base = json.loads((Path(folder) / "head.json").read_text(encoding="utf-8"))["base"]
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()
    weight = load_file(str(Path(folder) / "head.safetensors"))["head.weight"]
    app = FastAPI()

    class Asked(BaseModel):
        input: list[str]

    def classify(asked: Asked) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        with torch.inference_mode():
            for text in asked.input:
                tokens = tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt")
                kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
                hidden = model(**kept).last_hidden_state.mean(dim=1)
                found.append({"index": len(found), "probs": (hidden @ weight.T).softmax(dim=1)[0].tolist()})
        return {"data": found}

    classify.__annotations__["asked"] = Asked  # FastAPI looks names up in the module, where this one is not
    app.post("/classify")(classify)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


async def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers.

    Raises:
        ModelError: It ended.
    """
    while True:
        try:
            await ask(address, ["a"], 1)
        except OSError:
            if process.poll() is not None:
                raise ModelError("the server did not start; start it by hand to see why") from None
            await asyncio.sleep(0.2)
        else:
            return
