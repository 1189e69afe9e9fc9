"""Values as JSON can hold them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """Half of a surrogate pair is no character and can't be sent or saved: U+FFFD stands in its place."""
    return LONE_SURROGATE.sub("\ufffd", text)


def to_json(value: Any) -> bytes:
    """One line of JSON, without the line break; dates and other foreign values become strings, NaN null."""
    try:
        return orjson.dumps(value, default=plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # half a surrogate pair, a number over 64 bits, a key that is no string
        return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    """The same value made of what JSON has."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {without_surrogates(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy
        return plain(value.tolist())
    return str(value.isoformat()) if hasattr(value, "isoformat") else without_surrogates(str(value))
