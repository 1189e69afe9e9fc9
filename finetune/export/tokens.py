"""A tokenizer that puts a soft prompt before every text, by ids that no text can reach."""

from __future__ import annotations

import json
from typing import Any

from labelspace.errors import ConfigError

PIECE = "<soft-prompt>"
"""Name of the prompt in the template. It is no token: the text `<soft-prompt>` is tokenized as any other."""
_TEMPLATE = "TemplateProcessing"
_PAIRS = {"BertProcessing": (0, 1), "RobertaProcessing": (1, 0)}
"""Further separators between the texts of a pair, and the type of the second."""


def with_prompt(tokenizer: Any, first: int, length: int) -> Any:
    """Copy a tokenizer; the copy starts each text with the ids from `first` on.

    The ids stand in the template that adds special tokens and nowhere in the vocabulary: a token that is added to a
    vocabulary could be written by a user.

    Args:
        tokenizer: A fast one, as transformers loads it.
        first: The first id of the prompt; beyond all ids of the vocabulary.
        length: Ids of the prompt; 0 only copies.

    Raises:
        ConfigError: The tokenizer can't be written so.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError("the tokenizer of the base is a slow one, which can't be exported; save it as a fast one")
    data = json.loads(backend.to_str())
    data["truncation"] = data["padding"] = None  # what the last call set
    if length:
        highest = max(backend.get_vocab(with_added_tokens=True).values())
        if highest >= first:
            raise ConfigError(f"the vocabulary has a token {highest}, but the embeddings end at {first - 1}")
        data["post_processor"] = _insert(data["post_processor"], first, length)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)),
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
    )


def _insert(processor: Any, first: int, length: int) -> Any:
    """A post-processor with the prompt before all that it adds itself."""
    if processor is None:
        return _add(_empty(), first, length)
    if processor["type"] == _TEMPLATE:
        return _add(processor, first, length)
    if processor["type"] in _PAIRS:
        return _add(_spelled_out(processor), first, length)
    if processor["type"] == "ByteLevel":  # moves offsets, adds nothing
        return {"type": "Sequence", "processors": [processor, _add(_empty(), first, length)]}
    if processor["type"] == "Sequence":
        parts = list(processor["processors"])
        at = next((i for i, part in enumerate(parts) if part["type"] == _TEMPLATE), None)
        if at is not None:
            parts[at] = _add(parts[at], first, length)
            return {**processor, "processors": parts}
        if all(part["type"] == "ByteLevel" for part in parts):
            return {**processor, "processors": [*parts, _add(_empty(), first, length)]}
    raise ConfigError(f"the tokenizer adds special tokens by {processor['type']}, into which no soft prompt is put yet")


def _spelled_out(processor: dict[str, Any]) -> dict[str, Any]:
    """BERT's and RoBERTa's own post-processors as a template that adds the same."""
    (separator, after), (start, before) = processor["sep"], processor["cls"]
    between, second = _PAIRS[processor["type"]]
    start_piece = {"SpecialToken": {"id": start, "type_id": 0}}
    ends = [{"SpecialToken": {"id": separator, "type_id": kind}} for kind in (0, second)]
    single = [start_piece, {"Sequence": {"id": "A", "type_id": 0}}, ends[0]]
    pair = [*single, *[ends[0]] * between, {"Sequence": {"id": "B", "type_id": second}}, ends[1]]
    names = {
        name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ((start, before), (separator, after))
    }
    return {"type": _TEMPLATE, "single": single, "pair": pair, "special_tokens": names}


def _empty() -> dict[str, Any]:
    """A template that adds nothing."""
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": _TEMPLATE, "single": [a], "pair": [a, b], "special_tokens": {}}


def _add(template: dict[str, Any], first: int, length: int) -> dict[str, Any]:
    piece = {"SpecialToken": {"id": PIECE, "type_id": 0}}
    ids = list(range(first, first + length))
    names = [f"{PIECE}{number}" for number in range(length)]
    return {
        **template,
        "single": [piece, *template["single"]],
        "pair": [piece, *template["pair"]],
        "special_tokens": {**template["special_tokens"], PIECE: {"id": PIECE, "ids": ids, "tokens": names}},
    }
