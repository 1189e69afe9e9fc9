"""A loopback chat server that answers from a cassette: what a real LLM replied once, under the hash of its request.

A cassette is JSON lines of {"key", "reply"}. The key is a SHA-256 over the messages and every parameter that
shapes the reply; the model's name is left out, so one cassette serves any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

SHAPING = (
    "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "response_format",
    "tools", "tool_choice", "logprobs", "top_logprobs", "structured_outputs", "guided_choice", "guided_json",
)  # fmt: skip


def key_of(body: dict) -> str:
    shaping = {name: body[name] for name in SHAPING if body.get(name) is not None}
    canonical = json.dumps(shaping, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


class Desk(ThreadingHTTPServer):
    """Counts what it answered and what its cassette lacked."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, cassette: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        lines = cassette.read_text(encoding="utf-8").split("\n")
        self.replies = {entry["key"]: entry["reply"] for entry in map(json.loads, filter(None, lines))}
        self.answered: list[str] = []
        self.lacked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1#recorded"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Desk

    def _send(self, status: int, payload: dict) -> None:
        data = json.dumps(payload, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": "recorded", "object": "model"}]})
        else:
            self._send(404, {"error": {"message": f"no such path: {self.path}"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = key_of(body)
        reply = self.server.replies.get(key)
        if reply is None:
            self.server.lacked.append(key)
            self._send(400, {"error": {"message": f"the cassette has no reply for request {key}"}})
            return
        self.server.answered.append(key)
        message = {"role": "assistant", "content": reply}
        prompt = sum(len(str(part.get("content", ""))) for part in body["messages"]) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": max(1, len(reply) // 4)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(
            200, {"id": key, "object": "chat.completion", "model": "recorded", "choices": [choice], "usage": usage}
        )

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(cassette: Path, port: int = 0) -> Iterator[Desk]:
    desk = Desk(cassette, port)
    thread = Thread(target=desk.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        desk.shutdown()
        desk.server_close()
        thread.join()
