"""Exported heads: what transformers reads back says the same, and what would not is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tokenizers
import torch
import transformers

from labelspace.cli import main
from labelspace.errors import ConfigError, DataError
from labelspace.finetune.export.adapter import export_adapter
from labelspace.finetune.export.check import compare
from labelspace.finetune.export.tokens import with_prompt
from labelspace.finetune.export.vllm import export_merged
from labelspace.finetune.store import load_classifier
from labelspace.finetune.tuned_store import save_tuned
from labelspace.serve.outer_head import OuterHead
from labelspace.serve.served import Served
from labelspace.space import LabelSpace


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tiny.Bases:
    return tiny.Bases(tmp_path_factory.mktemp("bases"))


MEAN: dict[str, Any] = {"pooling": "mean", "unmask_from": 0}
EXPORTS = [
    ("ls", "start", {}),
    ("ls", "both", {"pooling": "mean", "unmask_from": 0}),
    ("ls", "plain", {"pooling": "max", "unmask_from": 0}),
    ("ls", "qwen2", {"pooling": "last", "unmask_from": -2, "bias": True}),
    ("ls", "start", {"pooling": "mean", "multi_label": True, "tuning": "full", "bias": True}),
    ("ls", "start", {"pooling": "first", "tuning": "frozen", "unmask_from": 0}),
    ("ls-token", "start", {"unmask_from": 0}),
    ("ptec", "both", {"multi_label": True, "bias": True}),
    ("ptec", "plain", {}),
    ("ptec", "qwen2", {"pooling": "mean", "unmask_from": 0}),
    ("ptec", "gemma", {}),
    ("ls", "plain", {"pooling": "max", "unmask_from": 1, "bias": True}),
    ("ls", "qwen2", {"pooling": "mean", "unmask_from": -1}),
    ("ls-token", "start", {"unmask_from": 1}),
]


@pytest.mark.parametrize(("kind", "base", "settings"), EXPORTS)
def test_an_export_says_what_the_model_says(
    bases: tiny.Bases, tmp_path: Path, kind: str, base: str, settings: dict[str, Any]
) -> None:
    model = tiny.train(kind, bases[base], tmp_path / "model", **settings)
    served, difference = export_merged(tmp_path / "model", tmp_path / "out")
    assert difference < 1e-4
    assert served == Served.load(tmp_path / "out")
    assert list(served.names) == model.classes_
    assert served.thresholds == (tuple(model.thresholds_) if settings.get("multi_label") else None)
    assert served.flags[:6] == ("--runner", "pooling", "--dtype", "float32", "--max-model-len", str(served.truncate))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [config["id2label"][str(i)] for i in range(len(served.names))] == model.classes_
    assert config.get("is_causal", True) == ("unmask_from" not in settings)
    several = settings.get("multi_label", False)
    assert config["problem_type"] == ("multi" if several else "single") + "_label_classification"
    ours = settings.get("pooling") == "max" or settings.get("unmask_from") in (1, -1)
    assert config["architectures"][0].startswith("Labelspace") == ours
    assert not list((tmp_path / "out").glob("*.bin"))


OUTER = [
    ("ls", "bert", {"pooling": "mean"}, "embed"),
    ("ls", "modernbert", {"pooling": "first", "head": "equiangular"}, "embed"),
    ("ls", "roberta", {"pooling": "max", "multi_label": True, "bias": True}, "token_embed"),
    ("ls-token", "bert", {}, "token_embed"),
    ("ptec", "bert", {"pooling": "mean"}, "embed"),
    ("ls", "start", {"head": "mlp", "unmask_from": 1, "multi_label": True}, "embed"),
    ("ls", "plain", {"pooling": "max-hidden", "unmask_from": 0, "tuning": "full"}, "token_embed"),
    ("ls", "gemma", {"pooling": "max"}, "token_embed"),
]


@pytest.mark.parametrize(("kind", "base", "settings", "asks"), OUTER)
def test_a_head_that_vllm_has_no_layer_for_lies_beside(
    bases: tiny.Bases, tmp_path: Path, kind: str, base: str, settings: dict[str, Any], asks: str
) -> None:
    model = tiny.train(kind, bases[base], tmp_path / "model", **settings)
    served, difference = export_merged(tmp_path / "model", tmp_path / "out")
    assert difference < 1e-4
    assert (served.asks, served.logits, list(served.names)) == (asks, True, model.classes_)
    assert Served.load(tmp_path / "out") == served
    assert json.loads(served.flags[-1])["task"] == asks
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors")] == ["model.safetensors"]
    # What a damaged head says is not what the model says.
    head = OuterHead.load(tmp_path / "out")
    hidden = np.random.default_rng(0).normal(size=(3, head.width)).astype(np.float32)
    with torch.inference_mode():
        wanted = model.model.head(torch.from_numpy(hidden)).numpy()
    np.testing.assert_allclose(head.logits(hidden), wanted, atol=1e-5)
    (tmp_path / "out" / "head" / "head.safetensors").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"head\.safetensors: holds no head"):
        OuterHead.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        ("start", {}),
        ("start", {"multi_label": True, "head": "mlp"}),
        ("bert", {"pooling": "mean", "head": "equiangular"}),
    ],
)
def test_a_temperature_goes_along(bases: tiny.Bases, tmp_path: Path, base: str, settings: dict[str, Any]) -> None:
    model = tiny.train("ls", bases[base], tmp_path / "model", tuning="frozen", **settings)
    before, logits = model.predict(tiny.TEXTS), model.decision_function(tiny.TEXTS)
    model.calibrate(tiny.TEXTS, tiny.SEVERAL if "multi_label" in settings else tiny.LABELS)
    assert model.temperature_ != 1.0
    if "multi_label" not in settings:
        assert model.predict(tiny.TEXTS) == before
    save_tuned(tmp_path / "model", model, LabelSpace.of(model.classes_, multi_label=model.multi_label))
    served, difference = export_merged(tmp_path / "model", tmp_path / "out")
    assert (served.temperature, difference < 1e-4) == (model.temperature_, True)
    scaled = torch.from_numpy(logits / np.float32(model.temperature_))
    wanted = scaled.sigmoid() if model.multi_label else scaled.softmax(dim=1)
    np.testing.assert_allclose(model.predict_proba(tiny.TEXTS), wanted.numpy(), atol=1e-6)
    again = load_classifier(tmp_path / "model").head
    np.testing.assert_allclose(again.predict_proba(tiny.TEXTS), wanted.numpy(), atol=1e-6)


def test_no_text_reaches_a_soft_prompt(bases: tiny.Bases, tmp_path: Path) -> None:
    model = tiny.train("ptec", bases["both"], tmp_path / "model")
    served, _ = export_merged(tmp_path / "model", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = list(range(410, 417))
    for text in ["<soft-prompt>", "<soft-prompt>0<soft-prompt>1", "a cat", "", "long " * 200]:
        ids = tokenizer(text, truncation=True, max_length=served.truncate)["input_ids"]
        ours = model.tokenizer(text, truncation=True, max_length=64)["input_ids"]
        assert ids == prompt + ours
    assert not {"<soft-prompt>", "<soft-prompt>0"} & set(tokenizer.get_vocab())
    weights = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").state_dict()
    found = weights["model.embed_tokens.weight"][410:].numpy()
    np.testing.assert_array_equal(found, model.model.prompt.detach().numpy())


@pytest.mark.parametrize("kind", ["BertProcessing", "RobertaProcessing"])
def test_a_prompt_before_the_special_tokens_of_bert_and_roberta(bases: tiny.Bases, kind: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(bases["plain"])
    tokenizer.backend_tokenizer.post_processor = getattr(tokenizers.processors, kind)(("</s>", 1), ("<s>", 0))
    prompted = with_prompt(tokenizer, 500, 3)
    for texts in (("a cat",), ("",), ("the red cat", "a dog")):
        plain, ours = tokenizer(*texts), prompted(*texts)
        assert ours["input_ids"] == [500, 501, 502, *plain["input_ids"]]
        assert (
            prompted(*texts, return_token_type_ids=True)["token_type_ids"][3:]
            == (tokenizer(*texts, return_token_type_ids=True)["token_type_ids"])
        )


@pytest.mark.parametrize(
    ("base", "settings", "message"),
    [
        ("electra", {}, "vLLM has no electra; of encoders it has bert, .* --engine local"),
        ("gemma", {"unmask_from": 0}, "does not lift the causal mask of gemma; serve it with: labelspace serve"),
        ("plain", {"legacy_padding": True}, "padding leak"),
    ],
)
def test_what_vllm_can_not_serve_is_refused(
    bases: tiny.Bases, tmp_path: Path, base: str, settings: dict[str, Any], message: str
) -> None:
    tiny.train("ls", bases[base], tmp_path / "model", **settings)
    with pytest.raises(ConfigError, match=message):
        export_merged(tmp_path / "model", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_text_that_is_longer_than_the_base_reads(bases: tiny.Bases, tmp_path: Path) -> None:
    tiny.train("ptec", bases["plain"], tmp_path / "model")
    path = tmp_path / "model" / "head.json"
    about = json.loads(path.read_text())
    about["settings"]["max_length"] = 600  # with a prompt of 7, beyond the base's 512
    path.write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="reads 607 tokens, its prompt counted, but its base only 512"):
        export_merged(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_does_not_match_is_refused() -> None:
    want = [np.array([1.0, -2.0], np.float32), np.array([[0.5, 0.1]], np.float32)]
    assert compare(want, [row + 1e-5 for row in want], ["a", "b"], torch.float32) == pytest.approx(1e-5, rel=0.1)
    for wrong in ([want[0] + 1e-4, want[1]], [want[0], np.zeros((2, 2), np.float32)], [want[0] * np.nan, want[1]]):
        with pytest.raises(ConfigError, match="nothing was exported: for the text '[ab]' the export is off by"):
            compare(want, wrong, ["a", "b"], torch.float32)


def test_a_folder_that_is_no_export_is_left_alone(bases: tiny.Bases, tmp_path: Path) -> None:
    tiny.train("ls", bases["plain"], tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="is there already and is no export"):
        export_merged(tmp_path / "model", tmp_path / "out")
    for _ in range(2):
        export_merged(tmp_path / "model", tmp_path / "again")
    assert Served.load(tmp_path / "again").model == "again"
    with pytest.raises(DataError, match=r"holds no labelspace\.json"):
        Served.load(tmp_path / "model")


def test_adapters_on_one_base(bases: tiny.Bases, tmp_path: Path) -> None:
    from labelspace.finetune.adapters import LoraSettings

    shared = tmp_path / "shared"
    heads: list[dict[str, Any]] = [
        {"lora": LoraSettings(rank=4, rank_stabilised=True, targets="all-linear")},
        {"multi_label": True, "tuning": "frozen", "bias": True},
        {"kind": "ptec", "multi_label": True, "bias": True},
    ]
    for number, settings in enumerate(heads):
        folder, out = tmp_path / f"model{number}", tmp_path / f"out{number}"
        model = tiny.train(
            settings.pop("kind", "ls"), bases["start"], folder, pooling="mean", unmask_from=0, **settings
        )
        served, difference = export_adapter(folder, out, shared)
        assert difference < 1e-4 and served.logits and list(served.names) == model.classes_
    tiny.train("ls", bases["start"], tmp_path / "last")
    with pytest.raises(ConfigError, match=r"the base has .*mean.*, the head .*last.*; export it onto another base"):
        export_adapter(tmp_path / "last", tmp_path / "no", shared)
    for base, settings, message in (
        ("start", {"head": "mlp"}, "export this one by itself with --to vllm"),
        (
            "start",
            {"kind": "ptec", "prompt_length": 129, **MEAN},
            "reads 192 tokens, the head 193; make the base with the longest",
        ),
        ("qwen2", {"kind": "ptec"}, "no adapters for the embeddings of qwen2, only of llama, mistral"),
    ):
        tiny.train(settings.pop("kind", "ls"), bases[base], tmp_path / "other", **settings)
        with pytest.raises(ConfigError, match=message):
            export_adapter(tmp_path / "other", tmp_path / "no", shared)
    assert not (tmp_path / "no").exists()


def test_on_the_command_line(bases: tiny.Bases, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.train("ls", bases["start"], tmp_path / "model")
    forms = (["--to", "vllm"], ["--to", "adapter", "--shared-base", str(tmp_path / "shared")])
    for number, form in enumerate(forms):
        with pytest.raises(SystemExit) as done:
            main(["export", str(tmp_path / "model"), *form, str(tmp_path / f"out{number}")])
        assert not done.value.code
        said = capsys.readouterr().err
        assert "a ls head for 3 labels" in said and "Next: labelspace serve" in said
        assert Served.load(tmp_path / f"out{number}").names == ("bird", "cat", "dog")
    readme = (tmp_path / "out0" / "README.md").read_text()
    assert "vllm serve FOLDER --runner pooling --dtype float32 --max-model-len 64" in readme
