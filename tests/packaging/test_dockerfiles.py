"""The Dockerfiles keep what they promise, as far as can be seen without building them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_dockerfile(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^USER \d+$", text, re.MULTILINE), "it must not run as root"
    extras = {
        name for group in re.findall(r"EXTRAS=([\w,]+)|\.\[([\w,]+)\]", text) for name in ",".join(group).split(",")
    }
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    assert extras - {""} <= declared
    assert "serve" in extras and '"labelspace", "serve"' in text
    if shutil.which("hadolint"):
        done = subprocess.run(["hadolint", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_there_is_one_for_each_engine() -> None:
    assert [path.name for path in FILES] == ["local.Dockerfile", "vllm.Dockerfile"]
