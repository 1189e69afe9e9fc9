"""Heads on a language model through the command line: train, predict, cards, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers

from labelspace.cli import cli
from labelspace.errors import LabelspaceError
from labelspace.finetune.store import load_classifier

WORDS = ["[PAD]", "[UNK]", "[EOS]", "the", "a", "cat", "dog", "sat", "ran", "red", "blue", "Rome", "Bonn", "in"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaModel(config)
    with torch.no_grad():  # a frozen model has to have something to say
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    ).save_pretrained(folder)
    return str(folder)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


TEXTS = [f"{article} {colour} {animal} {did} in {place}" for article in ("the", "a") for colour in ("red", "blue")
         for animal in ("cat", "dog") for did in ("sat", "ran") for place in ("Rome", "Bonn")]  # fmt: skip
QUICK = ("training.epochs=25", "training.learning_rate=0.02", "training.device=cpu", "pooling=mean")


def call(*arguments: str) -> str:
    """Run the command line in this process; returns what it says on stderr."""
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("head", "several"), [("ls", False), ("ls", True), ("ptec", True), ("ptec", False)], ids=str)
def test_train_and_predict_texts(base: str, tmp_path: Path, head: str, several: bool) -> None:
    names = ("cat", "dog", "red") if several else ("cat", "dog")
    rows = [
        {"id": f"r{i}", "text": text, "labels": found if several else found[0]}
        for i, text in enumerate(TEXTS)
        for found in [[name for name in names if name in text]]
    ]
    data, out = write(tmp_path / "data.jsonl", rows), tmp_path / "model"
    settings = [part for pair in QUICK for part in ("--set", pair)]
    if head == "ptec":
        more = "prompt_length=5 training.head_learning_rate=0.1 training.patience=null training.batch_size=4"
        settings += [part for pair in more.split() for part in ("--set", pair)]
    said = call("train", data, "--head", head, "--base", base, "--out", str(out), "--dev-fraction", "0.3", *settings)
    assert "held out" in said and f"a {head} head for {len(names)} labels" in said
    assert not list(tmp_path.glob(".*"))
    model = json.loads((out / "model.json").read_text())
    assert model["head"] == {"kind": head} and model["card"]["data"]["texts"] > 10
    assert "base_model: " in (out / "README.md").read_text()
    call("predict", str(out), data, "--out", str(tmp_path / "made.jsonl"))
    made = lines(tmp_path / "made.jsonl")
    right = sum(set(row["labels"]) == set(want["labels"] if several else [want["labels"]])
                for row, want in zip(made, rows, strict=True))  # fmt: skip
    assert right >= 0.85 * len(rows)
    assert {path.suffix for path in out.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".md"}


def test_train_on_a_handful_of_texts(base: str, tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": text, "label": "cat" if "cat" in text else "dog"} for i, text in enumerate(TEXTS)]
    data, out = write(tmp_path / "data.jsonl", rows), tmp_path / "model"
    quick = [part for pair in ("training.epochs=4", "training.device=cpu") for part in ("--set", pair)]
    said = call(
        "train", data, "--head", "few-shot", "--settings", "few-shot", "--base", base, "--out", str(out), *quick
    )
    assert "held out" in said and "a few-shot head for 2 labels" in said
    assert json.loads((out / "model.json").read_text())["head"] == {"kind": "ls"}, "served and exported as such"
    call("predict", str(out), data, "--out", str(tmp_path / "made.jsonl"))
    assert {row["label"] for row in lines(tmp_path / "made.jsonl")} <= {"cat", "dog"}


def test_train_and_predict_words(base: str, tmp_path: Path) -> None:
    rows = [
        {
            "id": str(i),
            "tokens": text.split(),
            "tags": ["B-place" if word in ("Rome", "Bonn") else "O" for word in text.split()],
        }
        for i, text in enumerate(TEXTS)
    ]
    data, out = write(tmp_path / "data.jsonl", rows), tmp_path / "model"
    settings = [part for pair in QUICK[:3] for part in ("--set", pair)]
    said = call("train", data, "--head", "ls-token", "--base", base, "--out", str(out), *settings)
    assert "span F1 1.000" in said and "a tagger for 1 types of spans" in said
    call("predict", str(out), data, "--out", str(tmp_path / "made.jsonl"))
    assert lines(tmp_path / "made.jsonl") == rows
    sentences = write(tmp_path / "long.jsonl", [{"id": "a", "tokens": ["the"] * 300, "tags": ["O"] * 300}])
    assert "44 words got O because the model did not read them" in call("predict", str(out), sentences, "--out", "-")
    with pytest.raises(LabelspaceError, match="gives tags to words, not labels to texts"):
        load_classifier(out)


def test_a_settings_file_and_what_lies_over_it(tmp_path: Path) -> None:
    from labelspace.finetune.head_settings import read_head_settings

    (tmp_path / "my.yaml").write_text("training: {epochs: 5}\nprompt_length: 7\n")
    found = read_head_settings("ptec", tmp_path / "my.yaml", ["training.batch_size=4", "pooling=mean"], seed=3)
    training = found["training"]
    # what is not given stays as this head has it, not as the loop has it
    assert (training.epochs, training.batch_size, training.schedule, training.seed) == (5, 4, "exponential", 3)
    assert (found["prompt_length"], found["pooling"]) == (7, "mean")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--head", "ls"], "--head ls needs --base"),
        (["--head", "ls", "--base", "x", "--set", "poling=mean"], "unknown key 'poling'; did you mean 'pooling'"),
        (
            ["--head", "ptec", "--base", "x", "--set", "training.epochs=-1"],
            "training.epochs: .*greater than or equal to 0",
        ),
        (
            ["--base", "x"],
            "--base is for heads of a language model, such as ls; a linear head reads what --embedder gives",
        ),
        (["--head", "ls-token", "--base", "x"], "no row has words and tags"),
        (["--head", "ls", "--base", "x", "--balanced"], "write --set loss=balanced, or --set pos_weight=true"),
        (["--head", "ls", "--base", "x", "--embedder", "tfidf"], "reads with its --base: this one is ls"),
        (["--head", "knn", "--C", "3"], "--C is for a linear head: this one is knn"),
        (["--head", "ls", "--base", "x", "--set", "training.learning_rate=.nan"], "learning_rate: .*finite"),
        (["--head", "ls", "--base", "x", "--set", "dropout=1"], "dropout: .*less than 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    data = write(tmp_path / "data.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    with pytest.raises(LabelspaceError, match=message):
        call("train", data, "--out", str(tmp_path / "model"), *arguments)


def test_what_is_no_model_is_not_overwritten_and_nothing_is_trained_first(base: str, tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [{"text": f"the {word}", "label": word} for word in ("cat", "dog")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("keep")
    with pytest.raises(LabelspaceError, match="is there already and is no model"):
        call("train", data, "--head", "ls", "--base", base, "--out", str(tmp_path / "mine"))
    assert not list(tmp_path.glob(".mine*"))


def test_tags_that_are_all_outside_and_sentences_that_are_all_one(base: str, tmp_path: Path) -> None:
    command = ["--head", "ls-token", "--base", base, "--out", str(tmp_path / "model"), "--dev-fraction", "0.9"]
    command += [part for pair in ("training.epochs=1", "tuning=frozen") for part in ("--set", pair)]
    outside = write(tmp_path / "outside.jsonl", [{"tokens": ["the", "cat"], "tags": ["O", "O"]}] * 4)
    with pytest.raises(LabelspaceError, match="no word has a tag other than O"):
        call("train", outside, *command)
    copies = write(tmp_path / "copies.jsonl", [{"tokens": ["in", "Rome"], "tags": ["O", "B-place"]}] * 4)
    said = call("train", copies, *command)
    assert "too few texts to hold some out" in said and "trained on 4 sentences" in said


def test_defaults_are_those_of_the_classes() -> None:
    """The settings of the command line and the arguments of the classes say the same twice."""
    import inspect

    from labelspace.finetune.head_settings import HEADS
    from labelspace.finetune.tuned_store import head_class

    for kind, settings in HEADS.items():
        parameters = inspect.signature(head_class(kind).__init__).parameters
        values = settings()
        for name in settings.model_fields:
            default = parameters[name].default
            if name == "lora" or (name == "training" and default is None):
                continue
            assert getattr(values, name) == default, (kind, name)


def test_settings_load_without_torch() -> None:
    code = "import sys, labelspace.finetune.head_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_search_is_resumed_and_its_best_is_not_trained_again(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelspace.finetune.ls import LabelSupervised

    rows = [{"id": f"r{i}", "text": text, "label": "cat" if "cat" in text else "dog"} for i, text in enumerate(TEXTS)]
    data, out = write(tmp_path / "data.jsonl", rows), tmp_path / "model"
    quick = ("training.epochs=6", "training.device=cpu", "pooling=mean", "tuning=frozen")
    command = ["train", data, "--head", "ls", "--base", base, "--out", str(out), "--dev-fraction", "0.3"]
    command += [part for pair in quick for part in ("--set", pair)]
    command += ["--try", "training.learning_rate=[1e-7, 2e-2, 1e-8]"]
    fit, fits = LabelSupervised.fit, []

    def stopped(self: Any, *arguments: Any, **named: Any) -> Any:
        fits.append(self.training.learning_rate)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(LabelSupervised, "fit", stopped)
        CliRunner().invoke(cli, command)
    assert fits == [1e-7, 2e-2, 1e-8]
    assert not out.exists()
    said = call(*command)
    assert "training ls: goes on from epoch 7, step 0" in said  # the best one's last state, with nothing left to do
    card = json.loads((out / "model.json").read_text())["card"]
    scores = [trial["score"] for trial in card["search"]]
    assert card["held_out"]["accuracy"] == scores[0] == max(scores)
    assert not list(tmp_path.glob(".*"))


def test_a_search_over_other_weights_is_another(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelspace.finetune.ls_token import LabelSupervisedTagger

    tags = {"Rome": "B-city", "Bonn": "B-city"}
    rows = [
        {"id": f"r{i}", "tokens": words, "tags": [tags.get(word, "O") for word in words], "confidence": 0.5}
        for i, words in enumerate(map(str.split, TEXTS))
    ]
    command = ["train", write(tmp_path / "data.jsonl", rows), "--head", "ls-token", "--base", base]
    command += ["--out", str(tmp_path / "model"), "--dev-fraction", "0.3"]
    command += [part for pair in ("training.epochs=1", "training.device=cpu") for part in ("--set", pair)]
    command += ["--set", "tuning=frozen", "--try", "training.learning_rate=[1e-2, 1e-3]"]
    fit, fits = LabelSupervisedTagger.fit, []

    def stopped(self: Any, *arguments: Any, **named: Any) -> Any:
        fits.append((self.training.learning_rate, set(named["sample_weight"])))
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments, **named)

    monkeypatch.setattr(LabelSupervisedTagger, "fit", stopped)
    CliRunner().invoke(cli, command)
    call(*command, "--no-weigh")
    assert fits[:4] == [(1e-2, {0.5}), (1e-3, {0.5}), (1e-2, {1.0}), (1e-3, {1.0})]


def test_shipped_settings_fit_their_heads_and_are_all_named_in_the_help() -> None:
    from labelspace.finetune.head_settings import read_head_settings, shipped_settings

    named = CliRunner().invoke(cli, ["train", "--help"], terminal_width=400).output
    assert len(shipped_settings()) >= 6
    for name in shipped_settings():
        assert name in named
        head = name if name in ("few-shot", "ls-descriptions", "ls-token", "ptec") else "ls"
        assert read_head_settings(head, name, [], seed=0)["training"].epochs > 0
    assert read_head_settings("ls", "ls-unllama", [], seed=0)["unmask_from"] == 0
    with pytest.raises(LabelspaceError, match="ls-nothing: no such config"):
        read_head_settings("ls", "ls-nothing", [], seed=0)
