"""Single requests to a server on loopback, and what it counts."""

from __future__ import annotations

import http.client
import json
from typing import Any


def call(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """One request; a body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **headers})
        reply = connection.getresponse()
        content = reply.read()
        is_json = (reply.headers.get("content-type") or "").startswith("application/json")
        return reply.status, dict(reply.headers), json.loads(content) if is_json else content.decode()
    finally:
        connection.close()


def counted(port: int) -> dict[str, float]:
    lines = call(port, "GET", "/metrics")[2].splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
