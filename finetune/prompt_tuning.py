"""Prompt tuning, text to text: the rival that PTEC is measured against (arXiv 2309.12075, section 3).

A trained soft prompt makes a frozen language model write the labels, joined by "; ", commonest in training
first. The loss is that of the paper: cross-entropy averaged over a sequence's tokens, times the sum of the
weights of its labels. Decoding keeps to a trie of the labels, or is free; a free answer is read by
whole labels, not by substrings, as the reference code does ("Religion" then also matches inside other words).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelspace.errors import ConfigError, DataError
from labelspace.finetune.adapters import adapt
from labelspace.finetune.align import encode_texts
from labelspace.finetune.backbone import Backbone, Dtype, Quantization, load_backbone, pad_id
from labelspace.finetune.batches import Example, collate, cut
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.label_model import LabelModel
from labelspace.finetune.losses.basic import positive_weight
from labelspace.finetune.ptec import PTEC_TRAINING, PromptStart, first_prompt
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.trie import LabelTrie

SEPARATOR = ";"
PT_TRAINING = PTEC_TRAINING.model_copy(update={"learning_rate": 8.9e-3, "head_learning_rate": None})
"""The rate is the best that the paper's search found for LLaMA-7B."""


class PromptTuning(FineTuned):
    """A soft prompt before a frozen decoder, which then writes labels."""

    kind = "pt"

    def __init__(
        self,
        base: str | Path,
        *,
        multi_label: bool = True,
        classes: Sequence[str] | None = None,
        prompt_length: int = 80,
        prompt_start: PromptStart = "labels",
        prompt_text: str = "",
        bridge: str = "\nLabels:",
        constrained: bool = True,
        beams: int = 1,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        training: TrainSettings = PT_TRAINING,
    ) -> None:
        """Set what to train and how; see `PTEC` for what is not said here.

        Args:
            base: Folder or Hub name of a decoder with its language-model head.
            multi_label: Whether a text can have several labels, or none.
            classes: The labels; None finds them in the data.
            prompt_length: Vectors of the soft prompt.
            prompt_start: What they are at the start.
            prompt_text: The text for `prompt_start="text"`.
            bridge: Stands between a text and its labels.
            constrained: Decode along a trie of the labels.
            beams: Width of the search; 1 is greedy.
            max_length: Tokens read of a text.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit through bitsandbytes.
            training: Settings of the loop.
        """
        super().__init__(
            base,
            classes=classes,
            unmask_from=None,
            tuning="frozen",
            lora=None,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            legacy_padding=False,
            training=training,
        )
        self.multi_label, self.bridge, self.constrained, self.beams = multi_label, bridge, constrained, beams
        self.prompt_length, self.prompt_start, self.prompt_text = prompt_length, prompt_start, prompt_text
        self.writer: Any = None
        """The whole language model, whose stack is the backbone."""

    def build(self, backbone: Backbone) -> LabelModel:
        """Freeze everything; a new prompt."""
        adapt(backbone, "frozen", lora=self.lora, base=self.base)
        prompt = first_prompt(
            backbone,
            self.tokenizer,
            length=self.prompt_length,
            start=self.prompt_start,
            texts=self.classes_ if self.prompt_start == "labels" else [self.prompt_text],
            seed=self.training.seed,
        )
        head = _Vocabulary(self.writer)
        head.requires_grad_(False)
        return LabelModel(backbone, head, prompt=prompt)

    def settings(self) -> dict[str, Any]:
        """Arguments as plain data."""
        return {
            "multi_label": self.multi_label,
            "prompt_length": self.prompt_length,
            "prompt_start": self.prompt_start,
            "prompt_text": self.prompt_text,
            "bridge": self.bridge,
            "constrained": self.constrained,
            "beams": self.beams,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "quantization": self.quantization,
        }

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        dev: tuple[Sequence[str], Sequence[Any]] | None = None,
        folder: str | Path | None = None,
    ) -> PromptTuning:
        """Train the prompt.

        Args:
            texts: What to learn from.
            labels: A label each, or labels each if multi-label.
            dev: Texts and labels by whose macro-F1, or accuracy, the best epoch is chosen.
            folder: Where the state of the run is kept.

        Raises:
            DataError: Texts and labels don't match, or there is nothing to learn.
        """
        if len(texts) != len(labels):
            raise DataError(f"there are {len(texts)} texts but {len(labels)} labels")
        rows = [list(row) if self.multi_label else [row] for row in labels]
        counts: dict[str, int] = {}
        for name in (name for row in rows for name in row):
            counts[name] = counts.get(name, 0) + 1
        # Commonest first, which is the order in which labels are written.
        self.classes_ = sorted(self.classes or counts, key=lambda name: (-counts.get(name, 0), name))
        if unknown := counts.keys() - set(self.classes_):
            raise DataError(f"the label {min(unknown)!r} is not among the {len(self.classes_)} classes")
        if not counts:
            raise DataError("there is nothing to learn: no text has a label", advice="check the label column")
        self._prepare()
        number = {name: i for i, name in enumerate(self.classes_)}
        weights = positive_weight([counts.get(name, 0) for name in self.classes_])
        trie = self.trie()
        answers = [sorted(number[name] for name in row) for row in rows]
        mean_length = float(np.mean([len(trie.write(answer)) for answer in answers]))
        examples = [
            self._example(ids, trie.write(answer), float(weights[answer].sum()) if answer else 1.0, mean_length)
            for ids, answer in zip(self._read(texts), answers, strict=True)
        ]
        self._train(examples, _weighted, None if dev is None else lambda: self.score(*dev), folder)
        return self

    def predict(self, texts: Sequence[str]) -> list[str | None] | list[list[str]]:
        """Labels of each text, in the order written; None for one label that could not be read."""
        named = [[self.classes_[i] for i in answer] for answer in self._decode(self._read(texts))]
        return named if self.multi_label else [names[0] if names else None for names in named]

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """Macro-F1 if multi-label, else accuracy."""
        from labelspace.metrics import accuracy, macro_f1

        return (macro_f1 if self.multi_label else accuracy)(labels, self.predict(texts))

    def trie(self) -> LabelTrie:
        """The answers there are, as tokens: each label and the separator tokenized by themselves.

        Raises:
            ConfigError: The tokenizer has no token that ends a text.
        """
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(f"the tokenizer of {self.base} has no end-of-text token, by which an answer would end")
        pieces = [f" {name}" for name in self.classes_]
        tokens = self.tokenizer([*pieces, SEPARATOR], add_special_tokens=False)["input_ids"]
        return LabelTrie(
            tokens[:-1],
            separator=tokens[-1],
            end=int(self.tokenizer.eos_token_id),
            least=0 if self.multi_label else 1,
            most=None if self.multi_label else 1,
        )

    def _load_backbone(self, stack: str | Path) -> Backbone:
        self.writer, self.tokenizer = load_backbone(
            stack, dtype=self.dtype, quantization=self.quantization, writes=True
        )
        backbone = Backbone(self.writer.base_model)
        self._limit_length(backbone)
        return backbone

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        self._trained()
        bridge = self.tokenizer(self.bridge, add_special_tokens=False)["input_ids"]
        ids, _ = encode_texts(self.tokenizer, texts, max_length=self.max_length)
        end = self.tokenizer.eos_token_id
        return [[*(row[:-1] if len(row) > 1 and row[-1] == end else row), *bridge] for row in ids]

    def _example(self, text: list[int], answer: list[int], weight: float, mean_length: float) -> Example:
        """Tokens of text and answer; each answer token is told from the one before, with its share of the weight.

        The loop takes the mean over tokens, the paper the mean over sequences of their means: the factor
        `mean_length` makes the two agree over the training set.
        """
        start, share = len(text) - 1, weight * mean_length / len(answer)
        targets = np.array([[token, share] for token in answer], dtype=np.float32)
        return Example([*text, *answer[:-1]], targets, range(start, start + len(answer)))

    def _decode(self, rows: list[list[int]]) -> list[list[int]]:
        """Numbers of the labels that the model writes for each text."""
        model, trie = self._trained(), self.trie()
        assert model.prompt is not None
        longest = (
            len(trie.write(range(len(self.classes_))))
            if self.multi_label
            else max(len(trie.write([i])) for i in range(len(self.classes_)))
        )
        found: list[list[int]] = [[]] * len(rows)
        model.eval()
        for part in cut(range(len(rows)), [len(row) + self.prompt_length for row in rows], tokens=self.training.tokens):
            batch = collate([Example(rows[i]) for i in part], pad=pad_id(self.tokenizer)).to(model.prompt.device)
            for i, answer in zip(part, self._write(model, batch.ids, batch.mask, trie, longest), strict=True):
                found[i] = answer
        return found

    def _write(self, model: LabelModel, ids: Tensor, mask: Tensor, trie: LabelTrie, longest: int) -> list[list[int]]:
        assert model.prompt is not None
        with torch.inference_mode():
            texts = model.backbone.embedding(ids)
            prompt = model.prompt.to(texts.dtype).expand(len(ids), -1, -1)
            # Generation goes on at the right edge, so padding has to be on the left, and the prompt behind it.
            real = torch.cat([mask.new_ones(len(ids), prompt.shape[1]), mask], dim=1)
            order = torch.argsort(real, dim=1, stable=True)
            joined = torch.cat([prompt, texts], dim=1)
            joined = joined.gather(1, order.unsqueeze(-1).expand_as(joined))
            written = self.writer.generate(
                inputs_embeds=joined,
                attention_mask=real.gather(1, order),
                max_new_tokens=longest,
                num_beams=self.beams,
                do_sample=False,
                use_cache=True,
                eos_token_id=trie.end,
                pad_token_id=trie.end,
                # Given embeddings, it is asked with the written tokens alone, each beam with its own.
                prefix_allowed_tokens_fn=(lambda _row, sofar: trie.allowed(sofar.tolist()))
                if self.constrained
                else None,
            )
        return [self._labels(row.tolist(), trie) for row in written.cpu()]

    def _labels(self, answer: list[int], trie: LabelTrie) -> list[int]:
        if trie.end in answer:
            answer = answer[: answer.index(trie.end)]
        read = trie.read([*answer, trie.end])
        if read is not None:
            return read
        # A free answer: whatever of it, between separators, is a label.
        names = [name.strip() for name in self.tokenizer.decode(answer).split(SEPARATOR)]
        known = [self.classes_.index(name) for name in dict.fromkeys(names) if name in self.classes_]
        return known if self.multi_label else known[:1]


class _Vocabulary(nn.Module):
    """The head of a language model, with the cap that some put on their logits."""

    def __init__(self, writer: Any) -> None:
        super().__init__()
        self.linear = writer.get_output_embeddings()
        self.cap = getattr(writer.config.get_text_config(), "final_logit_softcapping", None)

    def forward(self, hidden: Tensor) -> Tensor:
        logits = self.linear(hidden)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def _weighted(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over tokens of their weighted cross-entropy; targets [n, 2] are token and weight."""
    each = functional.cross_entropy(logits, targets[:, 0].long(), reduction="none")
    return (each * targets[:, 1]).mean()
