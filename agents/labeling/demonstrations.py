"""Labelled examples that a prompt shows: which, how many, and in what order.

LongICLBench (arXiv 2404.02060) found models with many examples to favour labels whose examples stand
together or near the end. So examples of one label never stand in a row where that can be helped, and the
order is drawn anew for each document, from the seed and the document's text: a rerun asks the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal, get_args

import numpy as np

from labelspace.agents.texts import cut_middle
from labelspace.embed import Embedder, Vectors, fit_embedder
from labelspace.errors import ConfigError, DataError
from labelspace.records import Record
from labelspace.space import LabelSpace

Way = Literal["nearest", "diverse", "balanced", "many"]
"""`nearest`: the most similar to the document. `diverse`: as far apart as possible, the same for all documents.
`balanced`: from each label in turn, the most central first. `many`: likewise, as many as the context has room for."""
LONGEST = 1_000
"""Characters that are shown of an example."""


@dataclass(frozen=True)
class Demonstration:
    """A labelled example as it is shown."""

    text: str
    labels: tuple[str, ...]
    """() where it is known that none applies."""


class Demonstrations:
    """Chooses examples for documents."""

    def __init__(
        self,
        space: LabelSpace,
        labelled: Iterable[Record],
        *,
        embedder: Embedder,
        way: Way = "nearest",
        shots: int = 8,
        context: int = 8_000,
        seed: int = 0,
    ) -> None:
        """Embed the examples.

        Args:
            space: Examples with another label are refused; its `other` is a label here.
            labelled: Records with labels; those without text or labels are passed over.
            embedder: For examples and documents.
            way: See `Way`.
            shots: How many are shown.
            context: For `many`: tokens that examples may take.
            seed: Of the order.

        Raises:
            ConfigError: `shots` or `context` is less than 1.
            DataError: There is no example, or one has a label that is not in the space.
        """
        if way not in get_args(Way) or min(shots, context) < 1:
            raise ConfigError(f"examples are chosen as {', '.join(get_args(Way))}, at least one: {way}, {shots}")
        known = {*space.leaves, space.other}
        self._shown: list[Demonstration] = []
        for record in labelled:
            if record.is_blank or record.labels is None or (not record.labels and not space.multi_label):
                continue
            if strange := [name for name in record.labels if name not in known]:
                raise DataError(f"example {record.id!r}: {space.unknown(strange[0])}")
            self._shown.append(Demonstration(cut_middle(record.text, LONGEST), record.labels))
        if not self._shown:
            raise DataError("no labelled example has both a text and a label", advice="check its columns")
        self._way, self._shots, self._context, self._seed = way, min(shots, len(self._shown)), context, seed
        self._embedder = fit_embedder(embedder, [one.text for one in self._shown])

    @cached_property
    def _vectors(self) -> Vectors:
        return self._embedder.embed([one.text for one in self._shown])

    @cached_property
    def _fixed(self) -> list[int]:
        """Examples by how soon they are taken, for ways that do not look at the document."""
        return self._farthest_first() if self._way == "diverse" else self._by_rounds()

    def _farthest_first(self) -> list[int]:
        """Greedy k-centre (Gonzalez, 1985): from the most central on, always what is farthest from all before."""
        vectors = self._vectors
        first = int((vectors @ vectors.mean(0)).argmax())
        chosen, near = [first], vectors @ vectors[first]
        while len(chosen) < min(len(vectors), self._shots + 8):  # some may be left out for a document
            following = int(near.argmin())
            chosen.append(following)
            near = np.maximum(near, vectors @ vectors[following])
            near[chosen] = np.inf
        return chosen

    def _by_rounds(self) -> list[int]:
        """One example of each label, the one nearest to the label's mean, then the next of each, and so on."""
        rows: dict[tuple[str, ...], list[int]] = {}
        for at, one in enumerate(self._shown):
            rows.setdefault(one.labels[:1], []).append(at)
        ranked = []
        for own in rows.values():
            central = self._vectors[own] @ self._vectors[own].mean(0)
            ranked.append([own[at] for at in np.argsort(-central, kind="stable")])
        rounds = max(map(len, ranked))
        return [own[at] for at in range(rounds) for own in ranked if at < len(own)]

    # -- choosing ----------------------------------------------------------------------------

    def nearest(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Numbers of the examples most similar to each text, nearest first; () where that plays no part."""
        if self._way != "nearest":
            return [()] * len(texts)
        near = self._embedder.embed(texts) @ self._vectors.T
        return [tuple(map(int, row)) for row in np.argsort(-near, axis=1, kind="stable")[:, : 20 * self._shots]]

    def choose(
        self, texts: Sequence[str], nearest: Sequence[tuple[int, ...]], *, among: Collection[str] | None, order: int = 0
    ) -> list[Demonstration]:
        """The examples to show for one document, or for several that are asked about together, in their order.

        Args:
            texts: The documents; an example with the same text is left out, as it would give the answer away.
            nearest: What `nearest` found for them.
            among: Labels that can be chosen; examples of others are left out. None for all.
            order: Number of the order: others for those who vote.
        """
        own = {text.strip() for text in texts}

        def fits(at: int) -> bool:
            one = self._shown[at]
            return one.text.strip() not in own and (among is None or all(name in among for name in one.labels))

        if self._way == "nearest":
            found: dict[int, None] = {}
            for rank in range(max(map(len, nearest))):
                found.update(dict.fromkeys(row[rank] for row in nearest if rank < len(row) and fits(row[rank])))
                if len(found) >= self._shots:
                    break
            chosen = list(found)[: self._shots]
        elif self._way == "many":
            chosen, spent = [], 0
            for at in filter(fits, self._fixed):
                one = self._shown[at]
                spent += _tokens(one)
                if spent > self._context:
                    break
                chosen.append(at)
        else:
            chosen = [at for at in self._fixed if fits(at)][: self._shots]
        digest = hashlib.sha256("\0".join([str(self._seed), str(order), *texts]).encode("utf-8", "replace"))
        return ungrouped([self._shown[at] for at in chosen], Random(digest.hexdigest()))


def _tokens(one: Demonstration) -> int:
    """Tokens of an example's line, at four bytes each."""
    return len("; ".join([one.text, *one.labels]).encode("utf-8", "replace")) // 4 + 4


def ungrouped(shown: list[Demonstration], random: Random) -> list[Demonstration]:
    """In a random order in which no two neighbours share their first label, as far as that can be."""
    by_label: dict[tuple[str, ...], list[Demonstration]] = {}
    for one in random.sample(shown, len(shown)):
        by_label.setdefault(one.labels[:1], []).append(one)
    order: list[Demonstration] = []
    left = len(shown)
    while left:
        open_ = [label for label, rows in by_label.items() if rows and (not order or order[-1].labels[:1] != label)]
        open_ = open_ or [label for label, rows in by_label.items() if rows]
        most = max(by_label, key=lambda label: len(by_label[label]))
        # A label that has as many left as all others together must come now, or it will stand beside itself.
        forced = 2 * len(by_label[most]) > left and most in open_
        label = most if forced else random.choices(open_, [len(by_label[label]) for label in open_])[0]
        order.append(by_label[label].pop())
        left -= 1
    return order
