"""PTEC and its text-to-text rival on tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import Backbone
from labelspace.finetune.batches import Example, collate
from labelspace.finetune.label_model import LabelModel
from labelspace.finetune.losses.choice import loss_of
from labelspace.finetune.prompt_tuning import PromptTuning, _weighted
from labelspace.finetune.ptec import PTEC, first_prompt
from labelspace.finetune.train_settings import TrainSettings

WORDS = [
    "[PAD]",
    "[UNK]",
    "[EOS]",
    ";",
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "sat",
    "ran",
    "red",
    "blue",
    "wild",
    "Labels",
    ":",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Llama with its language-model head and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
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


TEXTS = [f"{article} {colour} {animal} {did}" for article in ("the", "a") for colour in ("red", "blue")
         for animal in ("cat", "dog", "bird") for did in ("sat", "ran")]  # fmt: skip
LABELS = [[word for word in ("cat", "red", "ran") if word in text] for text in TEXTS]
FAST = TrainSettings(
    epochs=20, batch_size=8, learning_rate=3e-2, head_learning_rate=3e-2, schedule="exponential", device="cpu"
)


def test_the_prompt_starts_from_label_tokens(base: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    backbone = Backbone(transformers.AutoModel.from_pretrained(base))
    table = backbone.embedding.weight.detach()

    def start(**settings: Any) -> torch.Tensor:
        return first_prompt(
            backbone, tokenizer, **{"start": "labels", "texts": ["cat", "wild dog"], "seed": 0, **settings}
        )

    assert torch.equal(start(length=3), table[[6, 13, 7]])
    # filled up with tokens from number 1000 on, around the end of a small vocabulary
    assert torch.equal(start(length=5), table[[6, 13, 7, 1000 % 40, 1001 % 40]])
    assert {tuple(row.tolist()) for row in start(length=2)} < {tuple(row.tolist()) for row in table[[6, 13, 7]]}
    assert torch.equal(start(length=2, start="text", texts=["red cat"]), table[[11, 6]])
    assert start(length=400, start="random").std() == pytest.approx(table.std().item(), rel=0.05)
    with pytest.raises(ConfigError, match="can't start from a text without tokens"):
        start(length=2, start="text", texts=[""])


def test_logits_are_those_of_the_prompt_as_real_tokens(base: str) -> None:
    """A soft prompt of token embeddings equals these tokens before the text, whatever the padding."""
    stack = transformers.AutoModel.from_pretrained(base)
    backbone, head = Backbone(stack), torch.nn.Linear(32, 3, bias=False)
    soft = LabelModel(backbone, head, prompt=backbone.embedding.weight[[6, 13]].detach())
    rows = [[4, 11, 6, 9], [5, 7]]
    with torch.no_grad():
        found = soft(collate([Example(row) for row in rows], pad=0))
        for row, logits in zip(rows, found, strict=True):
            hidden = stack(input_ids=torch.tensor([[6, 13, *row]])).last_hidden_state[0, -1]
            torch.testing.assert_close(logits, head(hidden), atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"pooling": "mean", "unmask_from": 0, "prompt_start": "random"}])
def test_fit_save_and_load(base: str, tmp_path: Path, settings: dict[str, Any]) -> None:
    model = PTEC(base, prompt_length=8, training=FAST, bias=True, **settings)
    model.fit(TEXTS, LABELS, dev=(TEXTS, LABELS))
    assert model.history_ is not None and model.history_.best_score is not None
    assert model.history_.best_score > 0.9
    assert model.model is not None
    changing = {name for name, value in model.model.named_parameters() if value.requires_grad}
    assert changing == {"prompt", "head.weight", "head.bias"}
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"head.json", "head.safetensors"}
    loaded = PTEC.load(tmp_path, device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS), atol=1e-6)


def test_rare_labels_weigh_more() -> None:
    """The loss by hand: weights are the commonest count over each label's own, 4/4 and 4/1."""
    loss = loss_of("pos-weight", [4, 1], multi_label=True)
    value = loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    assert float(value) == pytest.approx((1 * np.log(2) + 4 * np.log(2)) / 2)


# -- text to text ------------------------------------------------------------------------------------


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, np.log(3.0)]])
    value = _weighted(logits, torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    assert float(value) == pytest.approx((2 * np.log(2) - np.log(0.75)) / 2)


@pytest.mark.parametrize("beams", [1, 3])
def test_prompt_tuning_writes_labels_and_nothing_else(base: str, tmp_path: Path, beams: int) -> None:
    model = PromptTuning(base, prompt_length=8, beams=beams, training=FAST.model_copy(update={"epochs": 3}))
    model.fit(TEXTS, LABELS, dev=(TEXTS[:6], LABELS[:6]))
    assert model.classes_ == ["ran", "red", "cat"]  # by count, then by name
    assert model.model is not None
    assert [name for name, value in model.model.named_parameters() if value.requires_grad] == ["prompt"]
    together = model.predict(TEXTS)
    assert all(set(row) <= {"ran", "red", "cat"} and len(set(row)) == len(row) for row in together)  # type: ignore[arg-type]
    # in other company a text gets the same labels
    assert [model.predict([text])[0] for text in TEXTS[:4]] == together[:4]
    assert model.predict([*TEXTS[:2], "the wild dog sat the wild dog sat the bird"])[:2] == together[:2]
    model.save(tmp_path)
    assert (tmp_path / "head.safetensors").stat().st_size < 2000  # the prompt and nothing of the model's own
    assert PromptTuning.load(tmp_path, device="cpu").predict(TEXTS[:4]) == together[:4]


def test_prompt_tuning_learns(base: str) -> None:
    def answers(epochs: int) -> float:
        training = FAST.model_copy(update={"epochs": epochs, "learning_rate": 0.1, "schedule": "constant"})
        model = PromptTuning(base, multi_label=False, prompt_length=8, training=training)
        model.fit(TEXTS, ["cat" if "cat" in text else "dog" for text in TEXTS])
        assert model.history_ is not None
        assert set(model.predict(TEXTS)) <= {"cat", "dog"}
        return model.history_.losses[-1]

    assert answers(12) < 0.7 * answers(1)


def test_a_free_answer_is_read_by_whole_labels(base: str) -> None:
    model = PromptTuning(base, classes=["cat", "wild cat", "red"], constrained=False)
    model.tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    trie = model.trie()
    ids = model.tokenizer("wild cat ; the red ; red", add_special_tokens=False)["input_ids"]
    assert model._labels([*ids, 2, 6], trie) == [1, 2]
    assert model._labels([6, 3, 11, 2], trie) == [0, 2]
