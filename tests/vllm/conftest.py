"""A real vLLM server on loopback, serving a tiny chat model with random weights that is built here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from labelspace.serve.vllm_main import FORK

START = 300.0
"""Seconds to wait for the server: it takes 25 on an idle machine."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(folder: Path) -> None:
    """Write a Llama of two layers with a byte-level tokenizer for which every pair of capitals is one token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pairs = ["".join(pair) for pair in product(ascii_uppercase, repeat=2)]
    words = "You are a careful annotator The label of this document is data and the text stands between lines"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1100,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["\n".join(pairs * 9), words * 5], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,  # vLLM's attention on CPUs takes no less
        max_position_embeddings=8192,
        initializer_range=0.15,
        tie_word_embeddings=False,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # One feature is always on, and drives what ends JSON: a random model would never come to an end.
        model.model.embed_tokens.weight[:, 0] = 8.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        for sign, pull in {'"': 5.0, "}": 4.6, "]": 4.6, "[": 4.2, "{": 4.2, ":": 4.2, ",": 3.8}.items():
            model.lm_head.weight[fast.convert_tokens_to_ids(sign), 0] = pull
    model.save_pretrained(folder)


class Server:
    """A running vLLM."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}/v1"
        self.model = f"{self.address}#tiny"

    def ask(self, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.address}/chat/completions",
            json.dumps({"model": "tiny", **body}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


@pytest.fixture(scope="session")
def vllm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model; skips where vLLM is not installed."""
    for package in ("vllm", "transformers", "tokenizers", "torch"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make .venv/.test")
    folder = tmp_path_factory.mktemp("vllm") / "model"
    build_model(folder)
    return folder


@pytest.fixture(scope="session")
def vllm(vllm_model: Path) -> Iterator[Server]:
    """The server, once for all tests."""
    folder = vllm_model.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(folder / "model", port)
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        FORK: "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }
    environment.pop("VLLM_CPU_KVCACHE_SPACE", None)
    command = [
        sys.executable,
        "-m",
        "labelspace.serve.vllm_main",
        "serve",
        str(folder / "model"),
        "--served-model-name",
        "tiny",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "6000"]
    command += ["--kv-cache-memory-bytes", str(64 << 20), "--max-num-seqs", "16", "--enforce-eager"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=folder, start_new_session=True
        )
    try:
        _wait(server, process, log)
        yield server
    finally:
        _end(process)


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a real request is answered: /health says yes also where every request fails."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            server.ask({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"vLLM does not serve: {log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started: they are a group of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
        if sign == signal.SIGTERM:
            time.sleep(0.5)
    process.wait(20)


MEASURED: dict[str, tuple[str, float]] = {}


@pytest.fixture(scope="session")
def measured() -> dict[str, tuple[str, float]]:
    """Of each head that is served: in which form, and the largest difference to our own float32 prediction."""
    return MEASURED


@pytest.fixture(autouse=True)
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server here starts in a third of the time."""
    monkeypatch.setenv(FORK, "1")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table that docs/serving.md has."""
    if MEASURED:
        terminalreporter.write_line("")
        terminalreporter.write_line("| head | form | largest difference over 200 texts |\n| --- | --- | --- |")
        for head, (form, difference) in MEASURED.items():
            terminalreporter.write_line(f"| {head} | {form} | {difference:.1e} |")
