"""Bodies of answers, up to a bound: a server that never ends one would fill the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 16 << 20
"""Of an answer of a chat server."""


class TooLong(ValueError):
    """A body is longer than its bound."""


async def read_bounded(response: aiohttp.ClientResponse, most: int = MOST_BYTES) -> bytes:
    """The body of an answer, of `most` bytes at most.

    Raises:
        TooLong: It is longer.
    """
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > most:
            response.close()
            raise TooLong(f"the server sent more than {most >> 20} MB and no end")
    return bytes(content)
