"""What a server means by an error: whether to wait, to try again, to ask otherwise, or to stop."""

from __future__ import annotations

import email.utils
import re
import time

import orjson

from labelspace.errors import ModelError
from labelspace.llm.request import CallFailed

_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum (context|input|sequence) |max_model_len|too many (input )?tokens"
    r"|(prompt|input|request) is too long|longer than the maximum|exceeds? the (model'?s )?(maximum|limit|available)",
    re.I,
)
_FILTERED = re.compile(r"content_?(filter|policy)|responsible ?ai|moderation|data_inspection|safety", re.I)


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of the header (seconds or an HTTP date)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def read_error(status: int, content: bytes, retry_after: float | None, *, model: str, address: str) -> CallFailed:
    """What an HTTP error means for the row.

    Raises:
        ModelError: It would be the same for every row: bad key, unknown model, no credit.
    """
    text, code = _error_text(content)
    said = f"HTTP {status}: {text}" if text else f"HTTP {status}"
    if status == 401 or (status == 403 and not _FILTERED.search(f"{code} {text}")):
        raise ModelError(
            f"{address} refuses the key ({said}); set LABELSPACE_API_KEY or OPENAI_API_KEY to one that it knows"
        )
    if status == 402 or code == "insufficient_quota":
        raise ModelError(f"{address} has no credit left for this key ({said}); what is done is kept")
    if 300 <= status < 400:
        raise ModelError(f"{address} redirects elsewhere ({said}); give the address that it redirects to")
    if status in (404, 405, 410):
        # A server may also use 404 for this one request, with a code of its own.
        if code and not code.isdigit() and "model" not in code.lower() and "not_found" not in code.lower():
            return CallFailed("rejected", said)
        raise ModelError(
            f"{address} does not know the model {model!r} or the path ({said}); "
            "see the names at /models and whether the address ends in /v1"
        )
    if status == 429:
        return CallFailed("busy", said, retry_after=retry_after, slow=True)
    if status in (502, 503, 504, 529):
        return CallFailed("busy", said, retry_after=retry_after, slow=True)
    if status == 408:
        return CallFailed("broken", said, retry_after=retry_after, charged=True, slow=True)
    if status >= 500 or status in (409, 423, 425):
        return CallFailed("broken", said, retry_after=retry_after)
    if status == 413 or code == "context_length_exceeded" or _TOO_LONG.search(text):
        return CallFailed("context_length", said)
    if _FILTERED.search(code) or (status in (400, 403) and _FILTERED.search(text)):
        return CallFailed("content_filter", said)
    return CallFailed("rejected", said)


def _error_text(content: bytes) -> tuple[str, str]:
    """(message, code) of an error's body, whatever its shape."""
    try:
        data = orjson.loads(content)
    except ValueError:
        return " ".join(content[:200].decode("utf-8", "replace").split()), ""
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error.get("msg") or error
        if error.get("param") and str(error["param"]) not in str(message):
            message = f"{message} ({error['param']})"
        return " ".join(str(message).split())[:500], str(error.get("code") or "")
    return " ".join(str(error).split())[:500], ""
