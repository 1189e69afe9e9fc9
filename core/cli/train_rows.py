"""The records that `labelspace train` learns from: what is left out and why, and what is held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelspace.errors import DataError
from labelspace.progress import note
from labelspace.records import Record
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.finetune.embedded import EmbeddingHead


@dataclass
class Rows:
    """The records that can be trained on, and what became of the others."""

    kept: list[Record] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def fit(self, head: EmbeddingHead, where: Iterable[int] | None = None) -> EmbeddingHead:
        """Train a head on all rows, or on some."""
        chosen = range(len(self.kept)) if where is None else list(where)
        rows = [self.kept[at] for at in chosen]
        labels: list[Any] = [(row.labels or ()) if head.multi_label else row.label for row in rows]
        return head.fit([row.text for row in rows], labels, [self.weights[at] for at in chosen])

    def identity(self) -> str:
        """A hash of all that is learned from."""
        digest = hashlib.sha256()
        for row, weight in zip(self.kept, self.weights, strict=True):
            digest.update(repr((row.text, row.labels, weight)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def select_rows(records: Iterable[Record], space: LabelSpace | None, *, min_confidence: float, weigh: bool) -> Rows:
    """Keep what has a text and a label that is sure enough; count the rest by reason."""
    rows = Rows()
    several = space is not None and space.multi_label
    for record in records:
        confidence = record.metadata.get("confidence")
        sure = float(confidence) if isinstance(confidence, (int, float)) else 1.0
        if record.is_blank:
            rows.left_out["blank"] += 1
        elif record.labels is None or (not record.labels and not several and space is not None):
            rows.left_out["without a label"] += 1
        elif sure < min_confidence:
            rows.left_out["not sure enough"] += 1
        else:
            rows.kept.append(record)
            rows.weights.append(sure if weigh else 1.0)
    return rows


def check_rows(rows: Rows, space: LabelSpace | None, *, path: str) -> LabelSpace:
    """Say what is odd about the rows; return the space, made from their labels if there is none.

    Raises:
        DataError: There is nothing to learn from.
    """
    left = ", ".join(f"{count:,} {reason}" for reason, count in rows.left_out.items())
    counts = Counter(name for row in rows.kept for name in row.labels or ())
    if not rows.kept:
        raise DataError(f"no row can be trained on: {left}", path=path, advice="give texts with labels")
    if space is None:
        several = any(len(row.labels or ()) != 1 for row in rows.kept)
        space = LabelSpace.of(sorted(counts), multi_label=several) if counts else LabelSpace.of(["none"])
    if len(counts) < (1 if space.multi_label else 2):
        only = f"only {next(iter(counts))!r}" if counts else "none"
        raise DataError(
            f"fewer than two labels to tell apart: {only} in {len(rows.kept):,} texts"
            + (f" ({left} were left out)" if left else ""),
            path=path,
            advice="give texts of at least two labels",
        )
    if left:
        note(f"left out: {left}")
    if unseen := [name for name in space.leaves if name not in counts]:
        note(f"{len(unseen)} of {len(space.leaves)} labels have no text and will never be given: {_some(unseen)}")
    if single := sorted(name for name, count in counts.items() if count == 1):
        note(f"{len(single)} labels have a single text, too few to learn or to measure: {_some(single)}")
    return space


def is_held(text: str, share: float, seed: int) -> bool:
    """Whether a text is held out: by the text and the seed alone, so that copies of it stay together."""
    digest = hashlib.sha256(f"{seed}\0{' '.join(text.split()).casefold()}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
