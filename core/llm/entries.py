"""How replies and final failures are stored in the journal, and found again."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import orjson

from labelspace.llm.request import Kind, Reply, TokenLogprob

_REPLY, _FAILURE = 0, 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A final answer of the server that is no reply: it would be the same again."""

    kind: Kind
    reason: str


def key_of(encoded: bytes, attempt: int) -> bytes:
    """The journal's key: a hash of all that shaped the reply, and which attempt at it this is."""
    return blake2b(encoded, digest_size=16, salt=attempt.to_bytes(4, "little")).digest()


def pack(entry: Reply | Failure) -> bytes:
    """As bytes; what is not there takes no room."""
    if isinstance(entry, Failure):
        return orjson.dumps([_FAILURE, entry.kind, entry.reason])
    fields: list[object] = [
        _REPLY,
        entry.text,
        entry.finish_reason,
        entry.prompt_tokens,
        entry.completion_tokens,
        entry.model,
        entry.constraint,
        None if entry.logprobs is None else [tuple(token) for token in entry.logprobs],
        entry.choice_logprobs,
    ]
    while fields[-1] is None:
        fields.pop()
    return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS)


def unpack(data: bytes) -> Reply | Failure:
    """What `pack` packed; a reply is marked as reused."""
    fields = orjson.loads(data)
    if fields[0] == _FAILURE:
        return Failure(fields[1], fields[2])
    given = len(fields)
    logprobs = fields[7] if given > 7 else None
    return Reply(
        fields[1],
        fields[2] if given > 2 else None,
        fields[3] if given > 3 else None,
        fields[4] if given > 4 else None,
        fields[5] if given > 5 else "",
        None if logprobs is None else tuple(TokenLogprob(t, p, tuple(map(tuple, top))) for t, p, top in logprobs),
        fields[8] if given > 8 else None,
        fields[6] if given > 6 else None,
        True,
    )
