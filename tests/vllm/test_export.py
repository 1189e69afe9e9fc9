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
import orjson
import pytest
import tiny
from click.testing import CliRunner

from labelspace.cli import cli
from labelspace.data import read_records
from labelspace.finetune.export.adapter import export_adapter
from labelspace.finetune.export.embedded import export_embedded
from labelspace.finetune.export.vllm import export_merged
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.ls import LabelSupervised
from labelspace.finetune.nearest import NearestHead
from labelspace.finetune.served_tagger import ServedTagger
from labelspace.finetune.store import save_model
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.tuned_store import save_tuned
from labelspace.serve.client import VLLMClassifier
from labelspace.serve.protocol import ClassifyDialect, ask_for, read_rows
from labelspace.serve.served import Served
from labelspace.serve.vllm import VLLMServer, ask
from labelspace.serve.vllm_main import is_for_cpu, is_installed
from labelspace.space import LabelSpace

Measured = dict[str, tuple[str, float]]
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
def bases(tmp_path_factory: pytest.TempPathFactory) -> tiny.Bases:
    return tiny.Bases(tmp_path_factory.mktemp("bases"))


@contextmanager
def vllm(folder: Path, served: Served, *more: str) -> Iterator[str]:
    dialect = ClassifyDialect(served)
    probe = (dialect.path, dialect.body(served.model, ask_for(["a"])))
    if served.asks == "token_classify":
        probe = ("/pooling", {"input": "a"})
    with VLLMServer(folder, [*served.flags, *SMALL, *more], name=served.model, probe=probe) as address:
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
    assert worst < TOLERANCE
    return worst


def check_nothing(model: Any, served: Served, address: str, name: str) -> float:
    """Compare what is said of a text without content, which clients do not ask."""
    dialect = ClassifyDialect(served)
    content = orjson.dumps(ask(address + dialect.path, dialect.body(name, ask_for([""]))))
    row = read_rows(dialect.read(ask_for([""]), content, ""), served)[0]
    return float(np.abs(model.predict_proba([""])[0] - row).max())


def check_tags(model: Any, tagger: ServedTagger) -> float:
    sentences = [text.split() for text in TEXTS]
    wanted, got = model.predict_proba(sentences), tagger.predict_proba(sentences)
    worst = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(wanted, got, strict=True))
    assert worst < TOLERANCE
    assert tagger.predict(sentences) == model.predict(sentences)
    assert any("B-animal" in row for row in tagger.predict(tiny.SENTENCES))
    return worst


