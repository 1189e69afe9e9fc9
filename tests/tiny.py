"""Tiny models with random weights that vLLM can serve, and heads trained on them in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ANIMALS = ("cat", "dog", "bird")
TEXTS = [f"{size} {colour} {animal} {did}" for size in ("the big", "a small") for colour in ("red", "blue")
         for animal in ANIMALS for did in ("sat on mat", "ran")]  # fmt: skip
LABELS = [next(word for word in ANIMALS if word in text) for text in TEXTS]
SEVERAL = [[word for word in ("red", "cat", "ran") if word in text] for text in TEXTS]
SENTENCES = [text.split() for text in TEXTS]
TAGS = [["B-animal" if word in ANIMALS else "O" for word in words] for words in SENTENCES]


ENCODERS = ("bert", "modernbert", "roberta", "electra")


def build_base(folder: Path, *, kind: str = "llama", start: bool = True, end: bool = False) -> str:
    """Write a decoder, or an encoder, of two layers with a byte-level tokenizer.

    Args:
        folder: Is made.
        kind: Type of model.
        start: Whether texts start with a token of their own, as Llama's do.
        end: Whether they end with one.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    if start or end:
        single = f"{'<s> ' if start else ''}$A{' </s>' if end else ''}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} $B", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=410,  # more rows than tokens, as real models have
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,  # vLLM's attention on CPUs takes no less
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        cls_token_id=0,
        sep_token_id=1,
        **({} if kind in ENCODERS else {"sliding_window": None}),
    )
    auto: Any = transformers.AutoModel if kind in ENCODERS else transformers.AutoModelForCausalLM
    model = auto.from_config(config)
    with torch.no_grad():  # a random model has to have something to say
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return str(folder)


class Bases(dict[str, str]):
    """Bases by name, each written when it is first asked for."""

    forms: dict[str, dict[str, Any]] = {
        "plain": {"start": False}, "start": {}, "both": {"end": True}, "qwen2": {"kind": "qwen2", "start": False},
        "gemma": {"kind": "gemma"}, **{kind: {"kind": kind, "end": True} for kind in ENCODERS},
    }  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> str:
        self[name] = build_base(self.folder / name, **self.forms[name])
        return self[name]


def train(kind: str, base: str, folder: Path, *, temperature: bool = False, **settings: Any) -> Any:
    """Train a head of a kind on the toy texts, and its temperature, and save it as `labelspace train` does."""
    from labelspace.finetune.train_settings import TrainSettings
    from labelspace.finetune.tuned_store import head_class, save_tuned
    from labelspace.space import LabelSpace

    several = bool(settings.get("multi_label"))
    training = TrainSettings(epochs=4, batch_size=8, learning_rate=1e-2, device="cpu")
    if kind == "ls-token":
        model = head_class(kind)(base, training=training, max_length=64, **settings).fit(SENTENCES, TAGS)
        save_tuned(folder, model, LabelSpace.of(["animal"], multi_label=True))
        return model
    if kind == "ptec":
        settings = {"prompt_length": 7, "multi_label": False, **settings}
    model = head_class(kind)(base, training=training, max_length=64, **settings)
    model.fit(TEXTS, SEVERAL if several else LABELS)
    if several:
        model.thresholds_[:] = [0.3, 0.5, 0.6]
    if temperature:
        model.calibrate(TEXTS, SEVERAL if several else LABELS)
    save_tuned(folder, model, LabelSpace.of(["red", "cat", "ran"] if several else ANIMALS, multi_label=several))
    return model
