"""Heads that come and go: names, not paths, and none goes before its answers are out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelspace.serve.models import Model, Models, Refusal
from labelspace.serve.served import Served
from labelspace.space import LabelSpace


class Slow:
    """A backend that answers when it is told to."""

    def __init__(self) -> None:
        self.go, self.closed = asyncio.Event(), False

    async def probabilities(self, texts: Any) -> Any:
        await self.go.wait()
        return np.full((len(texts), 2), 0.5)

    async def close(self) -> None:
        self.closed = True


class Base:
    """Remembers what it holds."""

    def __init__(self) -> None:
        self.held: list[str] = []

    async def load(self, name: str, folder: Path) -> None:
        self.held.append(name)

    async def unload(self, name: str) -> None:
        self.held.remove(name)


def models_in(folder: Path, *names: str) -> tuple[Models, Base]:
    for name in names:
        (folder / name).mkdir()
        Served(name, "ls", LabelSpace.of(["a", "b"]), ("a", "b"), logits=True).save(folder / name)
    base = Base()
    return Models([], heads=folder, base=base, make=lambda served: Model(served, Slow())), base


def test_a_head_goes_when_its_answers_are_out(tmp_path: Path) -> None:
    async def run() -> None:
        models, base = models_in(tmp_path, "one", "two")
        with pytest.raises(Refusal, match="there is no model yet; there are: none"):
            models.pick(None)
        await models.load("one")
        await models.load("two")
        assert (models.names, base.held, models.pick(None).served.model) == (["one", "two"], ["one", "two"], "one")
        backend: Any = models.pick("one").backend
        asked = asyncio.create_task(models.pick("one").probabilities(["x"]))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(models.unload("one"))
        await asyncio.sleep(0.05)
        assert (models.names, base.held, leaving.done()) == (["two"], ["one", "two"], False)
        backend.go.set()
        assert (await asked).shape == (1, 2)
        await leaving
        assert (base.held, backend.closed) == (["two"], True)
        await models.load("two")  # anew
        assert (models.names, base.held) == (["two"], ["two"])

    asyncio.run(run())


@pytest.mark.parametrize("name", ["..", "../one", "/etc", "", ".hidden", "a/b", "a\x00", "x" * 101])
def test_a_caller_names_no_path(tmp_path: Path, name: str) -> None:
    models, base = models_in(tmp_path, "one")
    for act in (models.load, models.unload):
        with pytest.raises(Refusal, match="is no name of a head"):
            asyncio.run(act(name))
    assert base.held == []


def test_a_head_that_is_not_there(tmp_path: Path) -> None:
    models, _ = models_in(tmp_path)
    with pytest.raises(Refusal, match="there is no head 'one' in the folder of heads"):
        asyncio.run(models.load("one"))
