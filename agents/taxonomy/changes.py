"""What an update did to a taxonomy: which labels stay, and what becomes of documents that carry the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from labelspace.agents.taxonomy.replies import Judgement
from labelspace.errors import DataError
from labelspace.space import LabelSpace

Kind = Literal["added", "renamed", "merged", "split", "redescribed", "dropped"]
_SIGNS = {"added": "+", "dropped": "-"}


class Change(BaseModel):
    """One change, in the words of who made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    why: str = ""
    recheck: bool = False
    """Whether documents that carry a label of `before` have to be labelled again."""

    def __str__(self) -> str:
        """A line of a diff, and the reason on another."""
        what = " + ".join(self.after) if self.kind == "added" else " + ".join(self.before)
        if self.kind in ("renamed", "merged", "split"):
            what += f" -> {' + '.join(self.after)}"
        line = f"{_SIGNS.get(self.kind, '~')} {what}: {self.kind}{' (asked again)' if self.recheck else ''}"
        return f"{line}\n    {self.why}" if self.why else line


class Changes(BaseModel):
    """All changes from one version of a space to another, and where each old label went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str
    """Version of the space before."""
    new: str
    changes: tuple[Change, ...] = ()

    def migrate(self, labels: Iterable[str]) -> tuple[tuple[str, ...], bool]:
        """Carry the labels of one document over.

        Returns:
            The labels under their new names; and whether the document must be labelled again,
            because one of its labels was dropped, divided, or drawn otherwise.
        """
        found: dict[str, None] = {}
        again = False
        for name in labels:
            touching = [change for change in self.changes if name in change.before]
            again = again or any(change.recheck for change in touching)
            moved = next((change for change in touching if change.kind in ("renamed", "merged")), None)
            if moved is not None:
                found[moved.after[0]] = None
            elif not any(change.kind == "dropped" or name not in change.after for change in touching):
                found[name] = None
        return tuple(found), again

    @property
    def adds(self) -> bool:
        """Whether there is a label for what fitted nowhere before, so that such documents are asked about again."""
        return any(change.kind in ("added", "split", "redescribed") for change in self.changes)

    @classmethod
    def between(cls, old: LabelSpace, new: LabelSpace) -> Changes:
        """What names and descriptions alone tell: for a space that was changed by hand."""
        diff = old.diff(new)
        gone = [name for name in diff.removed if name in old.leaves]
        made = [Change(kind="dropped", before=(name,), recheck=True) for name in gone]
        made += [Change(kind="added", after=(name,)) for name in diff.added if name in new.leaves]
        made += [Change(kind="renamed", before=(before,), after=(after,)) for before, after in diff.renamed.items()]
        made += [
            Change(kind="redescribed", before=(name,), after=(name,), recheck=True)
            for name in diff.redescribed
            if name in old and name in new.leaves
        ]
        return cls(old=old.version, new=new.version, changes=tuple(made))

    def save(self, path: str | Path) -> None:
        """Write them as JSON.

        Raises:
            DataError: The file can't be written.
        """
        try:
            Path(path).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"can't be written: {error.strerror}", path=str(path)) from error

    @classmethod
    def load(cls, path: str | Path) -> Changes:
        """Read what `save` wrote.

        Raises:
            DataError: The file is missing or holds something else.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(
                f"can't be read: {error.strerror}",
                path=str(path),
                advice="`labelspace discover DATA --update SPACE --out NEW` writes it beside NEW",
            ) from error
        except (ValueError, ValidationError) as error:
            problem: Any = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise DataError(f"no list of changes: {problem}", path=str(path)) from error

    def __str__(self) -> str:
        """As a diff with reasons."""
        return "\n".join(map(str, self.changes)) or "no difference"


class Lineage:
    """Follows labels through the steps of an update."""

    def __init__(self, names: Sequence[str]) -> None:
        """Start from the labels there are."""
        self._from: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
        self._why: dict[str, list[str]] = {name: [] for name in names}
        self._recheck: set[str] = set()
        self._gone: dict[str, str] = {}

    def origins(self, name: str) -> tuple[str, ...]:
        """The labels of the beginning that a label continues."""
        return self._from.get(name, ())

    def follow(self, judged: Judgement) -> None:
        """Take one step."""
        origins, why, recheck = self._from, self._why, self._recheck
        self._from, self._why, self._recheck = {}, {}, set()
        for draft in judged.labels:
            earlier = [origin for name in draft.continues for origin in origins.get(name, ())]
            self._from[draft.name] = tuple(dict.fromkeys(earlier))
            said = [one for name in draft.continues for one in why.get(name, ())]
            self._why[draft.name] = [*dict.fromkeys(said), *([draft.why] if draft.why else [])]
            if draft.recheck or any(name in recheck for name in draft.continues):
                self._recheck.add(draft.name)
        for name, reason in judged.dropped:
            for origin in origins.get(name, ()):
                self._gone[origin] = reason

    def changes(self, old: LabelSpace, new: LabelSpace) -> Changes:
        """What became of each label."""
        made: list[Change] = []
        heirs: dict[str, list[str]] = {}
        for name in new.leaves:
            for origin in self.origins(name):
                heirs.setdefault(origin, []).append(name)
        split = {origin for origin, after in heirs.items() if len(after) > 1}
        for origin in old.leaves:
            if origin in split:
                why = self._reasons(heirs[origin])
                made.append(Change(kind="split", before=(origin,), after=tuple(heirs[origin]), why=why, recheck=True))
            elif origin not in heirs:
                made.append(Change(kind="dropped", before=(origin,), why=self._gone.get(origin, ""), recheck=True))
        for name in new.leaves:
            before = tuple(origin for origin in self.origins(name) if origin not in split)
            why, recheck = self._reasons([name]), name in self._recheck
            if not self.origins(name):
                made.append(Change(kind="added", after=(name,), why=why))
            elif len(before) > 1:
                made.append(Change(kind="merged", before=before, after=(name,), why=why, recheck=recheck))
            elif before and before[0] != name:
                made.append(Change(kind="renamed", before=before, after=(name,), why=why, recheck=recheck))
            elif before and old[name].description != new[name].description:
                made.append(Change(kind="redescribed", before=before, after=(name,), why=why, recheck=recheck))
        return Changes(old=old.version, new=new.version, changes=tuple(made))

    def _reasons(self, names: Sequence[str]) -> str:
        return " ".join(dict.fromkeys(reason for name in names for reason in self._why.get(name, ())))
