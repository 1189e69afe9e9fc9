"""The wheel holds what the tree holds, and works in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSE = {
    "core": "labelspace",
    **{name: f"labelspace/{name}" for name in ("agents", "configs", "finetune", "prompts", "recipes")},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # A build from a copy of the tracked files, so that nothing of an earlier build gets in.
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, source], check=True, capture_output=True)
    assert len(list(out.glob("*.tar.gz"))) == 1
    # `build` makes the wheel from the sdist, so the sdist is proven complete too.
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_house(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *HOUSE], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    expected = set()
    for name in listed.splitlines():
        folder, _, rest = name.partition("/")
        expected.add(f"{HOUSE[folder]}/{rest}")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_wheel_claims_no_other_top_level_name(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"labelspace"}


@pytest.mark.slow
def test_the_command_runs_from_the_wheel_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True, cwd=tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    command = [tmp_path / "env" / "bin" / "labelspace", "run", "pipeline", "out=made"]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "model").is_dir()
    no_torch = (
        "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('torch', 'transformers', 'langchain'))))"
    )
    assert subprocess.run([python, "-c", no_torch], check=False).returncode == 0
