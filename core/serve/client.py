"""A classifier behind an address, vLLM's or ours, as a `Classifier`.

It asks through the labeling engine, which keeps as many requests in flight as the server takes, tries again what
broke, waits where the server is busy or restarts, and gives results in order.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from labelspace.errors import ConfigError, ModelError
from labelspace.llm.client import HTTPModel
from labelspace.llm.engine import Engine
from labelspace.llm.request import Outcome, Reply, Request
from labelspace.llm.sync import iterate, run
from labelspace.readout import read_probabilities
from labelspace.records import Prediction, Record, as_records, set_aside_blank
from labelspace.serve.answers import HEAD
from labelspace.serve.batching import Probabilities
from labelspace.serve.protocol import ClassifyModel, ask_for, read_cascade, read_rows
from labelspace.serve.served import FILE, Served
from labelspace.space import LabelSpace

Rows = tuple[Probabilities, dict[int, Any]]
"""Probabilities [n, k], and what a cascade says of some of the texts."""
_MOST = 1024
"""Records of one request, blank ones counted."""


class VLLMClassifier:
    """Gives records the labels of a head that vLLM, or `labelspace serve`, has behind an address. A `Classifier`.

    classifier = VLLMClassifier("http://127.0.0.1:8000")
    for prediction in classifier.predict(texts): ...
    """

    def __init__(
        self,
        url: str,
        *,
        export: str | Path | None = None,
        api_key: str | None = None,
        batch_size: int = 32,
        concurrency: int | Literal["auto"] = "auto",
        retries: int = 5,
        patience: float = 300.0,
        timeout: float = 120.0,
    ) -> None:
        """Say where it is; nothing is asked before the first use.

        Args:
            url: `http(s)://host:port`, with `#name` where the server has several models.
            export: Folder of the exported model, for a vLLM that was started by hand on another machine: vLLM does
                not tell thresholds and label space. A server of ours does.
            api_key: The key; by default LABELSPACE_API_KEY, then OPENAI_API_KEY.
            batch_size: Texts in one request.
            concurrency: Requests in flight, or "auto" to find out what the server takes.
            retries: Tries again at a call that broke.
            patience: Seconds to go on trying where the server is busy or away.
            timeout: Seconds for one call.
        """
        root, _, self.name = url.partition("#")
        self.root = root.rstrip("/").removesuffix("/v1")
        self.export, self.batch_size = export, max(1, min(batch_size, _MOST))
        self._key, self._timeout = api_key, timeout
        self._engine: dict[str, Any] = {"concurrency": concurrency, "retries": retries, "patience": patience}
        self._served: Served | None = None

    @property
    def served(self) -> Served:
        """What the server serves.

        Raises:
            ModelError: The server does not answer.
            ConfigError: It does not tell, and no export was named.
        """
        if self._served is None:
            self._served = run(self._find())
        return self._served

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self.served.space

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order; blank texts abstain."""
        served = self.served
        return iterate(lambda: self._stream(as_records(texts), served))

    async def _find(self) -> Served:
        model = HTTPModel(self.root, self.name or "-", api_key=self._key, timeout=self._timeout, constraint="prompt")
        await model.start({})
        try:
            listed = await model._get(f"{self.root}/v1/models")
            own = await model._get(f"{self.root}/labelspace" + (f"?model={quote(self.name)}" if self.name else ""))
        finally:
            await model.close()
        if self.export is not None:
            found = Served.load(self.export)
        elif isinstance(own, dict) and "space" in own:
            found = Served.from_data(own, origin=f"{self.root}/labelspace")
        elif listed is None:
            raise ModelError(f"{self.root} does not answer; is the server up, and the key right?")
        else:
            found = self._by_folder(listed)
        names = [str(one.get("id")) for one in (listed or {}).get("data", ())]
        name = self.name or (found.model if found.model in names or not names else names[0])
        return replace(found, model=name)

    def _by_folder(self, listed: Mapping[str, Any]) -> Served:
        """The folder from which a vLLM on this machine says that it serves: returns what lies there."""
        for one in listed.get("data", ()):
            folder = Path(str(one.get("root") or "-"))
            if self.name in ("", one.get("id")) and (folder / FILE).is_file():
                return Served.load(folder)
        raise ConfigError(
            f"{self.root} does not tell its label space; name the folder of the exported model with export=, or "
            "on the command line with --export"
        )

    async def _stream(self, records: Iterator[Record], served: Served) -> AsyncIterator[Prediction]:
        model = ClassifyModel(self.root, served, api_key=self._key, timeout=self._timeout)
        source = {"model": f"{model.address}#{served.model}", "head": served.head, "space": served.space.version}

        def ask(batch: list[Record]) -> Request:
            # One sign stands in where all are blank, and its answer is passed over.
            return ask_for([record.text for record in batch if not record.is_blank] or ["."])

        def read(reply: Reply, _batch: list[Record]) -> Rows:
            return read_rows(reply, served), read_cascade(reply)

        # The engine keeps replies; they go to a file, so that memory does not grow with the texts.
        with tempfile.TemporaryDirectory(prefix="labelspace-") as folder:
            async with Engine(model, journal=Path(folder) / "replies.sqlite", **self._engine) as engine:
                async for outcome in engine.map(batches(records, self.batch_size), ask, read, purpose="predict"):
                    if outcome.status == "ok" or len(outcome.item) == 1 or outcome.code == "unreachable":
                        for made in read_outcome(outcome, served, source):
                            yield made
                        continue
                    # One text of several may be to blame.
                    alone = [[record] for record in outcome.item]
                    async for single in engine.map(alone, ask, read, purpose="predict", shown=False):
                        for made in read_outcome(single, served, source):
                            yield made


def batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    """Cut records into requests of `size` texts; blank ones, which are not sent, ride along."""
    batch: list[Record] = []
    texts = 0
    for record in records:
        if (texts == size and not record.is_blank) or len(batch) == _MOST:
            yield batch
            batch, texts = [], 0
        batch.append(record)
        texts += not record.is_blank
    if batch:
        yield batch


def read_outcome(
    outcome: Outcome[list[Record], Rows], served: Served, source: Mapping[str, Any]
) -> Iterator[Prediction]:
    """One prediction for each record of a request."""
    rows, said = ((), {}) if outcome.value is None else outcome.value
    left = iter(enumerate(rows))
    for record in outcome.item:
        if record.is_blank:
            yield set_aside_blank(record, source)
        elif outcome.status == "failed":
            yield Prediction(record.id, status="failed", reason=outcome.reason, source=source)
        else:
            at, row = next(left)
            made = read_probabilities(record, row, names=served.names, thresholds=served.thresholds, source=source)
            yield completed(made, said[at]) if at in said else made


def completed(made: Prediction, said: Mapping[str, Any]) -> Prediction:
    """The prediction of a head, completed by what a cascade behind the server says."""
    if said["answered_by"] == HEAD:
        return replace(made, reason=said["review"])
    return replace(
        made,
        labels=tuple(said["labels"]),
        confidence=said["confidence"],
        status=said["status"],
        reason=said["reason"],
        source={**made.source, "answered_by": said["answered_by"]},
    )
