"""Label-supervised heads: logits against transformers' own classifiers, padding, and the estimators."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.adapters import LoraSettings
from labelspace.finetune.backbone import Backbone, load_backbone, without_pooler
from labelspace.finetune.batches import Batch, Example, collate
from labelspace.finetune.described import LabelDescriptions
from labelspace.finetune.few_shot import FewShot
from labelspace.finetune.label_model import LabelModel, TokenDropout, logits_of
from labelspace.finetune.ls import LabelSupervised
from labelspace.finetune.ls_token import LabelSupervisedTagger
from labelspace.finetune.prompt_tuning import PromptTuning
from labelspace.finetune.ptec import PTEC
from labelspace.finetune.train_settings import TrainSettings

# What transformers does when it loads DeBERTa.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

WORDS = [
    *("[PAD]", "[UNK]", "[EOS]", "the", "a", "cat", "dog", "bird", "sat", "ran", "flew", "on", "by", "mat", "tree"),
    *("road", "red", "blue", "big", "small", "Paris", "Rome", "Bonn"),
]
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_labels": 3,
}
ROPE: dict[str, Any] = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
CONFIGS: dict[str, Any] = {
    "llama": (transformers.LlamaConfig, {**ROPE, "bos_token_id": None, "eos_token_id": 2}),
    "mistral": (transformers.MistralConfig, {**ROPE, "bos_token_id": None, "eos_token_id": 2, "sliding_window": None}),
    "qwen3": (transformers.Qwen3Config, {**ROPE, "bos_token_id": None, "eos_token_id": 2}),
    "gemma": (transformers.GemmaConfig, {**ROPE, "bos_token_id": None, "eos_token_id": 2}),
    "gpt2": (
        transformers.GPT2Config,
        {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "num_labels": 3, "pad_token_id": 0,
         "bos_token_id": 2, "eos_token_id": 2},
    ),
    "bert": (transformers.BertConfig, SIZES),
    "deberta": (transformers.DebertaV2Config, {**SIZES, "relative_attention": True, "pos_att_type": "c2p|p2c"}),
    "modernbert": (
        transformers.ModernBertConfig,
        {**SIZES, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2, "cls_token_id": 2, "sep_token_id": 2},
    ),
}  # fmt: skip
DECODERS = ["llama", "mistral", "qwen3", "gemma", "gpt2"]
TEXT = [11, 5, 37, 8, 29, 3]
POOLINGS = ["last", "first", "mean", "max", "max-hidden"]


def make(auto: Any, name: str, **settings: Any) -> Any:
    torch.manual_seed(1)
    kind, values = CONFIGS[name]
    model = auto.from_config(kind(**values, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def stack_of(model: Any) -> Any:
    return getattr(model, model.base_model_prefix)


def head_of(model: Any) -> torch.nn.Module:
    return model.score if hasattr(model, "score") else model.classifier


def logits(model: LabelModel, rows: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return model(collate([Example(row) for row in rows], pad=0))


# -- parity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unmasked", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_a_causal_or_unmasked_classifier_equals_the_one_of_transformers(name: str, unmasked: bool) -> None:
    theirs = make(transformers.AutoModelForSequenceClassification, name, **({"is_causal": False} if unmasked else {}))
    ours = make(transformers.AutoModelForSequenceClassification, name)
    model = LabelModel(Backbone(stack_of(ours), unmask_from=0 if unmasked else None), ours.score)
    if unmasked:
        for module in theirs.modules():
            if getattr(module, "is_causal", False) is True:
                module.is_causal = False
    rows = [TEXT, TEXT[:3], TEXT[2:]]
    for row, found in zip(rows, logits(model, rows), strict=True):
        with torch.no_grad():
            expected = theirs(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert", "deberta", "modernbert"])
def test_an_encoder_s_classifier_equals_the_one_of_transformers(name: str) -> None:
    """Theirs pools the first token through a layer of its own, which is a head to us."""
    whole = make(transformers.AutoModelForSequenceClassification, name)
    if name == "bert":
        parts = [whole.bert.pooler.dense, torch.nn.Tanh(), whole.classifier]
    elif name == "deberta":
        parts = [whole.pooler.dense, torch.nn.GELU(), whole.classifier]
    else:
        parts = [whole.head, whole.classifier]
    rows = [TEXT, TEXT[:3]]
    with torch.no_grad():
        expected = [whole(torch.tensor([row]), attention_mask=torch.ones(1, len(row))).logits[0] for row in rows]
    model = LabelModel(Backbone(without_pooler(stack_of(whole))), torch.nn.Sequential(*parts), pooling="first").eval()
    torch.testing.assert_close(logits(model, rows), torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("unmask_from", [None, 0])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_of_tokens_whatever_the_padding(name: str, unmask_from: int | None) -> None:
    backbone = Backbone(without_pooler(make(transformers.AutoModel, name)), unmask_from=unmask_from)
    model = LabelModel(backbone, torch.nn.Linear(32, 3)).eval()
    words = torch.tensor([0, 2, 5])
    with torch.no_grad():
        expected = model.head(backbone(torch.tensor([TEXT]), torch.ones(1, 6, dtype=torch.long))[0, words])
        for left, right in ((0, 9), (9, 0), (4, 5)):
            ids = torch.tensor([[7] * left + TEXT + [7] * right])
            mask = torch.tensor([[0] * left + [1] * 6 + [0] * right])
            found = model(Batch(ids, mask, None, (torch.zeros(3, dtype=torch.long), words + left)))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "gemma", "gpt2", "bert", "deberta", "modernbert"])
def test_a_tagger_equals_the_one_of_transformers(name: str) -> None:
    whole = make(transformers.AutoModelForTokenClassification, name)
    head = torch.nn.Sequential(whole.head, whole.classifier) if name == "modernbert" else head_of(whole)
    model = LabelModel(Backbone(without_pooler(stack_of(whole))), head).eval()
    examples = [Example(TEXT, words=[0, 2, 5]), Example(TEXT[:2], words=[1]), Example(TEXT[:1], words=[])]
    found = logits_of(model, examples)
    with torch.no_grad():
        expected = whole(torch.tensor([TEXT]), attention_mask=torch.ones(1, 6, dtype=torch.long)).logits[0]
    np.testing.assert_allclose(found[0], expected[[0, 2, 5]].numpy(), atol=1e-5)
    assert [len(rows) for rows in found] == [3, 1, 0]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("unmask_from", [None, 0])
@pytest.mark.parametrize("name", CONFIGS)
def test_poolings_by_their_definitions_and_whatever_the_padding(
    name: str, unmask_from: int | None, pooling: Any
) -> None:
    stack = without_pooler(make(transformers.AutoModel, name))
    head = torch.nn.Linear(32, 3, bias=False)
    backbone = Backbone(stack, unmask_from=unmask_from)
    model = LabelModel(backbone, head, pooling=pooling)
    with torch.no_grad():
        hidden = backbone(torch.tensor([TEXT]), torch.ones(1, 6, dtype=torch.long))[0]
        expected = {
            "last": hidden[-1] @ head.weight.T,
            "first": hidden[0] @ head.weight.T,
            "mean": (hidden @ head.weight.T).mean(dim=0),  # of the logits
            "max": (hidden @ head.weight.T).amax(dim=0),
            "max-hidden": hidden.amax(dim=0) @ head.weight.T,
        }[pooling]
        for pads in (0, 1, 30):
            for left in (0, pads):
                ids = torch.tensor([[7] * left + TEXT + [7] * (pads - left)])
                mask = torch.tensor([[0] * left + [1] * 6 + [0] * (pads - left)])
                batch = collate([Example(TEXT)], pad=0)
                found = model(type(batch)(ids, mask, None, None))[0]
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_legacy_padding_is_the_leak_of_the_reference_code(pooling: Any) -> None:
    stack = make(transformers.AutoModel, "llama")
    head = torch.nn.Linear(32, 3, bias=False)
    legacy = LabelModel(Backbone(stack, unmask_from=0, legacy_padding=True), head, pooling=pooling, legacy_pad=0)
    bare, padded = logits(legacy, [TEXT, TEXT]), logits(legacy, [TEXT, TEXT * 4])
    assert (bare[0] - padded[0]).abs().max() > 1e-3
    # What the reference computes: all tokens, padding among them, see each other and are pooled alike.
    with torch.no_grad():
        ids = torch.tensor([TEXT + [0] * 18])
        all_real = stack(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0] @ head.weight.T
    expected = {"last": all_real[5], "mean": all_real.mean(dim=0), "max": all_real.amax(dim=0)}[pooling]
    torch.testing.assert_close(padded[0], expected, atol=1e-5, rtol=0)


def test_the_reference_takes_a_real_token_for_padding_and_we_do_not() -> None:
    """With <unk> for padding, as Llama 1 has it, an <unk> in the text moves the reference's last token."""
    head = torch.nn.Linear(32, 3, bias=False)
    text = [11, 5, 0, 8, 29]
    ours = LabelModel(Backbone(make(transformers.AutoModel, "llama")), head)
    legacy = LabelModel(Backbone(make(transformers.AutoModel, "llama"), legacy_padding=True), head, legacy_pad=0)
    with torch.no_grad():
        hidden = ours.backbone(torch.tensor([text]), torch.ones(1, 5, dtype=torch.long))[0]
    torch.testing.assert_close(logits(ours, [text])[0], head(hidden[4]))
    torch.testing.assert_close(logits(legacy, [text])[0], head(hidden[1]))


