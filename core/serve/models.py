"""The classifiers behind one server: one, or heads on a shared base that come and go while it runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import orjson

from labelspace.errors import DataError
from labelspace.serve.batching import Backend, Probabilities
from labelspace.serve.cascade import Cascade
from labelspace.serve.forms import SpaceOfAnswer
from labelspace.serve.served import Served

_NAME = re.compile(r"\w[\w.-]{0,99}")
_PATIENCE = 60.0
"""Seconds that the answers of a head which is to go may take."""


class Refusal(Exception):
    """A request that gets another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        """Say why."""
        super().__init__(message)
        self.status, self.message = status, message


class Model:
    """One classifier."""

    def __init__(self, served: Served, backend: Backend, cascade: Cascade | None = None) -> None:
        """Join what is said of it, what answers, and what completes its answers."""
        self.served, self.backend, self.cascade = served, backend, cascade
        self.asked = 0
        """Requests that are not answered yet."""
        thresholds = None if served.thresholds is None else list(served.thresholds)
        self.space = orjson.dumps(
            SpaceOfAnswer(
                version=served.space.version,
                labels=list(served.names),
                multi_label=served.multi_label,
                thresholds=thresholds,
            ).model_dump()
        )
        """What goes with each answer, written once."""

    async def probabilities(self, texts: list[str]) -> Probabilities:
        """Ask it."""
        self.asked += 1
        try:
            return await self.backend.probabilities(texts)
        finally:
            self.asked -= 1


class Base(Protocol):
    """What holds heads: a vLLM with adapters."""

    async def load(self, name: str, folder: Path) -> None:
        """Take a head. Raises `Refusal` where it does not."""
        ...

    async def unload(self, name: str) -> None:
        """Let a head go."""
        ...


class Models:
    """Classifiers by name."""

    def __init__(
        self,
        models: Iterable[Model],
        *,
        heads: Path | None = None,
        base: Base | None = None,
        make: Callable[[Served], Model] | None = None,
    ) -> None:
        """Take those that are there from the start.

        Args:
            models: The first answers where a request names none.
            heads: Folder of heads that may be loaded, each under its name; None where none can.
            base: What loads them.
            make: Makes a model of a head that was loaded.
        """
        self._models = {one.served.model: one for one in models}
        self.heads, self._base, self._make = heads, base, make
        self._gone: list[Model] = []
        self._turn = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """Their names."""
        return list(self._models)

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return sum(int(getattr(one.backend, "waiting", 0)) for one in self._models.values())

    def pick(self, name: str | None) -> Model:
        """The one of a name, or the first.

        Raises:
            Refusal: There is none.
        """
        found = self._models.get(name) if name is not None else next(iter(self._models.values()), None)
        if found is None:
            wanted = "no model yet" if name is None else f"no model {name!r}"
            raise Refusal(404, f"there is {wanted}; there are: {', '.join(self._models) or 'none'}")
        return found

    async def load(self, name: str) -> None:
        """Load a head from the folder of heads; one that is there by that name is replaced."""
        folder = self._folder(name)
        async with self._turn:
            try:
                served = Served.load(folder)
            except DataError as error:
                raise Refusal(404, f"there is no head {name!r} in the folder of heads") from error
            if name in self._models:
                await self._drop(name)
            assert self._base is not None
            assert self._make is not None
            await self._base.load(name, folder)
            self._models[name] = self._make(served)

    async def unload(self, name: str) -> None:
        """Let a head go, when what was asked of it is answered."""
        self._folder(name)
        async with self._turn:
            self.pick(name)
            await self._drop(name)

    async def _drop(self, name: str) -> None:
        model = self._models.pop(name)  # nothing more is asked of it
        self._gone.append(model)
        end = asyncio.get_running_loop().time() + _PATIENCE
        while model.asked and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        assert self._base is not None
        await self._base.unload(name)
        await model.backend.close()
        self._gone.remove(model)

    def _folder(self, name: str) -> Path:
        # A caller names no path: only what lies directly in the folder that the operator chose.
        if self.heads is None or not _NAME.fullmatch(name):
            raise Refusal(400, f"{name[:100]!r} is no name of a head")
        return self.heads / name

    async def close(self) -> None:
        """Let all go."""
        for one in [*self._models.values(), *self._gone]:
            await one.backend.close()
            if one.cascade is not None:
                await one.cascade.close()


class VLLMBase:
    """A vLLM that takes adapters while it runs. A `Base`."""

    def __init__(self, call: Callable[[str, dict[str, Any]], Any]) -> None:
        """Take what posts JSON to a path of it."""
        self._call = call

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter."""
        await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder.resolve())})

    async def unload(self, name: str) -> None:
        """Unload an adapter."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        from urllib.error import HTTPError

        try:
            await asyncio.to_thread(self._call, path, body)
        except HTTPError as error:
            said = error.read(300).decode("utf-8", "replace")
            raise Refusal(400 if error.code < 500 else 503, f"vLLM does not take it: {said}") from error
        except ValueError:  # it answers in words, not JSON, when all is well
            return
        except OSError as error:
            raise Refusal(503, f"vLLM does not answer: {error}") from error
