"""The documentation says what the tree does."""

from __future__ import annotations

import os
import re
import shutil
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


class Examples:
    """Runs the lines of examples one after another; what several begin with, such as training a model, is run once."""

    def __init__(self, folder: Path) -> None:
        self._ran: dict[tuple[str, ...], Path] = {(): folder / "0"}
        (folder / "0").mkdir()
        self._folder = folder

    def run(self, lines: tuple[str, ...]) -> Path:
        """The folder after these lines: that after all but the last is copied, and the last is run there."""
        if lines not in self._ran:
            here = shutil.copytree(self.run(lines[:-1]), self._folder / str(len(self._ran)), dirs_exist_ok=True)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", lines[-1]],
                cwd=here,
                env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{lines[-1]}: {done.stderr}"
            self._ran[lines] = here
        return self._ran[lines]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return Examples(tmp_path_factory.mktemp("examples"))


@pytest.mark.slow
@pytest.mark.parametrize("command", help_examples())
def test_the_example_of_a_help_runs_as_it_is(command: str, examples: Examples) -> None:
    lines = help_examples()[command].replace("\\\n", " ").splitlines()
    examples.run(tuple(line for line in lines if line))
