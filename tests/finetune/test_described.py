"""A head that reads its labels' descriptions: the definition, other labels without training, saving, commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner

from labelspace.cli import cli
from labelspace.cli.spaces import load_space
from labelspace.data import read_records
from labelspace.errors import ConfigError
from labelspace.finetune.described import LabelDescriptions
from labelspace.finetune.store import load_classifier
from labelspace.finetune.train_settings import TrainSettings

FAST = TrainSettings(epochs=10, batch_size=12, learning_rate=2e-2, device="cpu")
MEANING = {"cat": "a cat that sat", "dog": "the dog", "bird": "a red or blue bird"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.build_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: str) -> LabelDescriptions:
    head = LabelDescriptions(base, label_texts=MEANING, training=FAST)
    return head.fit(tiny.TEXTS, tiny.LABELS, dev=(tiny.TEXTS, tiny.LABELS))


def test_logits_equal_the_definition(trained: LabelDescriptions) -> None:
    def states(text: str) -> torch.Tensor:
        ids = torch.tensor([trained.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            found: torch.Tensor = trained.model.backbone(ids, torch.ones_like(ids))[0]
        return found

    head = trained.model.head
    query = head.query.weight @ states(tiny.TEXTS[0]).mean(dim=0)
    expected = []
    for name in trained.classes_:
        words = states(MEANING[name])
        keys, values = words @ head.key.weight.T, words @ head.value.weight.T
        attended = (keys @ query / 8).softmax(dim=0) @ values  # 8 is the root of 64 hidden units
        cosine = torch.nn.functional.cosine_similarity(attended, query, dim=0)
        expected.append((cosine * head.log_scale.exp() + head.offset).item())
    np.testing.assert_allclose(trained.decision_function(tiny.TEXTS[:1])[0], expected, atol=1e-4)


def test_trained_saved_and_loaded(trained: LabelDescriptions, tmp_path: Path) -> None:
    assert trained.classes_ == ["bird", "cat", "dog"]
    assert trained.history_ is not None
    found = np.mean(np.array(trained.predict(tiny.TEXTS)) == tiny.LABELS)
    assert found == trained.history_.best_score >= 0.8
    trained.save(tmp_path)
    loaded = LabelDescriptions.load(tmp_path, device="cpu")
    assert loaded.settings() == trained.settings()
    np.testing.assert_allclose(loaded.predict_proba(tiny.TEXTS), trained.predict_proba(tiny.TEXTS), atol=1e-6)


def test_other_labels_leave_logits_and_the_first_head_alone(trained: LabelDescriptions, tmp_path: Path) -> None:
    before = trained.decision_function(tiny.TEXTS)
    other = trained.with_labels({"hound": MEANING["dog"], "mat": "", "cat": MEANING["cat"]})
    after = other.decision_function(tiny.TEXTS)
    assert other.classes_ == ["hound", "mat", "cat"]
    np.testing.assert_allclose(after[:, [0, 2]], before[:, [2, 1]], atol=1e-5)
    np.testing.assert_array_equal(trained.decision_function(tiny.TEXTS), before)
    other.save(tmp_path)
    np.testing.assert_allclose(LabelDescriptions.load(tmp_path).decision_function(tiny.TEXTS), after, atol=1e-6)
    with pytest.raises(ConfigError, match="there are no labels"):
        trained.with_labels({})
    with pytest.raises(ConfigError, match="no trained model"):
        LabelDescriptions("base").with_labels({"cat": ""})


@pytest.mark.parametrize("tuning", ["lora", "frozen"])
def test_label_texts_are_trained_with_the_stack(base: str, tuning: str) -> None:
    """With LoRA the labels' vectors change from step to step; the head of a frozen stack reads them once."""
    quick = FAST.model_copy(update={"epochs": 2})
    head = LabelDescriptions(base, label_texts=MEANING, tuning=tuning, training=quick)  # type: ignore[arg-type]
    head.fit(tiny.TEXTS, tiny.LABELS)
    ids = torch.tensor([head.tokenizer(MEANING["bird"])["input_ids"]])
    with torch.no_grad():
        now = head.model.backbone(ids, torch.ones_like(ids))[0]
        with head.model.backbone.model.disable_adapter() if tuning == "lora" else torch.no_grad():
            start = head.model.backbone(ids, torch.ones_like(ids))[0]
    assert torch.allclose(now, start) == (tuning == "frozen")
    head.decision_function(tiny.TEXTS[:1])
    torch.testing.assert_close(head.model.head.words[0, : len(now)], now)


