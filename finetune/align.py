"""From texts and words to token ids, with the place of each word's first token.

Words are joined by blanks and tokenized as one text, and a word is found by its characters, not
by how a tokenizer marks it: the model reads what it was pre-trained on, and it works the same
for every tokenizer. A word's label stands on its first token (LS-LLaMA, arXiv 2310.01208).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labelspace.data.values import without_surrogates
from labelspace.errors import DataError


@dataclass(frozen=True, slots=True)
class Aligned:
    """Token ids of a sentence, and where its words went."""

    ids: list[int]
    positions: list[int | None]
    """For each word the position of its first token; None if it was cut off, or no token stands for it."""

    @property
    def lost(self) -> int:
        """Words without a token: nothing can be predicted for them, and they count as outside of any span."""
        return sum(position is None for position in self.positions)


def encode_texts(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> tuple[list[list[int]], list[bool]]:
    """Tokenize texts.

    Args:
        tokenizer: As transformers loads it.
        texts: A blank one gives whatever special tokens there are, and at least one token.
        max_length: Tokens kept of each, special ones counted.

    Returns:
        Token ids of each text, and whether something of it was cut off.

    Raises:
        DataError: A text is no string.
    """
    if not texts:
        return [], []
    texts = _readable(texts)
    ids = tokenizer(texts, truncation=True, max_length=max_length, return_attention_mask=False)["input_ids"]
    # One that fills the room exactly may have lost something or not; only these are tokenized again.
    full = [row for row, tokens in enumerate(ids) if len(tokens) >= max_length]
    cut = [False] * len(ids)
    if full:
        for row, tokens in zip(full, _tokenize_all(tokenizer, [texts[row] for row in full]), strict=True):
            cut[row] = len(tokens) > max_length
    return [tokens or [_stand_in(tokenizer)] for tokens in ids], cut


def encode_words(tokenizer: Any, sentences: Sequence[Sequence[str]], *, max_length: int) -> list[Aligned]:
    """Tokenize sentences that come as words.

    Args:
        tokenizer: A fast one, as transformers loads it.
        sentences: Words of each.
        max_length: Tokens kept of each, special ones counted.
    """
    if not sentences:
        return []
    sentences = [_readable(words) for words in sentences]
    encoded = tokenizer(
        [" ".join(words) for words in sentences],
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_offsets_mapping=True,
    )
    return [
        Aligned(ids or [_stand_in(tokenizer)], _first_tokens(words, spans))
        for words, ids, spans in zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _readable(texts: Sequence[str]) -> list[str]:
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {at} is {text!r}", advice="texts are strings; leave out what has none")
    return [without_surrogates(text) for text in texts]


def _first_tokens(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """Find the first token that shares a character with each word; spans are of characters, in order."""
    found: list[int | None] = []
    start, token = 0, 0
    for word in words:
        end = start + len(word)
        # Special tokens have the span (0, 0), which ends before any word and so is passed over.
        while token < len(spans) and spans[token][1] <= start:
            token += 1
        found.append(token if token < len(spans) and spans[token][0] < end else None)
        start = end + 1
    return found


def _tokenize_all(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Asked of the tokenizer beneath, which does not warn of texts that are longer than the model reads.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [tokenizer.encode(text) for text in texts]
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch(texts)]


def _stand_in(tokenizer: Any) -> int:
    """A token for a text that has none, so that there is something to pool."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    return 0
