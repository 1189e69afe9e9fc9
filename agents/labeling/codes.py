"""Ask for labels by code: one token says which, and the probabilities of all codes how sure that is.

Each label gets a short code, the reply is held to the codes, and the log-probabilities of its one
token become a distribution over the space. vLLM scores 128 codes exactly in one request; of more codes
it is asked the same again for each further 128, which costs one token, as it remembers the prompt.
Other servers report the likeliest 20 tokens at most. Where none are reported, the model is asked for its confidence in
words, or several times for a vote. `source` of a prediction says which it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast

from labelspace.agents.labeling.code_form import code_prompts, is_whole, place_of, verbal_schema
from labelspace.agents.labeling.form import Answer
from labelspace.agents.labeling.names import shorter
from labelspace.agents.labeling.short_codes import choose_codes
from labelspace.agents.labeling.views import label_table
from labelspace.agents.replies import read_object, read_share, without_thoughts
from labelspace.agents.texts import cut_middle
from labelspace.errors import ConfigError
from labelspace.llm import Engine, Outcome, Reply, Request, choice_distribution
from labelspace.prompts import Prompt, load_prompt
from labelspace.records import Record
from labelspace.space import LabelSpace

Confidence = Literal["auto", "logprobs", "verbal", "sampled"]
MOST_SCORED = 128
"""Tokens that vLLM scores in one request."""
TOP = 20
"""Tokens that the protocol reports at most."""
_ALL_KEPT = 50
"""Of larger spaces only the best `_BEST_KEPT` scores are kept."""
_BEST_KEPT = 10
_WARM = 1.0
"""Temperature of replies that vote."""


class ByCode:
    """One document, one request, one token."""

    def __init__(
        self,
        space: LabelSpace,
        *,
        use_case: str = "",
        prompts: str | Path | None = None,
        examples: int = 2,
        max_chars: int = 24_000,
        max_tokens: int | None = None,
        confidence: Confidence = "auto",
        samples: int = 5,
    ) -> None:
        """Say how; see `Labeler`.

        Raises:
            ConfigError: The space is multi-label.
        """
        if space.multi_label:
            raise ConfigError(
                f"{space.name!r} gives a text several labels, and one token can name only one; leave out one_token"
            )
        self.space, self.max_chars = space, max_chars
        self.names = (*space.leaves, *([space.other] if space.other else []))
        self._max_tokens, self._samples = max_tokens, samples
        self._way: Confidence = confidence
        self._template = load_prompt("label_code", folder=prompts)
        self._table, self._use_case = label_table(space, examples), use_case
        self._prompts: list[tuple[Prompt, tuple[str, ...]]] = []
        """Prompts and the codes of `names` in each: one, or one for each vote."""
        self._codes: tuple[str, ...] = ()
        self._ids: tuple[dict[str, int], ...] = ()
        """Codes and their tokens, as many together as one request scores; none where tokens are not known."""
        self._scores_ids = False

    @property
    def source(self) -> Mapping[str, Any]:
        """Name, version and hash of the prompt."""
        return self._template.provenance

    async def start(self, engine: Engine) -> None:
        """Choose codes that are one token where the model can tell, and write them into the prompt.

        Raises:
            ConfigError: There are more labels than codes.
        """
        self._codes, ids = await choose_codes(engine.model, engine.journal.about, len(self.names))
        known = list(zip(self._codes, ids or (), strict=False))
        self._ids = tuple(dict(known[at : at + MOST_SCORED]) for at in range(0, len(known), MOST_SCORED))
        dialect = getattr(engine.model, "dialect", None)
        self._scores_ids = bool(known) and (dialect is None or dialect.constraint == "structured_outputs")
        self._write_prompts()

    @property
    def _asks(self) -> int:
        """Requests for each record: votes, or parts of a distribution."""
        if self._way in ("auto", "logprobs") and self._scores_ids:
            return len(self._ids)
        return len(self._prompts)

    def _write_prompts(self) -> None:
        """Bind everything but the document."""
        template = self._template.bind(use_case=self._use_case, confidence=self._way == "verbal")
        votes = self._samples if self._way == "sampled" else 1
        self._prompts = code_prompts(template, self.space, self._table, self._codes, votes=votes)

    # -- asking ------------------------------------------------------------------------------

    def requests(self, records: Iterable[Record]) -> Iterator[Request]:
        """One for each record, or one for each vote or part of the distribution."""
        for record in records:
            for vote in range(self._asks):
                yield self._request((record, vote))

    async def ask(
        self, engine: Engine, records: Iterable[Record], *, total: int | None, shown: bool = True
    ) -> AsyncIterator[Outcome[Record, Answer]]:
        """One outcome for each record, in order."""
        if self._way == "auto":
            records = await self._find_a_way(engine, records)
        votes = self._asks
        items = ((record, vote) for record in records for vote in range(votes))
        outcomes = engine.map(
            items,
            self._request,
            self._read,
            purpose="label",
            version=self._template.hash,
            shorten=self._shorten,
            total=None if total is None else total * votes,
            shown=shown,
        )
        cast_votes: list[Outcome[tuple[Record, int], Answer]] = []
        async with aclosing(cast("Any", outcomes)) as stream:
            async for outcome in stream:
                cast_votes.append(outcome)
                if len(cast_votes) == votes:
                    yield self._counted(cast_votes)
                    cast_votes = []

    def replay(self, engine: Engine, records: Iterable[Record]) -> Iterator[Outcome[Record, Answer] | None]:
        """What the journal alone tells of each record."""
        votes = self._asks
        items = ((record, vote) for record in records for vote in range(votes))
        known = engine.known(items, self._request, self._read, shorten=self._shorten)
        while cast_votes := list(islice(known, votes)):
            there = [outcome for outcome in cast_votes if outcome is not None]
            yield self._counted(there) if len(there) == votes else None

    async def _find_a_way(self, engine: Engine, records: Iterable[Record]) -> Iterable[Record]:
        """Ask about the first record: if the reply has no log-probabilities, no other will."""
        if getattr(engine.model, "together", None) is not None:  # one call of a batch may take hours
            self._way = "logprobs"
            return records
        left = iter(records)
        loop = asyncio.get_running_loop()
        first = await loop.run_in_executor(None, lambda: list(islice(left, 1)))
        probe = engine.map(
            [(record, 0) for record in first], self._request, self._read, shorten=self._shorten, shown=False
        )
        self._way = "logprobs"
        async for outcome in probe:
            reply = outcome.reply
            if outcome.status == "ok" and reply is not None and not reply.logprobs and not reply.choice_logprobs:
                self._way = "verbal"
                self._write_prompts()
            # The row is counted when it is asked about below, where the journal may have it.
            stats = engine.stats
            stats.rows -= 1
            stats.ok -= outcome.status == "ok"
            stats.failed -= outcome.status == "failed"
            stats.reused -= reply is not None and (reply.reused or self._way == "logprobs")
        return chain(first, left)

    def _request(self, item: tuple[Record, int]) -> Request:
        record, vote = item
        return self._ask_about(cut_middle(record.text, self.max_chars), vote)

    def _shorten(self, item: tuple[Record, int], times: int) -> Request | None:
        record, vote = item
        text = shorter(record, self.max_chars, times)
        return None if text is None else self._ask_about(text, vote)

    def _ask_about(self, text: str, vote: int) -> Request:
        prompt, codes = self._prompts[vote if self._way == "sampled" else 0]
        messages = prompt.render(document=text)
        if self._way == "verbal":
            return Request(messages, schema=verbal_schema(codes), max_tokens=self._max_tokens)
        one = 1 if self._ids else None
        if self._way == "sampled":
            return Request(messages, choices=codes, temperature=_WARM, seed=vote, max_tokens=self._max_tokens or one)
        return Request(
            messages,
            choices=codes,
            logprobs=TOP,
            max_tokens=self._max_tokens or one,
            token_ids=self._ids[vote] if self._scores_ids else None,
        )

    # -- reading -----------------------------------------------------------------------------

    def _read(self, reply: Reply, item: tuple[Record, int]) -> Answer:
        _, codes = self._prompts[item[1] if self._way == "sampled" else 0]
        text, told = without_thoughts(reply.text), None
        if self._way == "verbal":
            data = read_object(reply.text, ("code", "confidence"))
            text, told = str(data["code"]), read_share(data["confidence"])
        name = self.names[place_of(text, codes, self.names)]
        none_fits = name == self.space.other
        if self._way == "verbal":
            return Answer(() if none_fits else (name,), none_fits, None, {}, told, {"confidence": "verbalised"})
        if self._way == "sampled":
            return Answer(() if none_fits else (name,), none_fits)
        found = choice_distribution(reply, codes)
        if found is None:
            how = "none: the server gave no log-probabilities"
            return Answer(() if none_fits else (name,), none_fits, source={"confidence": how})
        how = "logprobs" if is_whole(reply, codes) else f"logprobs, truncated to the likeliest {TOP} tokens"
        scores = {label: found[code] for label, code in zip(self.names, codes, strict=True)}
        return Answer(
            () if none_fits else (name,), none_fits, None, self._kept(scores), scores[name], {"confidence": how}
        )

    def _joined(self, parts: list[Outcome[tuple[Record, int], Answer]]) -> Outcome[tuple[Record, int], Answer]:
        """One outcome from those of the parts of a distribution; a part that failed fails the record."""
        first = next((part for part in parts if part.status != "ok"), parts[0])
        scored: dict[str, float] = {}
        for part in parts:
            scored |= (part.reply.choice_logprobs if part.reply is not None else None) or {}
        if first.status != "ok" or first.reply is None or len(scored) < len(self._codes):
            return first
        whole = replace(first.reply, choice_logprobs=scored)
        return replace(first, value=self._read(whole, first.item), reply=whole)

    def _counted(self, votes: list[Outcome[tuple[Record, int], Answer]]) -> Outcome[Record, Answer]:
        """One outcome for a record from those of its votes: the majority's, first come where it is a draw."""
        first = votes[0]
        record = first.item[0]
        if self._way == "logprobs" and len(votes) > 1:
            votes = [first := self._joined(votes)]
        answers = [outcome.value for outcome in votes if outcome.value is not None]
        if len(votes) == 1 or not answers:
            return Outcome(record, first.value, first.status, first.reason, first.code, first.raw, first.reply)
        counts = Counter(answer.labels for answer in answers)
        labels, most = counts.most_common(1)[0]
        scores = {labels[0]: count / len(answers) for labels, count in counts.items() if labels}
        how = f"sampled: {most} of {len(answers)} replies"
        answer = Answer(labels, not labels, None, self._kept(scores), most / len(answers), {"confidence": how})
        best = next(outcome for outcome in votes if outcome.value is not None and outcome.value.labels == labels)
        return Outcome(record, answer, "ok", best.reason, None, None, best.reply)

    def _kept(self, scores: Mapping[str, float]) -> dict[str, float]:
        """All scores of a small space, the best of a large one; the bucket is no label and has none."""
        kept = {name: value for name, value in scores.items() if name != self.space.other}
        if len(kept) <= _ALL_KEPT:
            return kept
        best = sorted(kept, key=lambda name: -kept[name])[:_BEST_KEPT]
        return {name: kept[name] for name in best}
