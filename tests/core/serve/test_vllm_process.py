"""Starting vLLM, as far as that can be seen without it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from labelspace.cli import main
from labelspace.errors import ConfigError
from labelspace.finetune.linear import LinearHead
from labelspace.finetune.store import save_model
from labelspace.serve.run import bind
from labelspace.space import LabelSpace


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached by others: give a key"),
        (["--adapter", "x"], "--adapter, --heads and --vllm-argument are for --engine vllm"),
        (["--engine", "vllm"], "the embedder 'tfidf' is no folder that vLLM could serve; use --engine local"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    save_model(tmp_path / "m", LinearHead().fit(["a cat", "a dog"], ["cat", "dog"]), LabelSpace.of(["cat", "dog"]))
    with pytest.raises(SystemExit) as done:
        main(["serve", str(tmp_path / "m"), *arguments])
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="choose another --port"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_it_starts_asks_itself_and_ends(tmp_path: Path) -> None:
    save_model(tmp_path / "m", LinearHead().fit(["a cat", "a dog"], ["cat", "dog"]), LabelSpace.of(["cat", "dog"]))
    command = [sys.executable, "-m", "labelspace", "serve", str(tmp_path / "m"), "--port", "0", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "asked 'Where is my parcel?'" in done.stderr and "what was accepted is answered" in done.stderr
