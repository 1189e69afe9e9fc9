"""What a request shows besides the document: which labels, in which order, and which labelled examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from labelspace.agents.labeling.lookup import Lookup
from labelspace.errors import ConfigError
from labelspace.records import Record
from labelspace.space import LabelSpace

NONE_OF_THESE = "none of these"
"""The answer where no candidate fits, in a space without a bucket of its own."""


@dataclass(frozen=True)
class View:
    """What one request shows."""

    names: tuple[str, ...]
    """Every answer that can be given, the bucket last."""
    variables: Mapping[str, Any]
    """`labels`, `other` and `demonstrations` of the templates."""


class Views:
    """Makes the view of each request."""

    def __init__(
        self,
        space: LabelSpace,
        *,
        examples: int = 2,
        lookup: Lookup | None = None,
        order: int = 0,
        orders: int = 0,
        seed: int = 0,
    ) -> None:
        """Say what is shown.

        Args:
            space: The labels.
            examples: The most of a label's own examples that are shown.
            lookup: Finds candidates and labelled examples; by default all labels and no examples are shown.
            order: Which of so many `orders` to show labels in, counted from 0.
            orders: 0 shows labels as the space has them. Otherwise each document has an order of its own, which the
                orders turn round in equal steps, so that each label stands in each part of the list equally often.
            seed: Of the documents' orders.

        Raises:
            ConfigError: A label has the name that says that no candidate fits.
        """
        self.space, self._order, self._orders, self._seed = space, order, orders, seed
        self._lookup = lookup or Lookup()
        bucket = space.other or ""
        if self._lookup.candidates is not None and not bucket and not space.multi_label:
            bucket = NONE_OF_THESE
            if bucket in space:
                raise ConfigError(
                    f"a label is named {bucket!r}, which is the answer where no candidate fits; rename it"
                )
        self.bucket = bucket
        """The answer where no label fits; "" for none."""
        self._table = {entry["name"]: entry for entry in label_table(space, examples)}
        self._rank = {name: at for at, name in enumerate(space.leaves)}
        self.is_fixed = self._lookup.candidates is None and self._lookup.demonstrations is None and not orders
        """Whether all requests show the same."""
        self._all = self._view(space.leaves, [])

    def look_up(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on, having found what their requests show."""
        return self._lookup.ahead(records)

    def of(self, texts: Sequence[str]) -> View:
        """The view for one document, or for several that are asked about together."""
        if self.is_fixed:
            return self._all
        found = self._lookup.find(texts)
        names = self.space.leaves
        if self._lookup.candidates is not None:
            names = tuple(sorted({name for own, _ in found for name in own}, key=self._rank.__getitem__))
        shown: list[dict[str, str]] = []
        if (demonstrations := self._lookup.demonstrations) is not None:
            among = None if self._lookup.candidates is None else {*names, self.bucket}
            chosen = demonstrations.choose(texts, [near for _, near in found], among=among, order=self._order)
            shown = [{"text": one.text, "answer": "; ".join(one.labels) or self.bucket or "(none)"} for one in chosen]
        return self._view(self._ordered(names, texts), shown)

    def _view(self, names: tuple[str, ...], shown: list[dict[str, str]]) -> View:
        bucket = (self.bucket,) if self.bucket else ()
        table = [self._table[name] for name in names]
        return View((*names, *bucket), {"labels": table, "other": self.bucket, "demonstrations": shown})

    def _ordered(self, names: tuple[str, ...], texts: Sequence[str]) -> tuple[str, ...]:
        """Labels in the order of this view, groups staying together under their headings."""
        if not self._orders:
            return names
        key = "\0".join([str(self._seed), *texts]).encode("utf-8", "replace")
        groups: dict[str, list[str]] = {}
        for name in Random(hashlib.sha256(key).hexdigest()).sample(names, len(names)):
            groups.setdefault(self._table[name]["group"], []).append(name)
        turned = [self._turned(own) for own in groups.values()]
        return tuple(name for own in self._turned(turned) for name in own)

    def _turned(self, row: list[Any]) -> list[Any]:
        start = len(row) * self._order // self._orders
        return row[start:] + row[:start]


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
