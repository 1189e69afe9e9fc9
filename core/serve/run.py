"""The server process: uvicorn with a bound on slow connections, and an orderly stop."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labelspace.errors import ConfigError, MissingExtra
from labelspace.serve.guard import App, Limits

if TYPE_CHECKING:
    import uvicorn

_HEAD = 1 << 18
"""Bytes without a whole head, or part of a body, after which a connection is closed; the loop reads 2^16 or 2^18."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: The address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ConfigError(f"can't listen at {host}:{port}: {error.strerror or error}; choose another --port") from error
    return made


def make_server(app: App, limits: Limits) -> uvicorn.Server:
    """A server that is run with `.run(sockets=[bind(host, port)])`.

    On SIGTERM or SIGINT it takes nothing more, finishes what it accepted, and returns; on a second one it stops at
    once.

    Raises:
        MissingExtra: uvicorn or httptools is not installed.
    """
    try:
        import uvicorn
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError as error:
        raise MissingExtra(str(error.name), "serve") from error

    class Protocol(HttpToolsProtocol):
        """Closes a connection on which no whole request head comes: uvicorn itself would wait for ever."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._seen: Any = None
            self._unread = 0
            self._watch = self.loop.call_later(limits.head_seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        # httptools keeps what it was fed until a head, a part of a body or a request is whole, however much that is.

        def data_received(self, data: bytes) -> None:
            self._unread += len(data)
            super().data_received(data)
            if self._unread > _HEAD and not self.transport.is_closing():
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._unread = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._unread = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._unread = 0
            super().on_message_complete()

        def _look(self) -> None:
            """Close what has no request now and has had none since the last look."""
            if self.cycle is self._seen and (self.cycle is None or self.cycle.response_complete):
                self.transport.close()
                return
            self._seen = self.cycle
            self._watch = self.loop.call_later(limits.head_seconds, self._look)

    class Server(uvicorn.Server):
        """Returns when it is stopped by a signal; uvicorn's own raises it again."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            before = {sign: signal.signal(sign, self.handle_exit) for sign in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for sign, handler in before.items():
                    signal.signal(sign, handler)

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=int(limits.head_seconds) or 1,
        timeout_graceful_shutdown=int(limits.grace_seconds),
        limit_concurrency=limits.connections,
        backlog=2048,
    )
    return Server(config)
