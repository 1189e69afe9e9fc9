"""The documentation says what the tree does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_the_command_line_is_not_stale() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_cli.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def help_examples() -> dict[str, str]:
    """What stands behind `Example` at the end of each command's help, by command."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    found = {}
    for section in page.split("\n## ")[1:]:
        command, _, text = section.partition("\n")
        _, _, lines = re.sub(r"\n  Examples?[^\n]*:\n", "\0", text).partition("\0")
        found[command.strip("`")] = "\n".join(line.strip() for line in lines.split("```")[0].splitlines())
    return found


def test_every_help_ends_in_an_example() -> None:
    examples = help_examples()
    assert len(examples) >= 12
    assert not [command for command, example in examples.items() if "labelspace" not in example]


@pytest.mark.slow
@pytest.mark.parametrize("command", help_examples())
def test_the_example_of_a_help_runs_as_it_is(command: str, tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", help_examples()[command]],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
