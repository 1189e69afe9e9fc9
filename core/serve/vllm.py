"""A vLLM process behind our server: started with the flags that an export names, and up when it has answered."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from labelspace.errors import MissingExtra, ModelError
from labelspace.serve.vllm_main import is_for_cpu, is_installed

_START_SECONDS = 900.0
"""A large model is read and compiled for minutes."""
_STOP_SECONDS = 30.0
_CACHE = 4 << 30
"""Bytes for keys and values on a CPU. By itself vLLM asks for most of the memory, and ends where others have some."""
_BROKEN = 5
"""Answers 500 after which it will not come right."""
_TAIL = 1500
"""Characters of the log that are shown where it does not start."""


class VLLMServer:
    """Runs vLLM while the block lasts, on a loopback port of its own if no other is asked for.

    with VLLMServer(folder, flags, name="model", probe=("/classify", {"input": "x"})) as address: ...
    """

    def __init__(
        self,
        folder: str | Path,
        flags: Sequence[str],
        *,
        name: str,
        probe: tuple[str, dict[str, Any]],
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Say what to start.

        Args:
            folder: Of the model.
            flags: Arguments of `vllm serve`.
            name: What the model is called.
            probe: Path and body of the request that has to succeed: `/health` says yes where every request fails.
            environment: Variables that it gets besides ours.
            host: Where it listens; of this machine alone, as vLLM's key guards only what is under /v1.
            port: 0 takes a free one.

        Raises:
            MissingExtra: vLLM is not installed.
        """
        if not is_installed("vllm") and not is_for_cpu():
            raise MissingExtra("vllm", "vllm")
        self.folder, self.name, self.probe = Path(folder), name, probe
        self._environment = {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            **os.environ,
            **(environment or {}),
        }
        self._host, self._port = host, port
        self.flags = [*flags, *(_flags_for_cpu(flags, self._environment) if is_for_cpu() else [])]
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    def __enter__(self) -> str:
        """Start it; returns its address.

        Raises:
            ModelError: It does not come up; with the end of what it said.
        """
        port = self._port or _free_port(self._host)
        self.address = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"
        command = [sys.executable, "-m", "labelspace.serve.vllm_main", "serve", str(self.folder)]
        command += ["--served-model-name", self.name, "--host", self._host, "--port", str(port)]
        self._log = tempfile.NamedTemporaryFile(prefix="labelspace-vllm-", suffix=".log")
        if self.folder.is_dir():
            self._environment.setdefault("HF_HUB_OFFLINE", "1")
        # A group of its own: Ctrl-C is ours, and the processes that it starts are ended with it.
        self._process = subprocess.Popen(
            [*command, *self.flags], stdout=self._log, stderr=self._log, env=self._environment, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self.address

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._end()

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        trouble, broken = "it ended", 0
        while self.runs and broken < _BROKEN:
            try:
                ask(self.address + self.probe[0], {"model": self.name, **self.probe[1]})
            except urllib.error.HTTPError as error:
                trouble = f"HTTP {error.code}: {error.read(300).decode('utf-8', 'replace')}"
                broken += error.code == 500  # as where its attention has no kernel for the size of a head
                if error.code < 500 and error.code != 404:
                    break
            except (OSError, ValueError) as error:
                trouble = f"no answer ({error})"
            else:
                return
            if time.monotonic() > end:
                break
            time.sleep(0.3)
        said = Path(self._log.name).read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
        raise ModelError(f"vLLM does not serve {self.folder}: {trouble}; the end of its log:\n{said}")

    def _end(self) -> None:
        assert self._process is not None
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self._log.close()


def _flags_for_cpu(flags: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """What vLLM needs on a CPU besides what was given."""
    more = [] if "--enforce-eager" in flags else ["--enforce-eager"]
    said = any(one.startswith(("--kv-cache-memory-bytes", "--gpu-memory-utilization")) for one in flags)
    return more if said or "VLLM_CPU_KVCACHE_SPACE" in environment else [*more, f"--kv-cache-memory-bytes={_CACHE}"]


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


def ask(url: str, body: dict[str, Any], *, timeout: float = 60.0) -> Any:
    """Post JSON to a server on this machine, and read its JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as reply:
        return json.loads(reply.read())
