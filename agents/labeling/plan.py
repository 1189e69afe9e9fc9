"""From settings to a way of asking: which of the questions, shown what, how many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelspace.agents.labeling.batch import InBatches
from labelspace.agents.labeling.codes import ByCode, Confidence
from labelspace.agents.labeling.descend import Descend, below, relabelled
from labelspace.agents.labeling.lookup import Levels, Lookup
from labelspace.agents.labeling.names import ByName, Question
from labelspace.agents.labeling.views import Views
from labelspace.agents.labeling.votes import Votes
from labelspace.errors import ConfigError
from labelspace.records import Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:  # NumPy takes a quarter of a second, and most runs need none of it
    from labelspace.agents.labeling.demonstrations import Demonstrations, Way
    from labelspace.embed import Embedder

_WARM = 1.0
"""Temperature of replies that vote."""
_VOTES = 5
_PARTY = 64
"""Requests whose documents go down a tree together, where several share a request."""


@dataclass(frozen=True)
class Plan:
    """How to ask; see `Labeler` for what each means."""

    space: LabelSpace
    use_case: str
    rationale: bool
    prompts: str | Path | None
    examples: int
    max_chars: int
    max_tokens: int | None
    logprobs: int
    one_token: bool
    confidence: Confidence
    samples: int | None
    permutations: int
    batch_documents: int
    descend: bool
    candidates: int | None
    labelled: Sequence[Record]
    shots: int
    shots_by: Way
    context: int
    embedder: str | Embedder
    seed: int

    def question(self) -> tuple[Question, Lookup]:
        """The way of asking, and what it looks up before.

        Raises:
            ConfigError: Settings don't go together.
        """
        self._check()
        if self.one_token:
            return (
                ByCode(
                    self.space,
                    use_case=self.use_case,
                    prompts=self.prompts,
                    examples=self.examples,
                    max_chars=self.max_chars,
                    max_tokens=self.max_tokens,
                    confidence=self.confidence,
                    samples=_VOTES if self.samples is None else self.samples,
                ),
                Lookup(),
            )
        lookup = Lookup()
        asked: list[Question]
        if self.descend:
            lookup = levels = self._levels()
            asked = [self._descend(vote, levels) for vote in range(self._votes)]
        else:
            if self.candidates is not None or self.labelled:
                lookup = self._lookup(self.space, self.labelled, self._embedder())
            asked = [self._batched(self._by_name(self.space, vote, lookup)) for vote in range(self._votes)]
        return (asked[0] if len(asked) == 1 else Votes(asked, several=self.space.multi_label)), lookup

    def _check(self) -> None:
        several = {
            "rationale": self.rationale,
            "batch_documents": self.batch_documents > 1,
            "candidates": self.candidates is not None,
            "labelled": bool(self.labelled),
            "permutations": self.permutations > 1,
            "descend": self.descend,
        }
        given = [name for name, value in several.items() if value]
        if self.one_token and given:
            raise ConfigError(f"one_token asks for one token about one text: leave it out, or {given[0]}")
        if self.permutations < 1 or (self.samples is not None and self.samples < 2):
            raise ConfigError(
                f"a vote needs at least 2 samples and 1 order of the labels, not {self.samples} and {self.permutations}"
            )

    @property
    def _votes(self) -> int:
        return max(self.permutations, self._sampled)

    @property
    def _sampled(self) -> int:
        """Replies that are drawn at a temperature."""
        return self.samples or (_VOTES if self.confidence == "sampled" else 1)

    def _embedder(self) -> Embedder:
        from labelspace.embed import cache_folder, load_embedder

        if isinstance(self.embedder, str):
            return load_embedder(self.embedder, cache=cache_folder() if self.embedder != "tfidf" else None)
        return self.embedder

    def _lookup(self, space: LabelSpace, labelled: Sequence[Record], embedder: Embedder) -> Lookup:
        candidates = None
        if self.candidates is not None:
            from labelspace.agents.labeling.candidates import Candidates

            candidates = Candidates(space, self.candidates, embedder=embedder, labelled=labelled)
        return Lookup(candidates, self._demonstrations(space, labelled, embedder))

    def _levels(self) -> Levels:
        """The lookups of a descent; a level that has no more labels than there are candidates is shown whole."""
        embedder = self._embedder() if self.candidates is not None or self.labelled else None

        def make(above: str | None) -> Lookup:
            if embedder is None:
                return Lookup()
            level, own = below(self.space, above), relabelled(self.space, self.labelled, above)
            if len(level.labels) <= (self.candidates or len(level.labels)):
                return Lookup(None, self._demonstrations(level, own, embedder))
            return self._lookup(level, own, embedder)

        return Levels(self.space, make, counted=self.candidates is not None)

    def _demonstrations(
        self, space: LabelSpace, labelled: Sequence[Record], embedder: Embedder
    ) -> Demonstrations | None:
        if not labelled or not (self.shots or self.shots_by == "many"):
            return None
        from labelspace.agents.labeling.demonstrations import Demonstrations

        return Demonstrations(
            space,
            labelled,
            embedder=embedder,
            way=self.shots_by,
            shots=max(self.shots, 1),
            context=self.context,
            seed=self.seed,
        )

    def _by_name(self, space: LabelSpace, vote: int, lookup: Lookup) -> ByName:
        warm = self._sampled > 1
        orders = self.permutations if self.permutations > 1 else 0
        views = Views(
            space,
            examples=self.examples,
            lookup=lookup,
            order=vote % orders if orders else 0,
            orders=orders,
            seed=self.seed,
        )
        return ByName(
            space,
            use_case=self.use_case,
            rationale=self.rationale,
            confidence=self.confidence == "verbal",
            prompts=self.prompts,
            max_chars=self.max_chars,
            max_tokens=self.max_tokens,
            logprobs=self.logprobs,
            views=views,
            temperature=_WARM if warm else 0.0,
            seed=vote if warm else None,
        )

    def _batched(self, names: ByName) -> Question:
        return names if self.batch_documents == 1 else InBatches(names, self.batch_documents, prompts=self.prompts)

    def _descend(self, vote: int, levels: Levels) -> Descend:
        def make(level: LabelSpace, above: str | None) -> Question:
            return self._batched(self._by_name(level, vote, levels.at(above)))

        together = 1 if self.batch_documents == 1 else _PARTY * self.batch_documents
        return Descend(self.space, make, together=together)