def test_several_labels_a_text(base: str) -> None:
    training = FAST.model_copy(update={"epochs": 40, "learning_rate": 3e-3})
    head = LabelDescriptions(base, multi_label=True, tuning="full", training=training)
    head.fit(tiny.TEXTS, tiny.SEVERAL)
    right = [sorted(found) == sorted(gold) for found, gold in zip(head.predict(tiny.TEXTS), tiny.SEVERAL, strict=True)]
    assert np.mean(right) >= 0.8
    head.thresholds_ = np.array([0.9, 0.5, 0.5])
    assert head.with_labels({"new": "the road", head.classes_[0]: ""}).thresholds_.tolist() == [0.5, 0.9]


@pytest.mark.encoder
def test_labels_without_training_texts_are_found(encoder_folder: str) -> None:
    """Two thirds of the sample's labels are trained on; the others are told apart by their descriptions."""
    space = load_space("sample:support")
    labels = {row.id: row.label for row in read_records("sample:support.truth", needs_text=False)}
    rows = [(row.text, labels[row.id]) for row in read_records("sample:support") if labels.get(row.id) in space.leaves]
    names = space.leaves
    seen, unseen = names[::3] + names[1::3], set(names[2::3])
    meaning = {name: f"{name}: {space[name].description}" for name in names}
    fitted = [row for row in rows if row[1] in seen][:24]
    asked = [row for row in rows if row[1] in unseen][:24]
    training = TrainSettings(epochs=1, batch_size=8, learning_rate=1e-3, device="cpu")
    head = LabelDescriptions(
        encoder_folder, tuning="frozen", label_texts=meaning, max_length=64, classes=list(seen), training=training
    ).fit(*map(list, zip(*fitted, strict=True)))
    wider = head.with_labels({name: meaning[name] for name in names})
    found = wider.predict([text for text, _ in asked])
    right = np.mean([name == label for name, (_, label) in zip(found, asked, strict=True)])
    assert right > 3 / len(names)


def run(*arguments: str, fails: bool = False) -> str:
    found = CliRunner().invoke(cli, list(arguments))
    assert (found.exit_code != 0) == fails, found.output
    return found.output if not fails else str(found.exception)


def test_the_command_line_gives_other_labels(base: str, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(tiny.TEXTS, tiny.LABELS, strict=True)]
    data, out = tmp_path / "rows.jsonl", tmp_path / "found.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, labels in (("old", MEANING), ("new", {"feline": MEANING["cat"], "a horse": "a horse"})):
        space = {"name": name, "labels": [{"name": key, "description": text} for key, text in labels.items()]}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(space))
    quick = ("--set", "training.epochs=2", "--set", "training.device=cpu", "--dev-fraction", "0")
    for head, space in (("ls-descriptions", "old.yaml"), ("ls", "old.yaml")):
        given = ("--space", str(tmp_path / space), "--head", head, "--base", base, *quick)
        run("train", str(data), *given, "--out", str(tmp_path / head))
    new = ("--space", str(tmp_path / "new.yaml"), "--out", str(out))
    run("predict", str(tmp_path / "ls-descriptions"), str(data), *new)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["label"] for row in found} <= {"feline", "a horse"}
    assert load_classifier(tmp_path / "ls-descriptions").names == ["cat", "dog", "bird"]
    assert "only the labels that it was trained on" in run("predict", str(tmp_path / "ls"), str(data), *new, fails=True)
    at_address = run("predict", "http://127.0.0.1:1", str(data), *new, fails=True)
    assert "goes with a model's folder" in at_address
