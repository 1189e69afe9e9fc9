"""Label-supervised tagging of words: a linear head on the first token of each (LS-LLaMA, arXiv 2310.01208).

Differs from the reference code where it errs: a word that was cut off counts as outside of any span instead
of vanishing from the score, spans are scored strictly, and the best epoch is chosen on dev.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from labelspace.errors import DataError
from labelspace.finetune.adapters import LoraSettings, Tuning, adapt
from labelspace.finetune.align import Aligned, encode_words
from labelspace.finetune.backbone import Backbone, Dtype, Quantization
from labelspace.finetune.batches import Example
from labelspace.finetune.finetuned import FineTuned
from labelspace.finetune.label_model import LabelModel
from labelspace.finetune.losses.basic import cross_entropy
from labelspace.finetune.remembered import remembering
from labelspace.finetune.tags import OUTSIDE, check_tags, decode, repair, span_scores
from labelspace.finetune.targets import check_weights
from labelspace.finetune.train_settings import TrainSettings
from labelspace.finetune.training import Loss

Decoding = Literal["constrained", "repair", "none"]
"""The best sequence that keeps to BIO; the best tag of each word, mended afterwards; or left as it is."""
Sentences = Sequence[Sequence[str]]


class LabelSupervisedTagger(FineTuned):
    """Gives each word of a sentence a tag of the BIO scheme."""

    kind = "ls-token"

    def __init__(
        self,
        base: str | Path,
        *,
        classes: Sequence[str] | None = None,
        unmask_from: int | None = None,
        tuning: Tuning = "lora",
        lora: LoraSettings | None = None,
        dropout: float = 0.1,
        decoding: Decoding = "constrained",
        remember: bool = False,
        loss: Loss | None = None,
        max_length: int = 256,
        dtype: Dtype = "float32",
        quantization: Quantization = "none",
        legacy_padding: bool = False,
        training: TrainSettings | None = None,
    ) -> None:
        """Set what to train and how; see `LabelSupervised` for what is not said here.

        Args:
            base: Folder or Hub name of a model.
            classes: The tags; None finds them in the data.
            unmask_from: First layer of a decoder that sees the whole sentence; None leaves it causal.
            tuning: lora, full, or frozen.
            lora: Settings of the adapters.
            dropout: Before the head.
            decoding: How logits become tags.
            remember: With tuning frozen: run each sentence through the stack once, not once an epoch, and so without
                the stack's own dropout, which makes a head somewhat more robust.
            loss: Another loss than cross-entropy, over words.
            max_length: Tokens read of a sentence; words beyond get O.
            dtype: Of the weights in memory.
            quantization: 8bit or 4bit through bitsandbytes.
            legacy_padding: Reproduce the reference code's padding leak.
            training: Settings of the loop; a learning rate of 1e-4 if None, as the reference has for tokens.
        """
        super().__init__(
            base,
            classes=classes,
            unmask_from=unmask_from,
            tuning=tuning,
            lora=lora,
            max_length=max_length,
            dtype=dtype,
            quantization=quantization,
            legacy_padding=legacy_padding,
            training=training or TrainSettings(learning_rate=1e-4),
        )
        self.dropout, self.decoding, self.remember, self.loss = dropout, decoding, remember, loss
        self.lost_words_ = 0
        """Words of the last prediction that had no token."""

    def build(self, backbone: Backbone) -> LabelModel:
        """Put adapters in the backbone and a new head, with a bias, on it."""
        adapt(backbone, self.tuning, lora=self.lora, base=self.base)
        return LabelModel(backbone, torch.nn.Linear(backbone.width, len(self.classes_)), dropout=self.dropout)

    def settings(self) -> dict[str, Any]:
        """Arguments as plain data."""
        return {
            "unmask_from": self.unmask_from,
            "tuning": self.tuning,
            "lora": self.lora.model_dump(mode="json"),
            "dropout": self.dropout,
            "decoding": self.decoding,
            "remember": self.remember,
            "max_length": self.max_length,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "legacy_padding": self.legacy_padding,
        }

    def fit(
        self,
        sentences: Sentences,
        tags: Sentences,
        *,
        sample_weight: Sequence[float] | None = None,
        dev: tuple[Sentences, Sentences] | None = None,
        folder: str | Path | None = None,
    ) -> LabelSupervisedTagger:
        """Train.

        Args:
            sentences: Words of each.
            tags: Tags of each, one a word.
            sample_weight: What the words of each count in the loss, 0 or more.
            dev: Sentences and tags by whose strict span F1 the best epoch is chosen.
            folder: Where the state of the run is kept, so that the same call goes on after a stop.

        Raises:
            DataError: Words and tags don't match, or are not BIO.
        """
        for number, (words, given) in enumerate(zip(sentences, tags, strict=True), start=1):
            if len(words) != len(given):
                raise DataError(f"sentence {number} has {len(words)} words but {len(given)} tags")
        found = {tag for given in tags for tag in given}
        check_tags(sorted(found))
        self.classes_ = list(self.classes or [OUTSIDE, *sorted(found - {OUTSIDE})])
        number_of = {tag: i for i, tag in enumerate(self.classes_)}
        if missing := found - number_of.keys():
            raise DataError(f"the tag {min(missing)!r} is not among the {len(self.classes_)} tags")
        weights = check_weights(sample_weight, len(sentences))
        self._prepare()
        examples = [
            Example(aligned.ids, [number_of[tag] for tag, at in pairs if at is not None], _kept(aligned), weight)
            for aligned, given, weight in zip(self._encode(sentences), tags, weights, strict=True)
            for pairs in [list(zip(given, aligned.positions, strict=True))]
        ]
        examples = [example for example in examples if example.words and example.weight]
        if not examples:
            raise DataError("there is nothing to learn: no sentence has a word")
        with remembering(self._trained()) if self.remember and self.tuning == "frozen" else nullcontext():
            self._train(
                examples,
                self.loss or cross_entropy,
                None if dev is None else lambda: self.score(*dev),
                folder,
            )
        return self

    def predict(self, sentences: Sentences) -> list[list[str]]:
        """One tag for each word."""
        aligned = self._encode(sentences)
        self.lost_words_ = sum(one.lost for one in aligned)
        return [self._read(logits, one) for logits, one in zip(self._run(_examples(aligned)), aligned, strict=True)]

    def predict_proba(self, sentences: Sentences) -> list[npt.NDArray[np.float32]]:
        """For each sentence [words, k]; certain of O for a word that was cut off."""
        aligned = self._encode(sentences)
        return [
            spread_words(logits, one.positions, self.classes_)
            for logits, one in zip(self._run(_examples(aligned)), aligned, strict=True)
        ]

    def score(self, sentences: Sentences, tags: Sentences) -> float:
        """Strict micro F1 of spans."""
        return span_scores(tags, self.predict(sentences))["micro"].f1

    def _encode(self, sentences: Sentences) -> list[Aligned]:
        self._trained()
        return encode_words(self.tokenizer, sentences, max_length=self.max_length)

    def _read(self, logits: npt.NDArray[np.float32], aligned: Aligned) -> list[str]:
        return read_tags(logits, aligned.positions, self.classes_, decoding=self.decoding)


def spread_words(
    logits: npt.NDArray[np.float32], positions: Sequence[int | None], classes: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Probabilities of all words [words, k] from the logits of those with a token; the others are certainly O."""
    rows = np.zeros((len(positions), len(classes)), np.float32)
    rows[:, classes.index(OUTSIDE)] = 1.0
    rows[[at is not None for at in positions]] = torch.from_numpy(logits).softmax(dim=1).numpy()
    return rows


def read_tags(
    logits: npt.NDArray[np.float32], positions: Sequence[int | None], classes: Sequence[str], *, decoding: str
) -> list[str]:
    """A tag for each word.

    Args:
        logits: Of the words that have a token.
        positions: The token of each word, None where it was cut off.
        classes: The tags.
        decoding: See `Decoding`.
    """
    if decoding == "constrained":
        # Decoded over all words, those without a token being certainly outside.
        scores = np.full((len(positions), len(classes)), -1e9)
        scores[:, classes.index(OUTSIDE)] = 0.0
        scores[[at is not None for at in positions]] = logits
        return decode(scores, classes)
    best = iter(logits.argmax(axis=1)) if len(logits) else iter(())
    tags = [OUTSIDE if at is None else classes[next(best)] for at in positions]
    return repair(tags) if decoding == "repair" else tags


def _kept(aligned: Aligned) -> list[int]:
    return [at for at in aligned.positions if at is not None]


def _examples(sentences: Sequence[Aligned]) -> list[Example]:
    return [Example(aligned.ids, words=_kept(aligned)) for aligned in sentences]