# -- the estimators ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Llama with a tokenizer of words."""
    folder = tmp_path_factory.mktemp("base")
    make(transformers.AutoModel, "llama").save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    ).save_pretrained(folder)
    return str(folder)


TEXTS = [f"{size} {colour} {animal} {did}" for size in ("the big", "a small") for colour in ("red", "blue")
         for animal in ("cat", "dog", "bird") for did in ("sat on mat", "ran")]  # fmt: skip
ANIMALS = [next(word for word in ("cat", "dog", "bird") if word in text) for text in TEXTS]
FAST = TrainSettings(epochs=12, batch_size=8, learning_rate=2e-2, device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "max", "unmask_from": 0},
        {"pooling": "mean", "unmask_from": 1, "tuning": "full"},
        {"pooling": "max-hidden", "tuning": "frozen", "dropout": 0.1, "bias": True},
        {"pooling": "mean", "head": "mlp"},
        {"pooling": "mean", "head": "equiangular"},
        {"pooling": "mean", "lora": LoraSettings(rank=4, rank_stabilised=True, targets="all-linear")},
        {"pooling": "mean", "lora": LoraSettings(rank=4, dora=True, targets=("q_proj", "up_proj"))},
    ],
)
def test_fit_predict_save_and_load(base: str, tmp_path: Path, settings: dict[str, Any]) -> None:
    rate = {"full": 5e-3, "frozen": 0.1}.get(settings.get("tuning", "lora"), 5e-3 if "lora" in settings else 2e-2)
    training = FAST.model_copy(update={"learning_rate": rate})
    classifier = LabelSupervised(base, training=training, **settings)
    classifier.fit(TEXTS, ANIMALS, dev=(TEXTS, ANIMALS), folder=tmp_path / "run")
    assert classifier.classes_ == ["bird", "cat", "dog"]
    assert classifier.history_ is not None and classifier.history_.best_score is not None
    assert np.mean(np.array(classifier.predict(TEXTS)) == ANIMALS) == classifier.history_.best_score >= 0.8
    probabilities = classifier.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    classifier.save(tmp_path / "model")
    loaded = LabelSupervised.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), probabilities, atol=1e-6)
    assert loaded.settings() == classifier.settings()
    files = {path.name for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl", ".pth"))]


def test_tokens_are_hidden_while_training_alone() -> None:
    stack = make(transformers.AutoModel, "llama")
    model = LabelModel(Backbone(stack), torch.nn.Linear(32, 3), token_dropout=TokenDropout(1.0, mask=7, spared=(11, 3)))
    model.eval()
    seen, hidden = logits(model, [TEXT])[0], logits(model, [[11, 7, 7, 7, 7, 3]])[0]
    assert not torch.allclose(seen, hidden, atol=1e-2)
    model.train()
    torch.testing.assert_close(logits(model, [TEXT])[0], hidden)
    torch.manual_seed(0)
    share = (TokenDropout(0.1, mask=7).hide(torch.zeros(100, 100, dtype=torch.long)) == 7).float().mean()
    assert 0.09 < float(share) < 0.11


def test_a_model_without_a_mask_token_can_not_hide_tokens(base: str) -> None:
    with pytest.raises(ConfigError, match="no mask token"):
        LabelSupervised(base, token_dropout=0.1, tuning="frozen").fit(TEXTS, ANIMALS)


@pytest.mark.parametrize(("dropout", "expected"), [(None, 0.1), (0.0, 0.0), (0.3, 0.3)])
def test_the_dropout_of_a_backbone(base: str, tmp_path: Path, dropout: float | None, expected: float) -> None:
    shutil.copytree(base, tmp_path / "bert")
    make(transformers.AutoModel, "bert").save_pretrained(tmp_path / "bert")
    backbone, _ = load_backbone(tmp_path / "bert", dropout=dropout)
    assert {module.p for module in backbone.modules() if isinstance(module, torch.nn.Dropout)} == {expected}


def test_peft_alone_loads_what_was_saved(base: str, tmp_path: Path) -> None:
    from peft import AutoPeftModelForFeatureExtraction

    classifier = LabelSupervised(base, training=FAST.model_copy(update={"epochs": 2})).fit(TEXTS, ANIMALS)
    classifier.save(tmp_path)
    theirs = AutoPeftModelForFeatureExtraction.from_pretrained(str(tmp_path)).eval()
    weight = load_file(str(tmp_path / "head.safetensors"))["head.weight"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = theirs(input_ids=ids).last_hidden_state[0, -1]
    np.testing.assert_allclose(classifier.decision_function(TEXTS[:1])[0], (weight @ hidden).numpy(), atol=1e-5)


def test_heads_are_estimators_of_scikit_learn(base: str) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV

    head = LabelSupervised(base, pooling="mean", tuning="frozen", training=FAST.model_copy(update={"epochs": 3}))
    assert is_classifier(head) and "pooling='mean'" in repr(head)
    searched = GridSearchCV(head, {"training__learning_rate": [1e-7, 0.1], "bias": [True]}, cv=2)
    searched.fit(TEXTS, ANIMALS)
    assert searched.best_params_ == {"training__learning_rate": 0.1, "bias": True}
    assert searched.best_estimator_.training.epochs == 3
    assert searched.score(TEXTS, ANIMALS) == np.mean(np.array(searched.predict(TEXTS)) == ANIMALS)
    assert clone(searched.best_estimator_).classes_ == []
    for other in (FewShot(base), PTEC(base), PromptTuning(base), LabelSupervisedTagger(base),
                  LabelDescriptions(base, label_texts={"cat": "purrs"})):  # fmt: skip
        assert clone(other).get_params() == other.get_params()
    with pytest.raises(ConfigError, match="no parameter 'poling'; it has: backbone_dropout, base"):
        head.set_params(poling="mean")
    with pytest.raises(ConfigError, match=r"epochs: .*greater than or equal to 0"):
        head.set_params(training__epochs=-1)


def test_thresholds_are_those_of_the_best_f1_on_dev(base: str, tmp_path: Path) -> None:
    labels = [[word for word in ("red", "big") if word in text] for text in TEXTS]
    slow = FAST.model_copy(update={"epochs": 1, "learning_rate": 1e-3})
    head = LabelSupervised(base, multi_label=True, pooling="mean", tuning="frozen", training=slow)
    head.fit(TEXTS, labels)
    before = head.score(TEXTS, labels)
    head.calibrate(TEXTS, labels)
    assert head.score(TEXTS, labels) > before
    assert len(set(head.thresholds_.tolist())) == 2 and 0.5 not in head.thresholds_
    head.save(tmp_path)
    assert LabelSupervised.load(tmp_path, device="cpu").predict(TEXTS) == head.predict(TEXTS)
    few = (
        LabelSupervised(base, multi_label=True, tuning="frozen", training=slow)
        .fit(TEXTS, labels)
        .calibrate(TEXTS[:4], labels[:4])
    )
    assert few.thresholds_.tolist() == [0.5, 0.5]  # of too few positives to tell


def test_a_text_is_cut_where_the_positions_of_the_stack_end(base: str, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(base, tmp_path / "short")
    config = transformers.BertConfig(**SIZES, max_position_embeddings=6)
    transformers.BertModel(config).save_pretrained(tmp_path / "short")
    quick = FAST.model_copy(update={"epochs": 1})
    head = LabelSupervised(tmp_path / "short", pooling="mean", tuning="frozen", training=quick)
    head.fit([f"{text} {text}" for text in TEXTS], ANIMALS)
    assert "has room for 6 tokens of a text" in capsys.readouterr().err
    words = TEXTS[0].split()
    np.testing.assert_array_equal(
        head.predict_proba([" ".join([*words, *words])]), head.predict_proba([" ".join([*words, *words][:6])])
    )
    prompted = PTEC(tmp_path / "short", multi_label=False, prompt_length=4, training=quick).fit(TEXTS, ANIMALS)
    assert prompted.max_length == 2 and len(prompted.predict(TEXTS)) == len(TEXTS)
    with pytest.raises(ConfigError, match="reads 6 tokens at most, and a prompt of 6 vectors leaves none"):
        PTEC(tmp_path / "short", prompt_length=6).fit(["a", "b"], [["cat"], ["dog"]])


@pytest.mark.parametrize(
    "changed", [{"loss": "focal"}, {"pooling": "max"}, {"lora": LoraSettings(alpha=1.0)}, {"dropout": 0.5}]
)
def test_a_state_of_other_settings_is_left_alone(base: str, tmp_path: Path, changed: Any, capsys: Any) -> None:
    quick = FAST.model_copy(update={"epochs": 1})
    LabelSupervised(base, training=quick).fit(TEXTS, ANIMALS, folder=tmp_path)
    LabelSupervised(base, training=quick, **changed).fit(TEXTS, ANIMALS, folder=tmp_path)
    assert "this one starts anew" in capsys.readouterr().err


def test_several_labels_or_none(base: str, tmp_path: Path) -> None:
    labels = [[word for word in ("red", "cat", "ran") if word in text] for text in TEXTS]
    classifier = LabelSupervised(base, multi_label=True, pooling="mean", pos_weight=True, training=FAST)
    classifier.fit(TEXTS, labels, dev=(TEXTS, labels))
    assert classifier.metric == "macro-f1"
    assert [sorted(row) for row in classifier.predict(TEXTS)] == [sorted(row) for row in labels]
    classifier.thresholds_ = np.array([1.1, 0.5, -1.0])  # cat never, ran as before, red always
    classifier.save(tmp_path)
    found = LabelSupervised.load(tmp_path, device="cpu").predict(TEXTS)
    assert all("red" in row and "cat" not in row for row in found)


def test_early_learning_forgives_wrong_labels(base: str) -> None:
    wrong = ["cat" if at % 8 == 0 else name for at, name in enumerate(ANIMALS)]
    settings = FAST.model_copy(update={"epochs": 8})
    head = LabelSupervised(base, pooling="mean", loss="early-learning", training=settings).fit(TEXTS, wrong)
    assert np.mean(np.array(head.predict(TEXTS)) == ANIMALS) > np.mean(np.array(wrong) == ANIMALS)
    with pytest.raises(ConfigError, match="loss=early-learning learns from labels"):
        LabelSupervised(base, classes=["x", "y"], loss="early-learning").fit(["a", "b"], np.eye(2))


def test_probabilities_of_a_teacher(base: str) -> None:
    training = FAST.model_copy(update={"epochs": 30})
    soft = np.array([[0.2, 0.8, 0.0] if name == "cat" else [0.6, 0.0, 0.4] for name in ANIMALS])
    classifier = LabelSupervised(base, classes=["x", "y", "z"], pooling="mean", training=training).fit(TEXTS, soft)
    assert np.abs(classifier.predict_proba(TEXTS) - soft).max() < 0.1


def test_labels_may_be_probabilities_by_name_and_texts_may_weigh(base: str) -> None:
    training = FAST.model_copy(update={"epochs": 60, "learning_rate": 0.02})
    soft = [{"x": 0.25, "y": 0.75} if name == "cat" else "x" for name in ANIMALS]
    classifier = LabelSupervised(base, pooling="mean", training=training).fit(TEXTS, soft)  # type: ignore[arg-type]
    assert classifier.classes_ == ["x", "y"]
    wanted = np.array([[0.25, 0.75] if name == "cat" else [1, 0] for name in ANIMALS])
    assert np.abs(classifier.predict_proba(TEXTS) - wanted).max() < 0.1
    # each text twice with two labels: what the labels weigh is what is learned
    texts, labels = TEXTS * 2, ["x"] * len(TEXTS) + ["y"] * len(TEXTS)
    weights = [3.0] * len(TEXTS) + [1.0] * len(TEXTS)
    weighed = LabelSupervised(base, pooling="mean", training=training).fit(texts, labels, sample_weight=weights)
    assert np.abs(weighed.predict_proba(TEXTS) - [0.75, 0.25]).max() < 0.1


@pytest.mark.parametrize(
    ("settings", "labels", "weights", "message"),
    [
        ({"loss": "focal"}, [{"x": 1.0}, {"y": 0.5, "x": 0.5}], None, "loss=focal learns from labels, not from prob"),
        ({"loss": "distillation"}, ["x", "y"], None, "loss=distillation learns from probabilities"),
        ({"loss_options": {"gamma": 1}}, ["x", "y"], None, "loss=cross-entropy has no option 'gamma'; it has: none"),
        ({"loss": torch.nn.functional.cross_entropy}, ["x", "y"], [1, 2], "the loss takes no argument `weights`"),
        ({}, ["x", "y"], [1, -2], "one of them negative"),
        ({}, ["x", "y"], [1], r"weights of shape \(1,\) for 2 texts"),
        ({}, ["x", {"y": 2.0}], None, "shares are numbers from 0 to 1"),
    ],
)
def test_probabilities_and_weights_that_can_not_be(base: str, settings, labels, weights, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        LabelSupervised(base, **settings).fit(["a cat", "a dog"], labels, sample_weight=weights)


def test_a_stopped_fit_goes_on(base: str, tmp_path: Path) -> None:
    whole = LabelSupervised(base, training=FAST).fit(TEXTS, ANIMALS).decision_function(TEXTS)
    done = 0

    class Stop(Exception):
        pass

    def loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == 17:
            raise Stop
        return torch.nn.functional.cross_entropy(found, wanted)

    settings = FAST.model_copy(update={"checkpoint_seconds": 0.0})
    with pytest.raises(Stop):
        LabelSupervised(base, training=settings, loss=loss).fit(TEXTS, ANIMALS, folder=tmp_path)
    again = LabelSupervised(base, training=settings, loss=loss).fit(TEXTS, ANIMALS, folder=tmp_path)
    assert again.history_ is not None and again.history_.steps == 36
    np.testing.assert_array_equal(again.decision_function(TEXTS), whole)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a"], [], "1 texts but 0 labels"),
        ([], [], "nothing to learn"),
        (["a"], np.array([[0.5, 0.5]]), "probabilities have no names; give `classes`"),
        (["a", "b"], [["cat"], ["dog"]], r"label 0 is \['cat'\]; with multi_label, give a list"),
        (["a", "b"], ["cat", None], "label 1 is None; with multi_label"),
    ],
)
def test_what_can_not_be_learned(base: str, texts: list[str], labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelSupervised(base).fit(texts, labels)


def test_labels_that_are_no_lists_and_shares_that_are_no_numbers(base: str) -> None:
    with pytest.raises(DataError, match="label 0 is 'cat'; with multi_label, give a list of names"):
        LabelSupervised(base, multi_label=True).fit(["a", "b"], ["cat", "dog"])
    for wrong in (np.nan, -0.5):
        with pytest.raises(DataError, match="a probability is negative or no number"):
            LabelSupervised(base, classes=["x", "y"]).fit(["a", "b"], np.array([[wrong, 1.0], [0.5, 0.5]]))
    with pytest.raises(DataError, match="the label 'fish' is not among the 2 classes"):
        PromptTuning(base, classes=["cat", "dog"], multi_label=False).fit(["a cat"], ["fish"])


def test_what_can_not_be_used(base: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the label 'fish' is not among the 2 classes"):
        LabelSupervised(base, classes=["cat", "dog"]).fit(["a cat"], ["fish"])
    with pytest.raises(ConfigError, match="there is no pooling 'median'; there are: last, first, mean, max"):
        LabelSupervised(base, pooling="median")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no head 'tree'; there are: linear, mlp, equiangular"):
        LabelSupervised(base, head="tree")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="call fit first"):
        LabelSupervised(base).predict(["a cat"])
    with pytest.raises(ConfigError, match=r"there is no head\.json here"):
        LabelSupervised.load(tmp_path)
    (tmp_path / "head.json").write_text(json.dumps({"kind": "ls-token"}))
    with pytest.raises(ConfigError, match="holds a model of kind 'ls-token', not 'ls'"):
        LabelSupervised.load(tmp_path)
    with pytest.raises(ConfigError, match="quantized weights need bitsandbytes"):
        LabelSupervised(base, quantization="4bit").fit(["a cat", "a dog"], ["cat", "dog"])
    with pytest.raises(ConfigError, match="the adapters don't fit the model"):
        LabelSupervised(base, lora=LoraSettings(targets=("nonsense",))).fit(["a cat", "a dog"], ["cat", "dog"])


SENTENCES = [
    f"{place} {did} {what} {other}".split()
    for place in ("Paris", "the cat", "Rome Bonn")
    for did in ("sat", "ran")
    for what in ("on the mat", "by")
    for other in ("Bonn", "tree")
]
CITIES = {"Paris", "Rome", "Bonn"}


def tags_of(words: list[str]) -> list[str]:
    tags: list[str] = []
    for i, word in enumerate(words):
        tags.append("O" if word not in CITIES else "I-city" if i and words[i - 1] in CITIES else "B-city")
    return tags


@pytest.mark.parametrize("decoding", ["constrained", "repair", "none"])
def test_the_tagger(base: str, tmp_path: Path, decoding: Any) -> None:
    tags = [tags_of(words) for words in SENTENCES]
    training = FAST.model_copy(update={"epochs": 15})
    tagger = LabelSupervisedTagger(base, decoding=decoding, unmask_from=0, training=training)
    tagger.fit(SENTENCES, tags, dev=(SENTENCES, tags))
    assert tagger.classes_ == ["O", "B-city", "I-city"]
    assert tagger.score(SENTENCES, tags) == 1.0 and tagger.lost_words_ == 0
    tagger.save(tmp_path)
    loaded = LabelSupervisedTagger.load(tmp_path, device="cpu")
    assert loaded.predict(SENTENCES) == tags
    # words that were cut off are outside, and count
    loaded.max_length = 1
    first, second, third = loaded.predict([["Bonn", "Bonn"], ["Bonn"], []])
    assert (first, third) == ([*second, "O"], [])
    assert loaded.lost_words_ == 1
    assert [rows[1:].tolist() for rows in loaded.predict_proba([["Rome", "Bonn"], []])] == [[[1.0, 0.0, 0.0]], []]
    assert loaded.score([["Rome", "Bonn"]], [["B-city", "I-city"]]) == 0.0


def test_words_and_tags_that_do_not_match(base: str) -> None:
    with pytest.raises(DataError, match="sentence 1 has 2 words but 1 tags"):
        LabelSupervisedTagger(base).fit([["a", "cat"]], [["O"]])
    with pytest.raises(DataError, match="'city' is no tag"):
        LabelSupervisedTagger(base).fit([["Rome"]], [["city"]])
