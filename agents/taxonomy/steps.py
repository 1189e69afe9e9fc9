"""The loop that makes one taxonomy: generate, update batch by batch, review; and groups at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from labelspace.agents.taxonomy.asking import Refused
from labelspace.agents.taxonomy.batches import even_batches
from labelspace.agents.taxonomy.changes import Lineage
from labelspace.agents.taxonomy.checks import Draft
from labelspace.agents.taxonomy.questions import Groups, Questions
from labelspace.agents.taxonomy.settings import Step
from labelspace.errors import ConfigError
from labelspace.progress import Progress, note
from labelspace.space import Label, LabelSpace

FEWEST_TO_GROUP = 4
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 300


class Loop:
    """One taxonomy on its way, from nothing or from labels that there are."""

    def __init__(
        self, questions: Questions, *, candidate: int = 0, start: LabelSpace | None = None, reasons: bool = False
    ) -> None:
        """Take what asks, and what to start from.

        Args:
            questions: Asks.
            candidate: Which of several taxonomies this is; shifts the seed of its requests.
            start: Labels to begin with instead of generating them.
            reasons: Whether each change of them needs its reason; then there is no review, which would
                reword what nobody complained about.

        Raises:
            ConfigError: `start` has more than two levels.
        """
        self.questions, self.settings, self.candidate = questions, questions.settings, candidate
        self.start, self.reasons = start, reasons
        self.steps: list[Step] = []
        self.labels: tuple[Draft, ...] = ()
        self.failed = ""
        """Why there is no taxonomy."""
        self.examples: dict[str, list[str]] = {}
        """Texts that the model cited for a label, by its name."""
        self.lineage = Lineage(start.leaves if start else ())
        self._groups: Groups = []
        if start is not None:
            self.labels = tuple(Draft(name, start[name].description) for name in start.leaves)
            self.examples = {name: list(start[name].examples) for name in start.leaves}
            if any(len(start.ancestors(name)) > 1 for name in start.leaves):
                raise ConfigError(f"the space {start.name!r} has more than two levels; give one with one or two")
            self._groups = [
                (Draft(name, start[name].description), list(start.children(name)))
                for name in start.roots
                if start.children(name)
            ]

    @property
    def seed(self) -> int:
        """Of the requests."""
        return self.settings.seed + self.candidate

    async def run(self, documents: Sequence[str], short: Sequence[str], bar: Progress) -> None:
        """Read all batches, until they change nothing any more, and review.

        Args:
            documents: In the order in which to read them.
            short: Each, or its summary.
            bar: Counts steps.
        """
        quiet = 0
        for batch in even_batches(len(documents), self.settings.batch_size):
            before, texts = self.labels, [short[place] for place in batch]
            if self.labels:
                await self._judge("update", texts)
            else:
                await self._generate(texts)
                if self.failed:
                    return
            self._cite([(documents[place], short[place]) for place in batch])
            bar.advance(remark=f"{len(self.labels)} labels")
            quiet = quiet + 1 if _texts(before) == _texts(self.labels) else 0
            if quiet and quiet == self.settings.patience and batch.stop < len(documents):
                note(
                    f"taxonomy: {quiet} batches in a row changed nothing, "
                    f"so the last {len(documents) - batch.stop:,} documents are not read"
                )
                break
        if not self.reasons:
            await self._judge("review", [])
            self._cite([])
        bar.advance(remark=f"{len(self.labels)} labels")

    async def finish(self) -> LabelSpace:
        """Put the labels into groups where that is wanted, and make a space of them."""
        groups: Groups = []
        if self.settings.levels == 2:
            groups = self._inherited()
            if not groups or sum(len(inside) for _, inside in groups) < len(self.labels):
                groups = await self._group() or groups
        return self._space(groups)

    # -- the steps ---------------------------------------------------------------------------

    async def _generate(self, texts: list[str]) -> None:
        answer = await self.questions.generate(texts, seed=self.seed)
        if isinstance(answer, Refused):
            tries = self.settings.retries + 1
            self.failed = (
                f"{self.questions.engine.model.name} gave no usable taxonomy in {tries} tries: {answer.reason}"
            )
            self._log("generate", len(texts), failed=answer.reason)
            return
        self.labels = answer
        self._log("generate", len(texts))

    async def _judge(self, what: Literal["update", "review"], texts: list[str]) -> None:
        answer = await self.questions.judge(what, self.labels, texts, seed=self.seed, reasons=self.reasons)
        if isinstance(answer, Refused):
            note(f"taxonomy: the {what} was skipped: {answer.reason}")
            self.labels = tuple(replace(draft, continues=(draft.name,), documents=()) for draft in self.labels)
            self._log(what, len(texts), failed=answer.reason)
            return
        self.labels = answer.labels
        self.lineage.follow(answer)
        self._log(what, len(texts), score=answer.score, explanation=answer.explanation, suggestions=answer.suggestions)

    async def _group(self) -> Groups:
        """The upper level; none where it can't be had."""
        if len(self.labels) < FEWEST_TO_GROUP:
            note(f"taxonomy: {len(self.labels)} labels are too few for two levels; it has one")
            return []
        most = min(round(1.5 * len(self.labels) ** 0.5), len(self.labels) // 2)
        most = max(most, len(self._groups) + 1) if self._groups else most
        answer = await self.questions.group(self.labels, most, self._groups, seed=self.seed)
        if isinstance(answer, Refused):
            what = "the new labels stand in no group" if self._groups else "it has one level"
            note(f"taxonomy: the labels could not be grouped, so {what}: {answer.reason}")
            self._log("group", 0, failed=answer.reason)
            return []
        self.steps.append(
            Step("group", 0, (*(draft.name for draft, _ in answer), *self._names()), candidate=self.candidate)
        )
        return answer

    def _inherited(self) -> Groups:
        """The groups that there were, with the labels that have their place in one of them."""
        home = {name: at for at, (_, inside) in enumerate(self._groups) for name in inside}
        found: Groups = [(draft, []) for draft, _ in self._groups]
        for draft in self.labels:
            places = {home[old] for old in self.lineage.origins(draft.name) if old in home}
            if len(places) == 1:
                found[places.pop()][1].append(draft.name)
        return [(draft, inside) for draft, inside in found if inside]

    def _log(
        self,
        what: Literal["generate", "update", "review", "group"],
        documents: int,
        *,
        score: float | None = None,
        explanation: str = "",
        suggestions: str = "",
        failed: str = "",
    ) -> None:
        self.steps.append(
            Step(what, documents, self._names(), score, explanation, suggestions, failed, candidate=self.candidate)
        )

    def _names(self) -> tuple[str, ...]:
        return tuple(draft.name for draft in self.labels)

    # -- what comes of it --------------------------------------------------------------------

    def _cite(self, batch: list[tuple[str, str]]) -> None:
        """Carry examples over to the labels that continue others, and add those cited from this batch."""
        before, self.examples = self.examples, {}
        for draft in self.labels:
            texts = [text for name in draft.continues for text in before.get(name, [])]
            for place in draft.documents:
                whole, short = (" ".join(text.split()) for text in batch[place])
                texts.append(whole if len(whole) <= _EXAMPLE_CHARACTERS else short)
            fit = [text for text in dict.fromkeys(texts) if len(text) <= _EXAMPLE_CHARACTERS]
            self.examples[draft.name] = fit[:_EXAMPLES]

    def _label(self, draft: Draft, parent: str | None) -> Label:
        """A label of the space; one that has not changed stays as it was in all that it says."""
        old = self.start[draft.name] if self.start is not None and draft.name in self.start else None
        if old is not None and old.description == draft.description:
            return old.model_copy(update={"parent": parent})
        return Label(
            name=draft.name,
            description=draft.description,
            parent=parent,
            examples=tuple(self.examples.get(draft.name, ())),
        )

    def _space(self, groups: Groups) -> LabelSpace:
        by_name = {draft.name: draft for draft in self.labels}
        made: list[Label] = []
        above = {name: draft for draft, inside in groups for name in inside}
        for name in dict.fromkeys((*above, *by_name)):
            group = above.get(name)
            if group is not None and group.name not in {label.name for label in made}:
                made.append(Label(name=group.name, description=group.description))
            made.append(self._label(by_name[name], None if group is None else group.name))
        other = self.settings.other or None
        if self.start is None:
            return LabelSpace(name="discovered", labels=tuple(made), other=other)
        start = self.start
        return LabelSpace(
            name=start.name, labels=tuple(made), multi_label=start.multi_label, other=start.other or other
        )


def _texts(labels: Sequence[Draft]) -> list[tuple[str, str]]:
    return [(draft.name, draft.description) for draft in labels]
