"""Documents are data: a fence that no document can close, and values that can't forge a chat message.

Three things keep a text from becoming an instruction. Messages are cut from the template's
source before any value is filled in (`loader`), so a value can't start one. A document stands
between two lines that carry a key which it does not contain. And the marks that chat templates
put between messages (`<|im_start|>` and its like) are broken in every value: servers turn them
into control tokens wherever they stand.

The key follows from the text alone, so the same run renders the same prompts and its journal replays.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable

KEY_LENGTH = 8

_CONTROL_MARKS = re.compile(
    r"<(?=[|｜]"  # <|im_end|>, <|eot_id|>, and DeepSeek's with the full-width bar
    r"|/?(?:s|bos|eos|pad|unk|mask|think|start_of_turn|end_of_turn|start_of_image|tool_call|tool_response)>"
    r"|</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|BOS|EOS)\])",
    re.IGNORECASE,
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def break_marks(text: str) -> str:
    """Put a blank inside every mark that a chat template could mean, and replace lone surrogates.

    Any other text comes back as it is.
    """
    if "<" in text or "[" in text:
        text = _CONTROL_MARKS.sub(lambda mark: mark.group() + " ", text)
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Collapse every run of white space, so that the text can't start a line of a list or a table."""
    return " ".join(text.split())


def quote(text: str) -> str:
    """The text on one line in double quotes, escaped as JSON does."""
    return json.dumps(one_line(text), ensure_ascii=False)


def fence_key(text: str) -> str:
    """Eight hex digits that follow from `text` and do not occur in it.

    They do not occur either when case, compatibility forms (full-width digits), punctuation and
    blanks are ignored, so nothing in the text even looks like the closing line to a model.
    """
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    bare = _NOT_ALPHANUMERIC.sub("", plain)
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    while key[:KEY_LENGTH] in bare:
        key = hashlib.sha256(key.encode()).hexdigest()
    return key[:KEY_LENGTH]


def fence(text: str, name: str = "document") -> str:
    """Enclose a text in two lines of which it can't contain the second.

        <document 5f1c09aa>
        Where is my parcel?
        </document 5f1c09aa>

    Args:
        text: The document; kept as it is, but for the marks of chat templates (`break_marks`).
        name: What to call it.
    """
    text = break_marks(text)
    key = fence_key(text)
    return f"<{name} {key}>\n{text}\n</{name} {key}>"


def fence_each(texts: Iterable[str], name: str = "document") -> str:
    """Enclose several texts, numbered from 1, each between lines that none of them contains.

    <document 1 0c4d11fe>
    Where is my parcel?
    </document 1 0c4d11fe>
    <document 2 0c4d11fe>
    ...
    """
    clean = [break_marks(text) for text in texts]
    key = fence_key("\n".join(clean))
    return "\n".join(
        f"<{name} {number} {key}>\n{text}\n</{name} {number} {key}>" for number, text in enumerate(clean, start=1)
    )


def fence_lines(texts: Iterable[str], name: str = "documents") -> str:
    """Enclose several texts, one a line and numbered from 1; white space in a text becomes one blank.

    <documents 77b0e4d1>
    1: Where is my parcel?
    2: I was charged twice.
    </documents 77b0e4d1>
    """
    return fence("\n".join(f"{number}: {one_line(text)}" for number, text in enumerate(texts, start=1)), name)
