"""What differs between two label spaces, and where labels of the one go in the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from labelspace.space import LabelSpace


class SpaceDiff(BaseModel):
    """The difference between two label spaces, by label name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    """Old name to new name."""
    redescribed: tuple[str, ...] = ()
    """New names of labels whose description or instructions changed."""
    moved: tuple[str, ...] = ()
    """New names of labels that have another parent."""

    def migrate(self, labels: Iterable[str]) -> tuple[tuple[str, ...], bool]:
        """Carry labels over to the new space.

        Returns:
            The labels under their new names, without those that are gone; and whether one was
            lost, so that the record must be labelled again.
        """
        before = tuple(labels)
        after = tuple(self.renamed.get(name, name) for name in before if name not in self.removed)
        return after, len(after) < len(before)

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.renamed or self.redescribed or self.moved)

    def __str__(self) -> str:
        """One line a change, as a diff shows it."""
        lines = [f"+ {name}" for name in self.added]
        lines += [f"- {name}" for name in self.removed]
        lines += [f"~ {old} -> {new}" for old, new in self.renamed.items()]
        lines += [f"~ {name}: new description" for name in self.redescribed]
        lines += [f"~ {name}: new parent" for name in self.moved]
        return "\n".join(lines) or "no difference"


def compare(old: LabelSpace, new: LabelSpace, *, renamed: Mapping[str, str] | None = None) -> SpaceDiff:
    """What has to be done to get from one space to another; see `LabelSpace.diff`."""
    old_only = [name for name in old.names if name not in new]
    new_only = [name for name in new.names if name not in old]
    moves = {name: to for name, to in (renamed or {}).items() if name in old_only and to in new_only}
    if renamed is None:
        for name in old_only:
            description = old[name].description
            same = [other for other in new_only if description and new[other].description == description]
            if len(same) == 1 and same[0] not in moves.values():
                moves[name] = same[0]
    kept = [(name, moves.get(name, name)) for name in old.names if name in new or name in moves]

    def parent_now(label: str | None) -> str | None:
        return None if label is None else moves.get(label, label)

    return SpaceDiff(
        added=tuple(name for name in new_only if name not in moves.values()),
        removed=tuple(name for name in old_only if name not in moves),
        renamed=moves,
        redescribed=tuple(
            to
            for name, to in kept
            if (old[name].description, old[name].instructions) != (new[to].description, new[to].instructions)
        ),
        moved=tuple(to for name, to in kept if parent_now(old[name].parent) != new[to].parent),
    )
