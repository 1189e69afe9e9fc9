"""Exported heads behind a real vLLM: the same answers as ours, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from labelspace.data import read_records
from labelspace.finetune.export.adapter import export_adapter
from labelspace.finetune.export.vllm import export_merged
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import save_model
from labelspace.serve.client import VLLMClassifier
from labelspace.serve.served import Served
from labelspace.serve.vllm import VLLMServer, ask
from labelspace.serve.vllm_main import is_for_cpu, is_installed
from labelspace.space import LabelSpace

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]
pytestmark.append(
    pytest.mark.skipif(not (is_installed("vllm") or is_for_cpu()), reason="vllm is not installed: make .venv/.test")
)


SMALL = ["--kv-cache-memory-bytes", str(64 << 20), "--max-num-seqs", "16"]
TOLERANCE = 1e-5


def texts_of_all_lengths() -> list[str]:
    """Two hundred texts: blank, one word, longer than the context, other scripts, and what may look like a prompt."""
    words = [
        *tiny.TEXTS[5].split(),
        "Straße",
        "наука",
        "日本語",
        "مرحبا",
        "हिन्दी",
        "👩‍👩‍👧",
        "\u200b",
        "a\nb",
        "<soft-prompt>",
    ]
    found = [
        "",
        " ",
        "\n\t",
        "cat",
        "?",
        "<soft-prompt>",
        "<soft-prompt>0<soft-prompt>1",
        "<s></s><pad>",
        "\x00",
        "\\u0000",
    ]
    generator = np.random.default_rng(0)
    while len(found) < 200:
        length = int(generator.integers(1, 8)) if len(found) % 3 else int(generator.integers(8, 300))
        found.append(" ".join(generator.choice(words, length)))
    return found


TEXTS = texts_of_all_lengths()


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        "plain": tiny.build_base(folder / "plain", start=False),
        "start": tiny.build_base(folder / "start"),
        "both": tiny.build_base(folder / "both", end=True),
        "qwen2": tiny.build_base(folder / "qwen2", kind="qwen2", start=False),
    }


@contextmanager
def vllm(folder: Path, served: Served, *more: str) -> Iterator[str]:
    body = {"input": "a", "use_activation": False}
    path = "/pooling" if served.task == "token_classify" else "/classify"
    if served.task == "token_classify":
        body = {"input": "a"}
    with VLLMServer(folder, [*served.flags, *SMALL, *more], name=served.model, probe=(path, body)) as address:
        yield address


def check(model: Any, classifier: VLLMClassifier, texts: list[str] = TEXTS) -> float:
    """Compare all predictions; returns the largest difference of a probability."""
    wanted, worst = model.predict_proba(texts), 0.0
    names = model.classes_
    for text, row, made in zip(texts, wanted, classifier.predict(texts), strict=True):
        assert made.status == ("ok" if text.strip() else "abstained"), made.reason
        if made.status == "ok":
            got = np.array([made.scores[str(name)] for name in names])
            worst = max(worst, float(np.abs(got - row).max()))
            if model.multi_label:
                wanted_names = {
                    name for name, p, least in zip(names, row, model.thresholds_, strict=True) if p >= least
                }
                assert set(made.labels) == wanted_names or np.abs(row - model.thresholds_).min() < TOLERANCE
            else:
                assert made.label == names[row.argmax()] or np.ptp(np.sort(row)[-2:]) < TOLERANCE
    return worst


HEADS = {
    "soft prompt, several labels, bias": ("ptec", "both", {"multi_label": True, "bias": True}),
    "unmasked, mean": ("ls", "start", {"pooling": "mean", "unmask_from": 0}),
    "unmasked, max, by our plugin": ("ls", "plain", {"pooling": "max", "unmask_from": 0}),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_exported_head_answers_as_ours(bases: dict[str, str], tmp_path: Path, name: str) -> None:
    kind, base, settings = HEADS[name]
    model = tiny.train(kind, bases[base], tmp_path / "model", **settings)
    served, _ = export_merged(tmp_path / "model", tmp_path / "out")
    with vllm(tmp_path / "out", served) as address:
        # vLLM on this machine says where its model lies, and there lie thresholds and label space.
        classifier = VLLMClassifier(address)
        assert classifier.label_space.version == served.space.version
        worst = check(model, classifier)
        nothing = ask(f"{address}/classify", {"model": "out", "input": [list(served.empty)]})["data"][0]["probs"]
        worst = max(worst, float(np.abs(model.predict_proba([""])[0] - nothing).max()))
        print(f"{name}: {worst:.1e}")
        assert worst < TOLERANCE


def test_tags_of_words(bases: dict[str, str], tmp_path: Path) -> None:
    from labelspace.finetune.served_tagger import ServedTagger

    model = tiny.train("ls-token", bases["start"], tmp_path / "model", unmask_from=0)
    served, _ = export_merged(tmp_path / "model", tmp_path / "out")
    sentences = [text.split() for text in TEXTS]
    with vllm(tmp_path / "out", served) as address:
        tagger = ServedTagger(address, tmp_path / "out")
        wanted, got = model.predict_proba(sentences), tagger.predict_proba(sentences)
        worst = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(wanted, got, strict=True))
        print(f"tags: {worst:.1e}")
        assert worst < TOLERANCE
        assert tagger.predict(sentences) == model.predict(sentences)
        assert any("B-animal" in row for row in tagger.predict(tiny.SENTENCES))


def test_adapters_of_one_base_at_once(bases: dict[str, str], tmp_path: Path) -> None:
    heads: dict[str, dict[str, Any]] = {"one": {}, "several": {"multi_label": True}, "frozen": {"tuning": "frozen"}}
    models = {name: tiny.train("ls", bases["start"], tmp_path / name, **settings) for name, settings in heads.items()}
    for name in heads:
        export_adapter(tmp_path / name, tmp_path / "out" / name, tmp_path / "shared")
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "shared"), "--engine", "vllm", "--port", "0"]
    command += ["--adapter", str(tmp_path / "out" / "one"), "--heads", str(tmp_path / "out")]
    command += [part for one in SMALL for part in ("--vllm-argument", one)]
    with running(command) as address, ThreadPoolExecutor(3) as pool:
        # One is there from the start; the others come while it runs.
        assert send("POST", f"{address}/heads/several") == {"models": ["one", "several"]}
        assert send("POST", f"{address}/heads/frozen")["models"] == ["one", "several", "frozen"]
        told = pool.map(lambda name: check(models[name], VLLMClassifier(f"{address}#{name}", batch_size=3)), heads)
        found = dict(zip(heads, told, strict=True))
        print("adapters:", {name: f"{worst:.1e}" for name, worst in found.items()})
        assert max(found.values()) < TOLERANCE
        assert send("DELETE", f"{address}/heads/several") == {"models": ["one", "frozen"]}
        for method, path in (("POST", "heads/nothing"), ("DELETE", "heads/several"), ("POST", "heads/..%2Fone")):
            with pytest.raises(urllib.error.HTTPError) as refused:
                send(method, f"{address}/{path}")
            assert refused.value.code in (400, 404)
            refused.value.close()
        assert check(models["frozen"], VLLMClassifier(f"{address}#frozen"), TEXTS[:20]) < TOLERANCE


def send(method: str, url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as reply:
        return json.load(reply)


def test_served_by_one_command(bases: dict[str, str], tmp_path: Path) -> None:
    model = tiny.train("ls", bases["qwen2"], tmp_path / "animals", unmask_from=-2, bias=True)
    command = [
        sys.executable,
        "-m",
        "labelspace",
        "serve",
        str(tmp_path / "animals"),
        "--engine",
        "vllm",
        "--port",
        "0",
    ]
    with running([*command, *(part for one in SMALL for part in ("--vllm-argument", one))]) as address:
        classifier = VLLMClassifier(address)
        assert (classifier.served.model, classifier.label_space.leaves) == ("animals", tiny.ANIMALS)
        worst = check(model, classifier)
        print(f"one command: {worst:.1e}")
        assert worst < TOLERANCE
        answer = ask(f"{address}/classify", {"input": ["the red cat", ""]})
        assert answer["labelspace"]["version"] == classifier.label_space.version
        assert [one["status"] for one in answer["data"]] == ["ok", "abstained"]


def test_a_linear_head_whose_encoder_vllm_runs(tmp_path: Path, encoder_folder: str) -> None:
    records = [one for one in read_records("sample:support") if one.label and not one.is_blank][:120]
    head = LinearHead(f"st:{encoder_folder}").fit([one.text for one in records], [one.label or "" for one in records])
    save_model(tmp_path / "model", head, LabelSpace.of([str(name) for name in head.classes_]))
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "model"), "--engine", "vllm", "--port", "0"]
    texts = [text for text in TEXTS if "\x00" not in text] + [one.text for one in records]
    with running([*command, *(f"--vllm-argument={one}" for one in SMALL)]) as address:
        worst = check(head, VLLMClassifier(address), texts)
        print(f"encoder: {worst:.1e}")
        assert worst < TOLERANCE


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """A server by the command line; gives its address, and ends it as a user does."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        end = time.monotonic() + 400
        while not (lines := [line for line in said if line.startswith("serving ")]):
            assert process.poll() is None and time.monotonic() < end, "".join(said)
            time.sleep(0.2)
        yield lines[0].split(" at ")[1].split(";")[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        reader.join(10)
        assert "stopped; what was accepted is answered" in "".join(said)
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        if process.stderr is not None:
            process.stderr.close()
