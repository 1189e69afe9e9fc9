"""The audit of tagged tokens: every token is a record, scored by a model that saw no copy of its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labelspace.agents.audit.filters import Filter, flag_labels, lowest
from labelspace.agents.audit.folds import grouped_folds
from labelspace.agents.audit.neighbours import duplicate_groups
from labelspace.agents.audit.scores import Score, label_quality
from labelspace.agents.audit.suspicion import Suspicion, suspect
from labelspace.errors import DataError
from labelspace.progress import Progress
from labelspace.records import Record

OUTSIDE = "O"
"""Tag of a token that belongs to nothing."""
FEATURES = 2**17
"""Width of the hashed features of a token."""


class TokenReport(BaseModel):
    """What an audit of tags found, in figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int
    """Texts with tags."""
    untagged: int
    tokens: int
    flagged: int
    """Texts with a flagged token."""
    flagged_tokens: int
    filter_by: str
    duplicates: int
    """Texts that have a near-duplicate."""
    conflicting: int
    """Texts that have a near-duplicate with other tags."""
    tags: tuple[str, ...]
    """In the order of the columns of the scores."""


@dataclass(frozen=True)
class TokenAudit:
    """An audit's result; arrays are over all tokens, one text after the other."""

    records: Sequence[Record]
    starts: NDArray[np.int64]
    """Where each text begins, [texts + 1]."""
    flags: NDArray[np.bool_]
    suspicion: Suspicion
    quality: NDArray[np.float64]
    score: str
    report: TokenReport

    def against(self, truth: Mapping[str, tuple[str, ...]]) -> str:
        """Say precision and recall of the flags by the true tags of texts, by id.

        Raises:
            DataError: A text has another number of tags there.
        """
        flagged, wrong, hit = 0, 0, 0
        for at, record in enumerate(self.records):
            if (right := truth.get(record.id)) is None:
                continue
            if len(right) != len(record.tags or ()):
                raise DataError(f"text {record.id!r} has {len(record.tags or ())} tags, but {len(right)} true ones")
            differs = np.array([one != other for one, other in zip(record.tags or (), right, strict=True)], bool)
            flags = self.flags[self.starts[at] : self.starts[at + 1]]
            flagged += int(flags.sum())
            wrong += int(differs.sum())
            hit += int((flags & differs).sum())
        if not wrong or not flagged:
            return f"{wrong} tags are wrong and {flagged} are flagged"
        return (
            f"{wrong} tags are wrong; precision of the flags {hit / flagged:.1%} ({hit} of {flagged}), "
            f"recall {hit / wrong:.1%}"
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Evidence by text, the one with the most suspicious token first."""
        spans = [slice(*pair) for pair in zip(self.starts[:-1], self.starts[1:], strict=True)]
        worst = np.array([self.suspicion.scores[span].max() for span in spans])
        tags = self.report.tags
        for at in np.argsort(-worst, kind="stable").tolist():
            record, span = self.records[at], spans[at]
            tokens, given = record.tokens or (), record.tags or ()
            flagged = np.flatnonzero(self.flags[span])
            suggested = list(given)
            for position in flagged:
                suggested[position] = tags[self.suspicion.rival[span][position]]
            yield {
                "id": record.id,
                "tokens": list(tokens),
                "tags": list(given),
                "flagged": bool(len(flagged)),
                "suspicion": round(float(worst[at]), 4),
                "suggested": suggested,
                "evidence": {
                    "tokens": [
                        {
                            "position": int(position),
                            "token": tokens[position],
                            "tag": given[position],
                            "suggested": suggested[position],
                            "suspicion": round(float(self.suspicion.scores[span][position]), 4),
                            self.score: round(float(self.quality[span][position]), 4),
                        }
                        for position in flagged
                    ]
                },
            }


def audit_tokens(
    records: Sequence[Record],
    *,
    scores: NDArray[np.floating[Any]] | None = None,
    filter_by: Filter = "both",
    score: Score = "self_confidence",
    folds: int = 5,
    seed: int = 0,
) -> TokenAudit:
    """Audit the tags of texts.

    Args:
        records: With tokens and tags; others are counted and left out.
        scores: Out-of-sample probabilities, one row a token of all tagged texts in order, one column a
            tag in alphabetical order; None cross-validates a linear model over words and their context.
        filter_by: Filter of confident learning; it says how many tokens to flag, the suspicion which.
        score: Score of confident learning to report.
        folds: Folds of the cross-validation.
        seed: Of the folds.

    Raises:
        DataError: No text has tags, or the scores do not fit.
    """
    kept = [record for record in records if record.tags]
    if not kept:
        raise DataError("no record has tokens with tags")
    names = sorted({tag for record in kept for tag in record.tags or ()})
    column = {name: at for at, name in enumerate(names)}
    lengths = [len(record.tags or ()) for record in kept]
    given = np.array([column[tag] for record in kept for tag in record.tags or ()], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    groups = duplicate_groups([" ".join(record.tokens or ()) for record in kept])
    if scores is None:
        scores = _cross_validated(kept, names, starts, groups, folds=folds, seed=seed)
    elif scores.shape != (len(given), len(names)):
        raise DataError(
            f"the scores are {' by '.join(map(str, scores.shape))}, not {len(given)} tokens by {len(names)} tags",
            advice=f"give one row a token and one column a tag, in this order: {', '.join(names)}",
        )
    found = suspect(np.eye(len(names), dtype=bool)[given], scores)
    count = int(flag_labels(given, scores, filter_by=filter_by).sum())
    flags = lowest(-found.scores, count) & (found.scores > 0.5)
    return TokenAudit(
        records=kept,
        starts=starts,
        flags=flags,
        suspicion=found,
        quality=label_quality(given, scores, score=score, as_reference=False),
        score=score,
        report=TokenReport(
            records=len(kept),
            untagged=len(records) - len(kept),
            tokens=len(given),
            flagged=len(np.unique(np.searchsorted(starts, np.flatnonzero(flags), side="right"))),
            flagged_tokens=int(flags.sum()),
            filter_by=filter_by,
            duplicates=int((np.bincount(groups)[groups] > 1).sum()),
            conflicting=_conflicting(kept, groups),
            tags=tuple(names),
        ),
    )


def _conflicting(records: Sequence[Record], groups: NDArray[np.int64]) -> int:
    tags: dict[int, list[tuple[str, ...] | None]] = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        tags.setdefault(group, []).append(record.tags)
    return sum(len(members) for members in tags.values() if len(set(members)) > 1)


def tag_labels(record: Record) -> tuple[str, ...]:
    """The tags of a text as labels, such as `3.Paris=B-place`; tokens outside (O) are left out."""
    pairs = zip(record.tokens or (), record.tags or (), strict=True)
    return tuple(f"{at}.{token}={tag}" for at, (token, tag) in enumerate(pairs, start=1) if tag != OUTSIDE)


def _cross_validated(
    records: Sequence[Record],
    names: Sequence[str],
    starts: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    folds: int,
    seed: int,
) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    tags = np.array([tag for record in records for tag in record.tags or ()], object)
    features = HashingVectorizer(analyzer=_same, n_features=FEATURES, norm=None, alternate_sign=False).transform(
        feature for record in records for feature in _features(record.tokens or ())
    )
    kinds = [tuple(sorted(set(record.tags or ()))) for record in records]
    fold = grouped_folds(groups, kinds, folds=min(folds, len(np.unique(groups))), seed=seed)
    by_token = np.repeat(fold, np.diff(starts))
    place = {name: at for at, name in enumerate(names)}
    scores = np.zeros((len(tags), len(names)))
    with Progress("cross-validating", total=len(np.unique(fold)), unit="folds") as bar:
        for number in np.unique(fold):
            learn, held = np.flatnonzero(by_token != number), np.flatnonzero(by_token == number)
            if len(seen := sorted(set(tags[learn].tolist()))) < 2:
                raise DataError(f"outside of a fold there is no tag but {seen[0]!r}", advice="tag more texts")
            model = LogisticRegression(C=3.0, max_iter=200).fit(features[learn], tags[learn])
            columns = np.array([place[str(name)] for name in model.classes_])
            scores[np.ix_(held, columns)] = model.predict_proba(features[held])
            bar.advance()
    return scores


def _same(features: list[str]) -> list[str]:
    return features


def _features(tokens: Sequence[str]) -> Iterator[list[str]]:
    """What is known of each token: itself, its shape and ends, and its neighbours."""
    padded = ["<", "<", *tokens, ">", ">"]
    for at, token in enumerate(tokens, start=2):
        low = token.lower()
        yield [
            f"w={low}",
            f"s={_shape(token)}",
            *(f"p{size}={low[:size]}" for size in (1, 3)),
            *(f"e{size}={low[-size:]}" for size in (2, 3)),
            *(f"{step:+d}={padded[at + step].lower()}" for step in (-2, -1, 1, 2)),
            *(f"s{step:+d}={_shape(padded[at + step])}" for step in (-1, 1)),
        ]


def _shape(token: str) -> str:
    kinds = ["X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in token[:20]]
    return "".join(kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind)
