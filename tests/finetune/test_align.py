from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from labelspace.errors import DataError
from labelspace.finetune.align import encode_texts, encode_words


def wordpiece() -> Any:
    """A tokenizer in BERT's manner."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "new", "york", "##ers", "love", "it", "!", "naive"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def byte_level() -> Any:
    """A tokenizer in GPT-2's manner: blanks belong to the token after them, and no special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["ne", "new", "Ġl", "Ġlo", "Ġi", "Ġit"]
    merges = [("n", "e"), ("ne", "w"), ("Ġ", "l"), ("Ġl", "o"), ("Ġ", "i"), ("Ġi", "t")]
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *words])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("make", "words", "expected"),
    [
        (wordpiece, ["New", "Yorkers", "love", "it", "!"], [1, 2, 4, 5, 6]),
        (wordpiece, ["it", "\u200d", "!"], [1, None, 2]),  # cleaned away
        (wordpiece, ["na\u00efve", "", "\u4e2d\u6587", "it"], [1, None, 2, 4]),
        (wordpiece, [], []),
        (byte_level, ["new", "it"], [0, 1]),
        (byte_level, ["new", "lob", "it"], [0, 1, 3]),
        (byte_level, ["\U0001f600", "new"], [0, 5]),  # four bytes and a blank, of which only the first counts
    ],
)
def test_each_word_is_found_at_its_first_token(make: Any, words: list[str], expected: list[int | None]) -> None:
    (aligned,) = encode_words(make(), [words], max_length=64)
    assert aligned.positions == expected
    assert aligned.lost == expected.count(None)


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_words_beyond_the_limit_are_lost_and_counted(make: Any) -> None:
    (aligned,) = encode_words(make(), [["new", "it", "it", "it", "it"]], max_length=4)
    assert len(aligned.ids) == 4
    assert aligned.lost == (3 if make is wordpiece else 1)


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_texts_know_whether_they_were_cut(make: Any) -> None:
    ids, cut = encode_texts(make(), ["new it", "new it it", "new it it it it"], max_length=5)
    assert cut == [False, False, make is wordpiece]
    assert [len(row) for row in ids] == ([4, 5, 5] if make is wordpiece else [2, 3, 5])
    again, _ = encode_texts(make(), ["new it it it it"], max_length=5)
    assert again[0] == ids[2]


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_half_a_surrogate_pair_is_one_character_that_nobody_knows(make: Any) -> None:
    assert encode_texts(make(), ["new \ud83d"], max_length=8) == encode_texts(make(), ["new \ufffd"], max_length=8)
    found = encode_words(make(), [["\ud83d", "new"]], max_length=8)
    assert found == encode_words(make(), [["\ufffd", "new"]], max_length=8)


@pytest.mark.parametrize("text", [None, float("nan"), 3])
def test_what_is_no_text(text: Any) -> None:
    with pytest.raises(DataError, match=f"text 1 is {text!r}; texts are strings"):
        encode_texts(wordpiece(), ["new", text], max_length=8)


@pytest.mark.parametrize("make", [wordpiece, byte_level])
def test_a_text_of_nothing_still_has_a_token(make: Any) -> None:
    assert all(encode_texts(make(), ["", "  "], max_length=8)[0])
    assert encode_words(make(), [[]], max_length=8)[0].ids
    assert encode_texts(make(), [], max_length=8) == ([], [])
