"""From settings to a way of asking: which of the questions, shown what, how many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelspace.agents.label_batch import InBatches
from labelspace.agents.label_codes import ByCode, Confidence
from labelspace.agents.label_descend import Descend, relabelled
from labelspace.agents.label_lookup import Lookup
from labelspace.agents.label_names import ByName, Question
from labelspace.agents.label_views import Views
from labelspace.agents.label_votes import Votes
from labelspace.errors import ConfigError
from labelspace.records import Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:  # NumPy takes a quarter of a second, and most runs need none of it
    from labelspace.agents.demonstrations import Demonstrations, Way
    from labelspace.embed import Embedder

_WARM = 1.0
"""Temperature of replies that vote."""
_VOTES = 5


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
            asked = [self._descend(vote) for vote in range(self._votes)]
        else:
            if self.candidates is not None or self.labelled:
                lookup = self._lookup(self._embedder())
            names = [self._by_name(self.space, vote, lookup) for vote in range(self._votes)]
            asked = [*names]
            if self.batch_documents != 1:
                asked = [InBatches(one, self.batch_documents, prompts=self.prompts) for one in names]
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
        if self.descend and (self.candidates is not None or self.batch_documents > 1):
            other = "batch_documents" if self.batch_documents > 1 else "candidates"
            raise ConfigError(f"descend shows one level of labels to one text: leave it out, or {other}")
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

    def _lookup(self, embedder: Embedder) -> Lookup:
        candidates = None
        if self.candidates is not None:
            from labelspace.agents.candidates import Candidates

            candidates = Candidates(self.space, self.candidates, embedder=embedder, labelled=self.labelled)
        return Lookup(candidates, self._demonstrations(self.space, self.labelled, embedder))

    def _demonstrations(
        self, space: LabelSpace, labelled: Sequence[Record], embedder: Embedder
    ) -> Demonstrations | None:
        if not labelled or not (self.shots or self.shots_by == "many"):
            return None
        from labelspace.agents.demonstrations import Demonstrations

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

    def _descend(self, vote: int) -> Descend:
        embedder = self._embedder() if self.labelled else None

        def make(level: LabelSpace, above: str | None) -> ByName:
            own = relabelled(self.space, self.labelled, above)
            shown = self._demonstrations(level, own, embedder) if embedder is not None and own else None
            return self._by_name(level, vote, Lookup(None, shown))

        return Descend(self.space, make)
