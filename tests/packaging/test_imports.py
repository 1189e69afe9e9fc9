"""`import labelspace` and every `--help` stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import labelspace
from labelspace.cli import VERBS

HEAVY = ("torch", "transformers", "langchain", "langchain_core", "sklearn", "scipy", "pyarrow", "datasets", "aiohttp")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that are loaded in a fresh interpreter after `code`."""
    probe = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_loads_nothing_heavy() -> None:
    assert not loaded_after("import labelspace").intersection(HEAVY)


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_loads_nothing_heavy(verb: str | None) -> None:
    arguments = ["--help"] if verb is None else [verb, "--help"]
    code = f"from labelspace.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    assert not loaded_after(code).intersection(HEAVY)


@pytest.mark.parametrize("name", labelspace.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(labelspace, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        labelspace.nonsense  # noqa: B018
