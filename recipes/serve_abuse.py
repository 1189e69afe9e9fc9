"""Ten thousand bad requests against our server, and right answers for everybody else meanwhile.

    labelspace run serve_abuse

A linear head on sample:support is served by `labelspace serve` in a process of its own. Bad callers send, at random,
what is not HTTP, not JSON, not UTF-8, not a text, too large, too many texts, a body that stops half-way or comes a byte
at a time, heads that never end, and connections that are dropped; a hundred at a time. Good callers ask all the while,
and each of their answers is compared with that of the classifier in this process.

Printed are answers by status, the memory of the server before and after, and how the good callers fared. It fails
where an answer is a 500, a good answer is wrong or missing, or the server ends.

Expected, on two busy cores in 33 s:
    10,000 bad requests; answers: 200: 678, 400: 5,321, 404: 678, 413: 1,997; 1,326 left without waiting for one
    good callers: 520 right, 0 wrong, 0 lost; slowest 1.09 s
    memory of the server: 236 MB before, 247 MB after
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import ModelError


class ServeAbuseConfig(Config):
    """What `labelspace run serve_abuse` reads."""

    requests: int = 10_000
    """Bad requests."""
    at_once: int = 100
    """Bad callers at a time."""
    good: int = 4
    """Good callers, each with one request at a time."""
    seed: int = 0
    """Of what is sent."""


def main(config: ServeAbuseConfig) -> dict[str, Any]:
    """Abuse a server and print what came of it.

    Raises:
        ModelError: The server did not bear it.
    """
    from labelspace.finetune.linear import LinearHead
    from labelspace.finetune.store import save_model
    from labelspace.space import LabelSpace

    records = [record for record in read_records("sample:support") if record.label and not record.is_blank]
    head = LinearHead("tfidf").fit([one.text for one in records], [one.label or "" for one in records])
    space = LabelSpace.of([str(name) for name in head.classes_])
    texts = [one.text for one in records[:200]]
    with tempfile.TemporaryDirectory(prefix="labelspace-abuse-") as folder:
        save_model(Path(folder) / "model", head, space)
        command = [sys.executable, "-m", "labelspace", "serve", str(Path(folder) / "model"), "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = next(line for line in process.stderr if line.startswith("serving "))
                port = int(re.findall(r":(\d+);", said)[0])
                outcome = asyncio.run(abuse(config, port, process.pid, texts, head.predict_proba(texts)))
                if process.poll() is not None:
                    raise ModelError("the server has ended")
            finally:
                process.terminate()
    if bad := {name: count for name, count in outcome["bad"].items() if name.startswith("5") and name != "503"}:
        raise ModelError(f"the server failed: {bad}")
    if outcome["wrong"] or outcome["lost"]:
        raise ModelError(f"of the good callers' answers {outcome['wrong']} were wrong and {outcome['lost']} missing")
    return outcome


async def abuse(config: ServeAbuseConfig, port: int, pid: int, texts: list[str], wanted: Any) -> dict[str, Any]:
    """Send it all; returns what came back."""
    draw, bad, done = random.Random(config.seed), Counter[str](), asyncio.Event()
    told = {"right": 0, "wrong": 0, "lost": 0}
    slowest = 0.0

    async def good(number: int) -> None:
        nonlocal slowest
        at = number
        while not done.is_set():
            at = (at + 7) % len(texts)
            started = time.perf_counter()
            status, body = await send(port, [post(json.dumps({"input": texts[at]}).encode())])
            slowest = max(slowest, time.perf_counter() - started)
            if status != "200":
                told["lost"] += 1
            else:
                off = float(np.abs(np.array(json.loads(body)["data"][0]["probs"]) - wanted[at]).max())
                told["right" if off < 1e-6 else "wrong"] += 1

    async def naughty(count: int) -> None:
        for _ in range(count):
            kind = draw.choice(list(KINDS))
            status, _ = await send(port, *KINDS[kind](draw))
            bad[status] += 1

    await asyncio.gather(*(naughty(5) for _ in range(20)))  # what is allocated once is there now
    before, started = resident(pid), time.perf_counter()
    callers = [asyncio.create_task(good(number)) for number in range(config.good)]
    bad.clear()
    await asyncio.gather(*(naughty(config.requests // config.at_once) for _ in range(config.at_once)))
    middle = resident(pid)
    done.set()
    await asyncio.gather(*callers)
    seconds = time.perf_counter() - started
    click.echo(f"{sum(bad.values()):,} bad requests in {seconds:.0f} s; answers: {dict(sorted(bad.items()))}")
    click.echo(
        f"good callers: {told['right']:,} right, {told['wrong']} wrong, {told['lost']} lost; slowest {slowest:.2f} s"
    )
    click.echo(f"memory of the server: {before:,.0f} MB before, {middle:,.0f} MB after")
    return {"bad": dict(bad), **told, "before": before, "after": middle}


def resident(pid: int) -> float:
    """Megabytes that a process holds."""
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def post(body: bytes, *, length: int | None = None, path: str = "/classify") -> bytes:
    """A request as it goes over the line."""
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _random(draw: random.Random, most: int) -> bytes:
    return draw.randbytes(draw.randrange(most))


Sent = tuple[list[bytes], float]
KINDS: dict[str, Callable[[random.Random], Sent]] = {
    "no http": lambda draw: ([_random(draw, 2000) + b"\r\n\r\n"], 0),
    "no json": lambda draw: ([post(_random(draw, 2000))], 0),
    "cut json": lambda draw: ([post(b'{"input": ["a", "b' + b"x" * draw.randrange(500))], 0),
    "no utf-8": lambda draw: ([post(b'{"input": "' + _random(draw, 300).replace(b'"', b"") + b'"}')], 0),
    "half a pair": lambda _: ([post(b'{"input": "\\udc00"}')], 0),
    "deep": lambda draw: ([post(b"[" * draw.randrange(100, 100_000))], 0),
    "no text": lambda draw: ([post(json.dumps({"input": draw.choice([7, None, {}, [[]], [1], True])}).encode())], 0),
    "too many": lambda _: ([post(json.dumps({"input": ["a"] * 5000}).encode())], 0),
    "too long": lambda _: ([post(json.dumps({"input": "a" * 1_000_001}).encode())], 0),
    "too large": lambda draw: ([post(b"", length=draw.randrange(5 << 20, 1 << 40))], 0),
    "says less": lambda _: ([post(b'{"input": "a"}', length=5)], 0),
    "drops": lambda draw: ([post(b'{"input": "a"}', length=draw.randrange(20, 5000))[: draw.randrange(1, 150)]], 0.01),
    "slow": lambda draw: ([bytes([one]) for one in post(b'{"input": "a"}')[: draw.randrange(60)]], 0.02),
    "no path": lambda draw: ([post(b"{}", path="/" + _random(draw, 40).hex())], 0),
    "fair": lambda draw: ([post(json.dumps({"input": "\x00" * draw.randrange(1, 3000)}).encode())], 0),
}


async def send(port: int, parts: list[bytes], pause: float = 0.0) -> tuple[str, bytes]:
    """Send parts; returns the status of the answer, or what happened instead, and its body."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return type(error).__name__, b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if pause:
            return "left", b""
        content = await asyncio.wait_for(reader.read(), 60)
        head, _, body = content.partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1].decode() if head.startswith(b"HTTP/1.1 ") else "closed", body
    except asyncio.TimeoutError:
        return "no answer", b""
    except OSError:
        return "closed", b""
    finally:
        writer.close()
