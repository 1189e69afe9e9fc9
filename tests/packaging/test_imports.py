"""`import labelspace` and every `--help` stay light."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import labelspace
from labelspace.cli import VERBS

HEAVY = ("torch", "transformers", "langchain", "langchain_core", "sklearn", "scipy", "pyarrow", "datasets", "aiohttp")


PROBE = """
import json, sys
found, verbs = {"": sorted(sys.modules)}, json.loads(sys.argv[1])
import labelspace
found["import"] = sorted(sys.modules)
from labelspace.cli import main
for verb in verbs:
    try:
        main([verb, "--help"] if verb else ["--help"])
    except SystemExit as done:
        assert not done.code
    found[verb or "--help"] = sorted(sys.modules)
print(json.dumps(found), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """Top-level modules that a fresh interpreter has after `import labelspace`, and after each help, one by one."""
    command = [sys.executable, "-c", PROBE, json.dumps(["", *VERBS])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {step: {name.partition(".")[0] for name in names} for step, names in json.loads(done.stderr).items()}


def test_importing_loads_nothing_heavy(loaded: dict[str, set[str]]) -> None:
    assert not loaded["import"].intersection(HEAVY)


@pytest.mark.parametrize("verb", ["--help", *VERBS])
def test_help_loads_nothing_heavy(verb: str, loaded: dict[str, set[str]]) -> None:
    steps = list(loaded)
    assert not (loaded[verb] - loaded[steps[steps.index(verb) - 1]]).intersection(HEAVY)


@pytest.mark.parametrize("name", labelspace.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(labelspace, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        labelspace.nonsense  # noqa: B018
