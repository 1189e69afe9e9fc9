"""Give each text a label of a space: by a language model, or by similarity where there is none.

With a model, each document is one request, held to the names of the label space by whatever the
server offers, and read strictly. What can't be read is shown to the model once more and then set
aside as failed, with the raw reply; what fits no label abstains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sized
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from labelspace.agents.replies import (
    NONE,
    choice_scores,
    fold,
    match_label,
    probability_of,
    read_object,
    without_thoughts,
)
from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError
from labelspace.llm import ChatModel, Engine, Outcome, Reply, ReplyError, Request, iterate
from labelspace.prompts import Prompt, load_prompt
from labelspace.records import Classifier, Prediction, Record, as_records, set_aside_blank
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.embed import Embedder

FITS_NOWHERE = "no label fits"
"""The reason on a prediction for a text that the model found to fit no label."""
_JSON_TOKENS = 4096
"""Room for an answer in JSON: a model can lose itself in a list."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read from a reply."""

    labels: tuple[str, ...]
    """Labels of the space, most important first; () where none fits."""
    none_fits: bool = False
    rationale: str | None = None


class Labeler:
    """Labels texts. A `Classifier`.

    labeler = Labeler(space, model="http://127.0.0.1:8000/v1#name", journal="run/journal.sqlite")
    for prediction in labeler.predict(texts):
        print(prediction.label, prediction.confidence)
    """

    def __init__(
        self,
        space: LabelSpace,
        *,
        model: str | ChatModel = "none",
        embedder: str | Embedder = "tfidf",
        use_case: str = "",
        rationale: bool = False,
        prompts: str | Path | None = None,
        journal: str | Path | None = None,
        concurrency: int | Literal["auto"] = "auto",
        examples: int = 2,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        logprobs: int = 1,
        progress: bool = False,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what to label with; nothing is opened or asked yet.

        Args:
            space: The labels; where it has an `other`, the model is offered that too.
            model: A model string, a model, or "none" for similarity to the labels' texts.
            embedder: For "none": what texts are compared by.
            use_case: What the labels are for, in a sentence.
            rationale: Whether the model gives its reason before the label. Costs tokens.
            prompts: Folder of templates that replace ours by name.
            journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
            concurrency: Calls in flight, or "auto".
            examples: The most examples of a label that are shown.
            max_chars: Of longer texts the middle is left out, which the prediction says.
            max_tokens: The most tokens of a reply.
            logprobs: How many alternatives to ask for at each token: confidence is read from them; 0 asks
                for none.
            progress: Whether to show progress on stderr.
            engine: Further settings of the `Engine`: budget, rpm, tpm, max_errors, retries, retry_failed, ...

        Raises:
            PromptError: A template in `prompts` is malformed.
        """
        self.space, self.model = space, model
        self.stats: dict[str, Any] = {}
        """What the engine counted: calls, tokens, failures; filled as `stream` goes on."""
        self._plain: Classifier | None = None
        if model == "none":
            from labelspace.agents.zeroshot import SimilarityLabeler

            self._plain = SimilarityLabeler(space, embedder=embedder)
            return
        self._names = (*space.leaves, *([space.other] if space.other else []))
        self._none = NONE - {fold(name) for name in self._names}
        self._rationale, self._max_chars, self._logprobs = rationale, max_chars, logprobs
        self._max_tokens, self._progress = max_tokens, progress
        self._engine = {**(engine or {}), "journal": journal, "concurrency": concurrency, "progress": progress}
        template = load_prompt("label_multi" if space.multi_label else "label", folder=prompts)
        known = {
            "use_case": use_case,
            "labels": label_table(space, examples),
            "other": space.other or "",
            "rationale": rationale,
        }
        self._prompt: Prompt = template.bind(**known)

    @property
    def label_space(self) -> LabelSpace:
        """The space of the labels it gives."""
        return self.space

    def predict(self, texts: Iterable[str | Record]) -> Iterator[Prediction]:
        """Yield one prediction for each text, in order, as soon as it and all before it are known.

        Raises:
            ModelError: The model can't be used, or too many texts failed. Replies are kept in the journal.
        """
        if self._plain is not None:
            return self._plain.predict(texts)
        return iterate(lambda: self.stream(texts))

    async def stream(self, texts: Iterable[str | Record]) -> AsyncIterator[Prediction]:
        """As `predict`, for asynchronous callers."""
        if self._plain is not None:
            for prediction in self._plain.predict(texts):
                yield prediction
            return
        waiting: deque[Record] = deque()
        """Blank records, and those that are asked about, in the order in which they came."""

        def with_text() -> Iterator[Record]:
            for record in as_records(texts):
                waiting.append(record)
                if not record.is_blank:
                    yield record

        async with Engine(self.model, **self._engine) as engine:
            source = {
                "model": engine.model.name,
                **self._prompt.provenance,
                "space": self.space.version,
            }
            total = len(texts) if isinstance(texts, Sized) else None
            outcomes = engine.map(
                with_text(),
                self._request,
                self._read,
                purpose="label",
                version=self._prompt.hash,
                shorten=self._shorten,
                total=total,
            )
            try:
                async with aclosing(cast("AsyncGenerator[Outcome[Record, Answer], None]", outcomes)) as stream:
                    async for outcome in stream:
                        while (record := waiting.popleft()) is not outcome.item:
                            yield set_aside_blank(record, source)
                        yield self._prediction(outcome, source)
                for record in waiting:
                    yield set_aside_blank(record, source)
            finally:
                self.stats = engine.stats.to_data()

    # -- asking ------------------------------------------------------------------------------

    def _request(self, record: Record) -> Request:
        return self._ask_about(cut_middle(record.text, self._max_chars))

    def _shorten(self, record: Record, times: int) -> Request | None:
        """Half of the text, then a quarter, where the model's context is too small for it."""
        length = min(len(record.text), self._max_chars) >> times
        return self._ask_about(cut_middle(record.text, length)) if length >= 200 else None

    def _ask_about(self, text: str) -> Request:
        form: dict[str, Any] = {"choices": self._names, "max_tokens": self._max_tokens}
        if self._rationale or self.space.multi_label:
            form = {"schema": self._schema(), "max_tokens": self._max_tokens or _JSON_TOKENS}
        return Request(self._prompt.render(document=text), logprobs=self._logprobs, **form)

    def _schema(self) -> dict[str, Any]:
        label: dict[str, Any] = {"type": "string", "enum": list(self._names)}
        properties: dict[str, Any] = {"rationale": {"type": "string"}} if self._rationale else {}
        if self.space.multi_label:
            properties["labels"] = {"type": "array", "items": label}
        else:
            properties["label"] = label
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    # -- reading -----------------------------------------------------------------------------

    def _read(self, reply: Reply, _record: Record) -> Answer:
        key = "labels" if self.space.multi_label else "label"
        if not self._rationale and not self.space.multi_label:
            return self._answer([_bare_choice(without_thoughts(reply.text))], None)
        needed = ("rationale", key) if self._rationale else (key,)
        data = read_object(reply.text, needed)
        given = data[key]
        if self.space.multi_label and not isinstance(given, list):
            raise ReplyError(f'"labels" must be a list of names from the list of labels, not {given!r:.100}.')
        rationale = data.get("rationale")
        if rationale is not None and not isinstance(rationale, str):
            raise ReplyError('"rationale" must be a text.')
        return self._answer(given if isinstance(given, list) else [given], rationale)

    def _answer(self, given: list[Any], rationale: str | None) -> Answer:
        found: dict[str, None] = {}
        none_fits = False
        for name in given:
            if name is None or (isinstance(name, str) and fold(name) in self._none):
                none_fits = True
            elif isinstance(name, str):
                found[match_label(name, self._names)] = None
            else:
                raise ReplyError(f"A label is a name from the list of labels, not {name!r:.100}.")
        none_fits = none_fits or self.space.other in found
        labels = tuple(name for name in found if name != self.space.other)
        return Answer(labels, none_fits and not labels, rationale)

    def _prediction(self, outcome: Outcome[Record, Answer], source: Mapping[str, Any]) -> Prediction:
        record, answer, reply = outcome.item, outcome.value, outcome.reply
        if reply is not None and reply.constraint is not None:
            source = {**source, "constraint": reply.constraint}
        if answer is None or reply is None:
            return Prediction(record.id, status="failed", reason=outcome.reason, raw=outcome.raw, source=source)
        remark = outcome.reason
        if remark is None and len(record.text) > self._max_chars:
            remark = f"{len(record.text):,} characters long: only {self._max_chars:,} were read, from both ends"
        made = Prediction(record.id, answer.labels, reason=remark, rationale=answer.rationale, source=source)
        if answer.none_fits:
            return replace(made, status="abstained", reason=FITS_NOWHERE)
        scores, confidence = self._scores(answer, reply)
        return replace(made, scores=scores, confidence=confidence)

    def _scores(self, answer: Answer, reply: Reply) -> tuple[dict[str, float], float | None]:
        """What the server told of probabilities: of every choice, of the tokens of the answer, or nothing."""
        if reply.choice_logprobs and answer.labels:
            scores = choice_scores(reply.choice_logprobs)
            scores.pop(self.space.other or "", None)
            return scores, scores.get(answer.labels[0])
        quoted = self._rationale or self.space.multi_label
        found = {name: probability_of(reply, name, quoted=quoted) for name in answer.labels}
        scores = {name: value for name, value in found.items() if value is not None}
        if not scores or len(scores) < len(answer.labels):
            return {}, None
        confidence = 1.0
        for value in scores.values():
            confidence *= value
        return scores, confidence


def _bare_choice(text: str) -> str | None:
    """A name that came in a JSON object or as a JSON string, without these; None for a null."""
    if text[:1] in '{"':
        import json

        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        if value is None or isinstance(value, str):
            return value
    return text


def label_table(space: LabelSpace, examples: int = 2) -> list[dict[str, Any]]:
    """The leaves of a space as the variable `labels` of the templates `label` and `label_multi`.

    Raises:
        ConfigError: `examples` is negative.
    """
    if examples < 0:
        raise ConfigError(f"the number of examples shown of a label is 0 or more, not {examples}")
    table = []
    for name in space.leaves:
        label, above = space[name], space.ancestors(name)
        group = " > ".join(reversed(above))
        if above and space[above[0]].description:
            group += f": {space[above[0]].description}"
        table.append(
            {
                "name": name,
                "group": group,
                "description": label.description,
                "instructions": label.instructions,
                "examples": [text[:300] for text in label.examples[:examples]],
            }
        )
    return table
