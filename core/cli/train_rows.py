"""The records that `labelspace train` learns from: what is left out and why, and what is held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from labelspace.data.cells import Refused, likeliest, shares_of
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
    shares: list[Mapping[str, float] | None] = field(default_factory=list)
    """Of each record, probabilities of labels to learn in the place of its label; of one label a text, summing to 1."""
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def soft(self) -> int:
        """How many records have probabilities to learn from."""
        return sum(one is not None for one in self.shares)

    def targets(self, where: Iterable[int], *, several: bool) -> list[Any]:
        """What some of the records teach, as a head takes it: a label, labels, or probabilities by label."""
        return [self.shares[at] or label_of(self.kept[at], several=several) for at in where]

    def fit(self, head: EmbeddingHead, where: Iterable[int] | None = None) -> EmbeddingHead:
        """Train a head on all rows, or on some."""
        chosen = range(len(self.kept)) if where is None else list(where)
        labels = self.targets(chosen, several=head.multi_label)
        return head.fit([self.kept[at].text for at in chosen], labels, [self.weights[at] for at in chosen])

    def identity(self) -> str:
        """A hash of all that is learned from."""
        digest = hashlib.sha256()
        for row, weight, shares in zip(self.kept, self.weights, self.shares, strict=True):
            digest.update(repr((row.text, row.labels, weight, shares)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def select_rows(
    records: Iterable[Record], space: LabelSpace | None, *, min_confidence: float, weigh: bool, soft: bool = False
) -> Rows:
    """Keep what has a text and a label that is sure enough; count the rest by reason.

    Args:
        records: What there is.
        space: Of the labels, if it is known.
        min_confidence: Of labels to keep.
        weigh: Whether a text counts by the confidence of its label.
        soft: Whether to learn from probabilities of labels where a record has them. Of one label a text, what they
            lack of 1, being on labels that are not told, is lacking from the weight.

    Raises:
        DataError: Probabilities were asked for, and no record has any.
    """
    rows = Rows()
    several = space is not None and space.multi_label
    contradicted = 0
    for given in records:
        shares = shares_in(given, several=several) if soft else None
        record = given
        if shares and record.labels is None and record.metadata.get("status") not in ("abstained", "failed"):
            record = replace(record, labels=likeliest(shares, several=several))
        sure = confidence_of(record)
        if record.is_blank:
            rows.left_out["blank"] += 1
        elif record.labels is None or (not record.labels and not several and space is not None):
            rows.left_out["without a label"] += 1
        elif sure < min_confidence:
            rows.left_out["not sure enough"] += 1
        else:
            if shares and not _agree(record.labels, shares, several=several):
                shares, contradicted = None, contradicted + 1
            told = sum(shares.values()) if shares and not several else 0.0
            if shares and not several:
                shares, sure = {name: share / told for name, share in shares.items()}, min(told, 1.0)
            rows.kept.append(record)
            rows.shares.append(shares or None)
            rows.weights.append(sure if weigh else 1.0)
    if contradicted:
        note(f"{contradicted} labels are not what their probabilities say, and are learned as they stand")
    if soft and rows.kept and not rows.soft:
        raise DataError(
            "--soft, and no text has probabilities that agree with its label",
            advice="give them in a column `scores`, as labelspace label does, or as {label: probability} for the label",
        )
    return rows


def label_of(record: Record, *, several: bool) -> str | list[str] | None:
    """The label of a record, or all of them where a text can have several."""
    return list(record.labels or ()) if several else record.label


def confidence_of(record: Record) -> float:
    """How sure whoever labelled a record was; 1 where nothing is said."""
    confidence = record.metadata.get("confidence")
    return float(confidence) if isinstance(confidence, (int, float)) else 1.0


def shares_in(record: Record, *, several: bool) -> dict[str, float]:
    """Probabilities of labels, or votes, that a record carries in `scores`; those of 0 are left out.

    Raises:
        DataError: They are no numbers; or above 1 where labels are independent, so that nobody knows of how many.
    """
    try:
        found = shares_of(record.metadata.get("scores"), "scores") or {}
    except Refused as refused:
        raise DataError(f"record {record.id!r}: {refused.problem}", advice=refused.advice) from None
    if several and any(share > 1 + 1e-6 for share in found.values()):
        raise DataError(
            f"record {record.id!r}: a probability is above 1 in {found!r}",
            advice="where a text has several labels, give each its probability, not its votes",
        )
    return {name: share for name, share in found.items() if share}


def _agree(labels: tuple[str, ...], shares: Mapping[str, float], *, several: bool) -> bool:
    """Whether labels are those that the probabilities speak for: a label that was set right by hand is not."""
    if several:
        return all(name in shares for name in labels)
    return shares.get(labels[0], 0.0) >= max(shares.values()) - 1e-6


def check_rows(rows: Rows, space: LabelSpace | None, *, path: str) -> LabelSpace:
    """Say what is odd about the rows; return the space, made from their labels if there is none.

    Raises:
        DataError: There is nothing to learn from.
    """
    left = ", ".join(f"{count:,} {reason}" for reason, count in rows.left_out.items())
    counts = Counter(name for row in rows.kept for name in row.labels or ())
    told = {name: row.id for row, shares in zip(rows.kept, rows.shares, strict=True) for name in shares or ()}
    if not rows.kept:
        raise DataError(f"no row can be trained on: {left}", path=path, advice="give texts with labels")
    if space is None:
        several = any(len(row.labels or ()) != 1 for row in rows.kept)
        named = sorted({*counts, *told})
        space = LabelSpace.of(named, multi_label=several) if named else LabelSpace.of(["none"])
    for name, record_id in told.items():
        if name not in space.leaves and name != space.other:
            raise DataError(f"record {record_id!r} has a probability: {space.unknown(name)}", path=path)
    if len({*counts, *told}) < (1 if space.multi_label else 2):
        only = f"only {next(iter(counts))!r}" if counts else "none"
        raise DataError(
            f"fewer than two labels to tell apart: {only} in {len(rows.kept):,} texts"
            + (f" ({left} were left out)" if left else ""),
            path=path,
            advice="give texts of at least two labels",
        )
    if left:
        note(f"left out: {left}")
    if unseen := [name for name in space.leaves if name not in counts and name not in told]:
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
