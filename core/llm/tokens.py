"""Counting tokens before anything is sent, exactly where that is possible without the network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_PER_MESSAGE = 4


def token_counter(model: str) -> tuple[Callable[[str], int], str]:
    """A function that counts tokens, and in words how it does.

    tiktoken counts exactly what OpenAI's models read, where it is installed and its table is on this
    machine already: a dry run downloads nothing. Otherwise a token is taken to be four bytes.
    """
    name = model.rpartition("#")[2].rpartition(":")[2].rpartition("/")[2]
    if importlib.util.find_spec("tiktoken") is not None:
        import tiktoken

        try:
            encoding = tiktoken.encoding_name_for_model(name)
        except KeyError:
            encoding = ""
        if encoding and _is_here(encoding):
            encode = tiktoken.get_encoding(encoding).encode_ordinary
            return lambda text: len(encode(text)), f"counted by tiktoken ({encoding})"
    return lambda text: (len(text.encode("utf-8", "replace")) + 3) // 4, "estimated at four bytes a token"


def _is_here(encoding: str) -> bool:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    place = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    return (place / hashlib.sha1(_URL.format(encoding).encode(), usedforsecurity=False).hexdigest()).is_file()


def prompt_tokens(contents: list[str], count: Callable[[str], int]) -> int:
    """Tokens of a chat prompt: the contents, and what the chat format adds to each."""
    return sum(count(content) + _PER_MESSAGE for content in contents) + 3
