"""Ask for labels by name, one document in a request: the plain way, which every model can follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from labelspace.agents.labeling.form import Answer, Form, closed_object
from labelspace.agents.labeling.views import Views
from labelspace.agents.texts import cut_middle
from labelspace.llm import Engine, Outcome, Reply, Request
from labelspace.prompts import Prompt, load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

JSON_TOKENS = 4096
"""Room for an answer in JSON: a model can lose itself in a list."""
_LEAST_CHARS = 200
"""A text is not shortened below this."""


class Question(Protocol):
    """A way of asking for labels."""

    @property
    def source(self) -> Mapping[str, Any]:
        """What a prediction's source says of the prompt."""
        ...

    async def start(self, engine: Engine) -> None:
        """Find out what has to be known before the first document."""
        ...

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """Every request that these records need, if each reply can be read."""
        ...

    def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        ...

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record; nothing is sent."""
        ...


class ByName:
    """One document, one request; the answer is a name, or JSON where there can be several, a reason or a number."""

    def __init__(
        self,
        space: LabelSpace,
        *,
        use_case: str = "",
        rationale: bool = False,
        confidence: bool = False,
        prompts: str | Path | None = None,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        logprobs: int = 1,
        views: Views | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Fill in all of the prompt that is the same for all documents.

        Args:
            space: The labels.
            use_case: What the labels are for.
            rationale: Whether the model gives its reason before the label.
            confidence: Whether the model says, as a number, how likely its answer is right.
            prompts: Folder of templates that replace ours by name.
            max_chars: Of longer texts the middle is left out.
            max_tokens: The most tokens of a reply.
            logprobs: Alternatives to ask for at each token.
            views: What a request shows besides the document; by default all labels.
            temperature: Of replies that vote.
            seed: Likewise.
        """
        self.space, self.max_chars = space, max_chars
        self.views = views or Views(space)
        self.form = Form(space, bucket=self.views.bucket, rationale=rationale, confidence=confidence)
        self.max_tokens = max_tokens
        self.sampling: dict[str, Any] = {"temperature": temperature, "seed": seed}
        self._logprobs = 0 if confidence else logprobs
        template = load_prompt("label_multi" if space.multi_label else "label", folder=prompts)
        self.known: Mapping[str, Any] = {"use_case": use_case, "rationale": rationale, "confidence": confidence}
        """What the prompt says whatever the document."""
        self.prompt: Prompt = template.bind(**self.known)
        if self.views.is_fixed:
            self.prompt = self.prompt.bind(**self.views.of(()).variables)

    @property
    def source(self) -> Mapping[str, Any]:
        """Name, version and hash of the prompt."""
        return self.prompt.provenance

    async def start(self, engine: Engine) -> None:
        """Nothing to find out."""

    # -- asking ------------------------------------------------------------------------------

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """One for each record."""
        return map(self.request, self.views.look_up(records))

    def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        return engine.map(
            self.views.look_up(records),
            self.request,
            self.read,
            purpose="label",
            version=self.prompt.hash,
            shorten=self.shorten,
            total=total,
            shown=shown,
        )

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record."""
        return engine.known(records, self.request, self.read, shorten=self.shorten)

    def request(self, record: Record) -> Request:
        """What is asked about a record."""
        return self._ask_about(record, cut_middle(record.text, self.max_chars))

    def shorten(self, record: Record, times: int) -> Request | None:
        """Half of the text, then a quarter, where the model's context is too small for it."""
        text = shorter(record, self.max_chars, times)
        return None if text is None else self._ask_about(record, text)

    def _ask_about(self, record: Record, text: str) -> Request:
        view = self.views.of((record.text,))
        shown = {} if self.views.is_fixed else view.variables
        form: dict[str, Any] = {"choices": view.names, "max_tokens": self.max_tokens}
        if self.form.in_json:
            form = {
                "schema": closed_object(self.form.properties(view.names)),
                "max_tokens": self.max_tokens or JSON_TOKENS,
            }
        return Request(self.prompt.render(document=text, **shown), logprobs=self._logprobs, **form, **self.sampling)

    # -- reading -----------------------------------------------------------------------------

    def read(self, reply: Reply, record: Record) -> Answer:
        """Read a reply strictly.

        Raises:
            ReplyError: It does not say which label.
        """
        return self.form.read(reply, lambda: self.views.of((record.text,)).names)


def shorter(record: Record, max_chars: int, times: int) -> str | None:
    """Half of a text, then a quarter, and so on; None where hardly anything would be left."""
    length = min(len(record.text), max_chars) >> times
    return cut_middle(record.text, length) if length >= _LEAST_CHARS else None
