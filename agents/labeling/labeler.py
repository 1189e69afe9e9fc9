"""Give each text a label of a space: by a language model, or by similarity where there is none.

With a model, each document is one request, held to the names of the label space by whatever the
server offers, and read strictly. What can't be read is shown to the model once more and then set
aside as failed, with the raw reply; what fits no label abstains.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from labelspace.agents.labeling.batch import InBatches
from labelspace.agents.labeling.codes import Confidence
from labelspace.agents.labeling.feed import Feed
from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.plan import Plan
from labelspace.agents.labeling.predictions import FITS_NOWHERE, from_outcome
from labelspace.agents.labeling.views import label_table
from labelspace.errors import BudgetExceeded, ConfigError, ModelError
from labelspace.llm import ChatModel, Engine, Estimate, Outcome, Stopped, iterate, run
from labelspace.records import Classifier, Prediction, Record, as_records, set_aside_blank
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.agents.labeling.demonstrations import Way
    from labelspace.embed import Embedder

__all__ = ["FITS_NOWHERE", "NOT_ASKED", "Labeler", "label_table"]

NOT_ASKED = "not asked: "
"""How the reason begins on a prediction for a text that a stopped run did not come to."""


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
        candidates: int | None = None,
        labelled: Sequence[Record] = (),
        shots: int = 8,
        shots_by: Way = "nearest",
        context: int = 8_000,
        permutations: int = 1,
        descend: bool = False,
        examples: int = 2,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        logprobs: int = 1,
        one_token: bool = False,
        confidence: Confidence = "auto",
        samples: int | None = None,
        batch_documents: int = 1,
        set_aside: bool = False,
        closed: str | None = None,
        progress: bool = False,
        seed: int = 0,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what to label with; nothing is opened or asked yet.

        Args:
            space: The labels; where it has an `other`, the model is offered that too.
            model: A model string, a model, or "none" for similarity to the labels' texts.
            embedder: What texts are compared by: for "none", for candidates, and for labelled examples.
            use_case: What the labels are for, in a sentence.
            rationale: Whether the model gives its reason before the label. Costs tokens.
            prompts: Folder of templates that replace ours by name.
            journal: SQLite file that keeps every reply, so that a rerun asks nothing twice.
            concurrency: Calls in flight, or "auto".
            candidates: Show each text only so many labels, the likeliest ones, for the model to choose among.
            labelled: Examples with labels: some are shown, and all help to find candidates.
            shots: How many of them are shown.
            shots_by: Which; see `labelspace.agents.labeling.demonstrations.Way`.
            context: For "many": tokens that they may take.
            permutations: Ask under so many orders of the labels, and average.
            descend: Go down the tree of labels level by level, one request each; `candidates` and
                `batch_documents` are those of a level.
            examples: The most of a label's own examples that are shown.
            max_chars: Of longer texts the middle is left out, which the prediction says.
            max_tokens: The most tokens of a reply.
            logprobs: How many alternatives to ask for at each token: confidence is read from them; 0 asks
                for none.
            one_token: Whether each label gets a short code and the reply is one of these: one token, whose
                log-probabilities become a distribution over the space.
            confidence: Where it comes from: "logprobs", "verbal" (the model says a number), "sampled" (several
                replies vote), or "auto": log-probabilities where the server has them, otherwise none, or with
                `one_token` verbal.
            samples: Ask so many times at a temperature, and average.
            batch_documents: Texts in one request; what can't be used of its answers is asked again singly.
            set_aside: Whether a run that stops early (budget, too many failures) still ends each text:
                those that were not asked about as failed, with the reason. Otherwise it raises.
            closed: Why nothing may be asked, where that is so: what the journal lacks is set aside with this reason.
            progress: Whether to show progress on stderr.
            seed: Of the orders in which labels and examples stand.
            engine: Further settings of the `Engine`: budget, rpm, tpm, max_errors, retries, retry_failed, ...

        Raises:
            PromptError: A template in `prompts` is malformed.
            ConfigError: Settings that don't go together.
        """
        self.space, self.model = space, model
        self.stats: dict[str, Any] = {}
        """What the engine counted: calls, tokens, failures; filled as `stream` goes on."""
        self.account: dict[str, Any] = {}
        """The same with the model, the server, the prices and the journal, for a run.json; at the end of `stream`."""
        self.stopped: str | None = None
        """Why the run stopped early, where it did and went on to set the rest aside."""
        self._plain: Classifier | None = None
        if model == "none":
            from labelspace.agents.labeling.zeroshot import SimilarityLabeler

            self._plain = SimilarityLabeler(space, embedder=embedder)
            return
        self._max_chars, self._set_aside, self._closed = max_chars, set_aside or closed is not None, closed
        self._engine = {**(engine or {}), "journal": journal, "concurrency": concurrency, "progress": progress}
        self._question, self._lookup = Plan(
            space,
            use_case=use_case,
            rationale=rationale,
            prompts=prompts,
            examples=examples,
            max_chars=max_chars,
            max_tokens=max_tokens,
            logprobs=logprobs,
            one_token=one_token,
            confidence=confidence,
            samples=samples,
            permutations=permutations,
            batch_documents=batch_documents,
            descend=descend,
            candidates=candidates,
            labelled=labelled,
            shots=shots,
            shots_by=shots_by,
            context=context,
            embedder=embedder,
            seed=seed,
        ).question()

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
        feed, self.stopped = Feed(texts), None
        total = len(texts) if isinstance(texts, Sized) else None
        async with Engine(self.model, **self._engine) as engine:
            try:
                await self._question.start(engine)
                if self._closed is not None:
                    raise Stopped(self._closed)
                source = self._source(engine)
                outcomes = self._question.ask(engine, feed, total=total)
                async with aclosing(cast("AsyncGenerator[Outcome[Record, Answer], None]", outcomes)) as stream:
                    async for outcome in stream:
                        for record in feed.blanks_before(outcome.item):
                            yield set_aside_blank(record, source)
                        self._lookup.count(outcome.item)
                        yield from_outcome(outcome, source, max_chars=self._max_chars)
                for record in feed.waiting:
                    yield set_aside_blank(record, source)
            except ModelError as error:
                # A bad key or an unknown model at the start is no run: there is nothing to end.
                done = engine.stats.replies or engine.stats.reused_replies
                if not self._set_aside or not (done or isinstance(error, (BudgetExceeded, Stopped))):
                    raise
                self.stopped = str(error).removeprefix("stopped: ")
                for prediction in self._rest(engine, feed):
                    yield prediction
            finally:
                self._take_account(engine)

    def _take_account(self, engine: Engine) -> None:
        self.stats, self.account = engine.stats.to_data(), engine.to_data()
        if isinstance(self._question, InBatches):
            self.account["asked_singly"] = self._question.asked_singly
        if self._lookup.recall.texts:
            self.account["candidates"] = self._lookup.recall.to_data()

    def _rest(self, engine: Engine, feed: Feed) -> Iterator[Prediction]:
        """What a stopped run did not come to: from the journal where it is there, otherwise failed."""
        reason, source = NOT_ASKED + _in_short(self.stopped or ""), self._source(engine)
        left = Feed(feed.rest())
        outcomes = self._question.replay(engine, left)
        while True:
            outcome = next(outcomes, _END)
            # The questions read a little ahead, but in order: the first that waits and has text is this one.
            while left.waiting and (outcome is _END or left.waiting[0].is_blank):
                yield set_aside_blank(left.waiting.popleft(), source)
            if outcome is _END:
                return
            record = left.waiting.popleft()
            if outcome is None:
                yield Prediction(record.id, status="failed", reason=reason, source=source)
            else:
                yield from_outcome(cast("Outcome[Record, Answer]", outcome), source, max_chars=self._max_chars)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Engine]:
        """An engine that is ready for `answer`, for as long as the block lasts.

        Raises:
            ConfigError: There is no model, so there is nothing to ask.
            ModelError: The model is not to be had.
        """
        if self._plain is not None:
            raise ConfigError("without a model nothing is asked and nothing costs anything")
        async with Engine(self.model, **self._engine) as engine:
            await self._question.start(engine)
            yield engine

    async def answer(self, engine: Engine, text: str) -> Prediction:
        """What the model says of one text, for callers whose texts come singly, from any number of tasks at once.

        Args:
            engine: That `opened` gave.
            text: Not blank.

        Raises:
            ModelError: The model can't be used any more, or the budget is spent.
        """
        async for outcome in self._question.ask(engine, [Record("", text)], total=1, shown=False):
            return from_outcome(outcome, self._source(engine), max_chars=self._max_chars)
        raise AssertionError("one outcome for each record")

    def estimate(self, texts: Iterable[str | Record]) -> Estimate:
        """What labeling these texts would ask and cost; nothing is asked.

        Raises:
            ConfigError: There is no model, so there is nothing to ask.
        """

        async def look() -> Estimate:
            async with self.opened() as engine:
                with_text = (record for record in as_records(texts) if not record.is_blank)
                return engine.estimate(self._question.requests(with_text), lambda request: request)

        return run(look())

    def _source(self, engine: Engine) -> dict[str, Any]:
        return {"model": engine.model.name, **self._question.source, "space": self.space.version}


_END: Any = object()


def _in_short(reason: str) -> str:
    """The first part of an error's message, without the account and the advice."""
    return reason.partition(";")[0].partition(", and ")[0]