HEADS = {
    "ptec on a decoder, last, several labels, bias": ("ptec", "both", {"multi_label": True, "bias": True}),
    "ls on a decoder, max, unmasked from a middle layer on": ("ls", "qwen2", {"pooling": "max", "unmask_from": 1}),
    "ls on a decoder, mlp head, mean, unmasked": ("ls", "start", {"head": "mlp", "pooling": "mean", "unmask_from": 0}),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_exported_head_answers_as_ours(bases: tiny.Bases, tmp_path: Path, measured: Measured, name: str) -> None:
    kind, base, settings = HEADS[name]
    model = tiny.train(kind, bases[base], tmp_path / "model", temperature=True, **settings)
    served, _ = export_merged(tmp_path / "model", tmp_path / "out")
    with vllm(tmp_path / "out", served) as address:
        # vLLM on this machine says where its model lies, and there lie thresholds and label space.
        classifier = VLLMClassifier(address)
        assert classifier.label_space.version == served.space.version
        worst = max(check(model, classifier), check_nothing(model, classifier.served, address, "out"))
    assert worst < TOLERANCE
    measured[name] = form_of(tmp_path / "out"), worst


def form_of(folder: Path) -> str:
    """How vLLM serves what lies in a folder."""
    ours = "our plugin" if "Labelspace" in (folder / "config.json").read_text() else "stock vLLM"
    served = Served.load(folder)
    return f"{ours}, `{served.asks}`" + (" and the head outside" if served.has_outer_head else "")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`labelspace serve --engine vllm`, until it says that it has answered."""
    command = [sys.executable, "-m", "labelspace", "serve", str(folder), "--engine", "vllm", "--port", "0"]
    flags = [f"--vllm-argument={one}" for one in SMALL]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = next((line for line in iter(process.stderr.readline, "") if " at http" in line), "")
        yield said.partition(" at ")[2].partition(",")[0]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def test_tags_of_words(bases: tiny.Bases, tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.train("ls-token", bases["start"], tmp_path / "model", unmask_from=0)
    out, data, tagged = tmp_path / "out", tmp_path / "data.jsonl", tmp_path / "tagged.jsonl"
    export_merged(tmp_path / "model", out)
    with serving(out) as address:
        worst = check_tags(model, ServedTagger(address, out))
        data.write_text("".join(json.dumps({"tokens": words}) + "\n" for words in tiny.SENTENCES))
        done = CliRunner().invoke(cli, ["predict", address, str(data), "--export", str(out), "--out", str(tagged)])
        assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(cli, ["serve", str(out), "--engine", "vllm", "--api-key", "a key"])
    assert "its key does not guard" in str(refused.exception)
    rows = [json.loads(line)["tags"] for line in tagged.read_text().splitlines()]
    assert rows == model.predict(tiny.SENTENCES)
    measured["ls-token on a decoder, unmasked"] = form_of(out), worst


ON_AN_ENCODER = {
    "ls on an encoder, max": ("ls", {"pooling": "max", "bias": True}),
    "ls on an encoder, mlp head, max-hidden, several labels": (
        "ls", {"pooling": "max-hidden", "head": "mlp", "multi_label": True},
    ),
    "ls on an encoder, label descriptions, max-hidden": ("ls-descriptions", {"pooling": "max-hidden"}),
}  # fmt: skip


def test_heads_on_the_tokens_of_an_encoder(bases: tiny.Bases, tmp_path: Path, measured: Measured) -> None:
    tagger = tiny.train("ls-token", bases["bert"], tmp_path / "tags")
    served, _ = export_merged(tmp_path / "tags", tmp_path / "tagger")
    with vllm(tmp_path / "tagger", served) as address:
        worst = check_tags(tagger, ServedTagger(address, tmp_path / "tagger"))
        measured["ls-token on an encoder"] = form_of(tmp_path / "tagger"), worst
        # Frozen heads on the encoder that was tuned for the tags: one server for all.
        for number, (name, (kind, settings)) in enumerate(ON_AN_ENCODER.items()):
            folder, out = tmp_path / f"model{number}", tmp_path / f"out{number}"
            model = tiny.train(kind, str(tmp_path / "tagger"), folder, tuning="frozen", temperature=True, **settings)
            served, _ = export_merged(folder, out)
            worst = check(model, VLLMClassifier(f"{address}#tagger", export=out))
            measured[name] = form_of(out), max(worst, check_nothing(model, Served.load(out), address, "tagger"))


def test_heads_over_a_real_encoder(tmp_path: Path, encoder_folder: str, measured: Measured) -> None:
    records = [one for one in read_records("sample:support") if one.label and not one.is_blank][:120]
    data = [one.text for one in records], [one.label or "" for one in records]
    texts = [text for text in TEXTS if "\x00" not in text] + data[0]
    heads = {"knn": NearestHead(f"st:{encoder_folder}"), "linear": LinearHead(f"st:{encoder_folder}", words=0.0)}
    for name, head in heads.items():
        head.fit(*data)
        save_model(tmp_path / name, head, LabelSpace.of([str(label) for label in head.classes_]))
        export_embedded(tmp_path / name, tmp_path / "out" / name)
    tuned = LabelSupervised(
        encoder_folder, pooling="mean", head="equiangular", tuning="frozen", max_length=64,
        training=TrainSettings(epochs=1, learning_rate=1e-2, device="cpu"),
    ).fit(*data).calibrate(*data)  # fmt: skip
    save_tuned(tmp_path / "ls", tuned, LabelSpace.of(tuned.classes_))
    export_merged(tmp_path / "ls", tmp_path / "out" / "ls")
    found = {}
    with vllm(tmp_path / "out" / "knn", Served.load(tmp_path / "out" / "knn")) as address:
        for name, head in {**heads, "ls": tuned}.items():
            found[name] = check(head, VLLMClassifier(f"{address}#knn", export=tmp_path / "out" / name), texts)
    measured["knn over MiniLM and TF-IDF"] = form_of(tmp_path / "out" / "knn"), found["knn"]
    measured["linear over MiniLM"] = form_of(tmp_path / "out" / "linear"), found["linear"]
    measured["ls on MiniLM, equiangular head, mean"] = form_of(tmp_path / "out" / "ls"), found["ls"]


def test_adapters_of_one_base_at_once(bases: tiny.Bases, tmp_path: Path, measured: Measured) -> None:
    heads: dict[str, dict[str, Any]] = {
        "lora": {},
        "frozen, several labels, bias": {"multi_label": True, "tuning": "frozen", "bias": True},
        "ptec, several labels, bias": {"kind": "ptec", "multi_label": True, "bias": True},
    }
    short = dict(zip(heads, ("one", "several", "prompt"), strict=True))
    models = {}
    for title, name in short.items():
        settings = dict(heads[title])
        kind = settings.pop("kind", "ls")
        models[name] = tiny.train(kind, bases["start"], tmp_path / name, temperature=True, **settings)
        export_adapter(tmp_path / name, tmp_path / "out" / name, tmp_path / "shared")
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "shared"), "--engine", "vllm", "--port", "0"]
    command += ["--adapter", str(tmp_path / "out" / "one"), "--heads", str(tmp_path / "out")]
    command += [part for one in SMALL for part in ("--vllm-argument", one)]
    with running(command) as address, ThreadPoolExecutor(3) as pool:
        # One is there from the start; the others come while it runs.
        assert send("POST", f"{address}/heads/several") == {"models": ["one", "several"]}
        assert send("POST", f"{address}/heads/prompt")["models"] == ["one", "several", "prompt"]
        told = pool.map(lambda name: check(models[name], VLLMClassifier(f"{address}#{name}", batch_size=3)), models)
        for title, worst in zip(heads, told, strict=True):
            measured[f"{title}, as an adapter among others at once"] = "stock vLLM, `classify`", worst
        assert send("DELETE", f"{address}/heads/several") == {"models": ["one", "prompt"]}
        for method, path in (("POST", "heads/nothing"), ("DELETE", "heads/several"), ("POST", "heads/..%2Fone")):
            with pytest.raises(urllib.error.HTTPError) as refused:
                send(method, f"{address}/{path}")
            assert refused.value.code in (400, 404)
            refused.value.close()
        check(models["prompt"], VLLMClassifier(f"{address}#prompt"), TEXTS[:20])


def send(method: str, url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as reply:
        return json.load(reply)


def test_served_by_one_command(bases: tiny.Bases, tmp_path: Path, measured: Measured) -> None:
    model = tiny.train("ls", bases["bert"], tmp_path / "animals", pooling="mean", bias=True)
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "animals"), "--engine", "vllm", "--port=0"]
    with running([*command, *(part for one in SMALL for part in ("--vllm-argument", one))]) as address:
        classifier = VLLMClassifier(address)
        assert (classifier.served.model, classifier.label_space.leaves) == ("animals", tiny.ANIMALS)
        worst = check(model, classifier)
        measured["ls on an encoder, lora, mean, bias"] = "stock vLLM, `embed` and the head outside", worst
        answer = ask(f"{address}/classify", {"input": ["the red cat", ""]})
        assert answer["labelspace"]["version"] == classifier.label_space.version
        assert [one["status"] for one in answer["data"]] == ["ok", "abstained"]


def test_a_linear_head_whose_encoder_vllm_runs(tmp_path: Path, encoder_folder: str) -> None:
    records = [one for one in read_records("sample:support") if one.label and not one.is_blank][:120]
    head = LinearHead(f"st:{encoder_folder}").fit([one.text for one in records], [one.label or "" for one in records])
    save_model(tmp_path / "model", head, LabelSpace.of([str(name) for name in head.classes_]))
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "model"), "--engine", "vllm", "--port", "0"]
    texts = [text for text in TEXTS[:60] if "\x00" not in text] + [one.text for one in records]
    with running([*command, *(f"--vllm-argument={one}" for one in SMALL)]) as address:
        check(head, VLLMClassifier(address), texts)


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
