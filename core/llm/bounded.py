"""Bodies of answers, up to a bound: a server that never ends one would fill the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelspace.llm.request import CallFailed

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 16 << 20


async def read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer.

    Raises:
        CallFailed: It is longer than `MOST_BYTES`.
    """
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            response.close()
            raise CallFailed("broken", f"the server sent more than {MOST_BYTES >> 20} MB and no end", charged=True)
    return b"".join(pieces)
